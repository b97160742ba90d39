"""The doctor's look at the settings: what differs, what contradicts, and how long certificates are good for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from monitor.cli.findings import Finding
from monitor.cli.setting_checks import check_certificates, check_settings
from monitor.settings import Settings, read_settings

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KAFKA = "kafka://broker:9092/executions.events.v1"


def certificate_until(ends: datetime) -> bytes:
    """A certificate in PEM that began ten years before."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=broker")
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    dated = builder.not_valid_before(ends - timedelta(days=3650)).not_valid_after(ends)
    return dated.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def found(**said: str) -> list[Finding]:
    """With `MONITOR_*` settings."""
    return list(check_settings(read_settings({f"MONITOR_{name.upper()}": value for name, value in said.items()}), NOON))


def test_settings_are_told_where_they_differ() -> None:
    """Under the names of their variables."""
    assert [it.text for it in found()] == ["all at their defaults"]
    chosen = found(port="1234", webhook_allow="10.0.0.0/8, ::1/128")
    assert [it.text for it in chosen] == ["MONITOR_PORT=1234, MONITOR_WEBHOOK_ALLOW=10.0.0.0/8,::1/128"]


def test_secrets_are_not_told() -> None:
    """Neither the key nor the password in an address."""
    key = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    [said] = found(key=key, journal="kafka://user:sesame@broker:9092/topic")
    assert "sesame" not in said.text
    assert key not in said.text
    assert "kafka://user:***@broker:9092/topic" in said.text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"journal": KAFKA, "journal_keep": "2d"}, "MONITOR_JOURNAL_KEEP has no effect"),
        ({"commands": "kafka://broker:9092/commands"}, "the journal is embedded"),
        ({"trust_team": "on"}, "MONITOR_TRUST_TEAM has no effect"),
        ({"mask": "", "mask_ingest": "on"}, "masks nothing"),
        ({"trusted_proxies": "10.0.0.0/8,0.0.0.0/0"}, "believes everybody"),
        ({"webhook_allow": "::/0"}, "every private network"),
    ],
)
def test_what_hardly_anybody_means_is_told(said: dict[str, str], words: str) -> None:
    """One warning, with a cure."""
    [warning] = [it for it in found(**said) if it.state != "ok"]
    assert (warning.state, words in warning.text, bool(warning.cure)) == ("warn", True, True)


@pytest.mark.parametrize(
    "said",
    [
        {"journal": KAFKA, "commands": "kafka://broker:9092/commands", "trust_team": "on"},
        {"journal_keep": "2d"},
        {"mask": "iban", "mask_ingest": "on"},
        {"trusted_proxies": "10.0.0.0/8", "webhook_allow": "10.0.0.0/8"},
    ],
)
def test_what_fits_together_is_well(said: dict[str, str]) -> None:
    """No warning without a reason."""
    assert [it.state for it in found(**said)] == ["ok"]


def test_mask_file_that_cannot_be_used_is_a_failure(tmp_path: Path) -> None:
    """As the start of a service would find."""
    (file := tmp_path / "mask.toml").write_text('"wf_7" = 7')
    assert [it.state for it in found(mask_file=str(file))] == ["ok", "fail"]
    file.write_text('"wf_7" = "iban"')
    assert [it.state for it in found(mask_file=str(file))] == ["ok"]


@pytest.mark.parametrize(
    ("days", "state", "words"),
    [
        (90, "ok", "good until 2027-02-20"),
        (20, "warn", "renew it within 20 days"),
        (0, "fail", "renew it: connections"),
        (-3, "fail", "renew it: connections"),
    ],
)
def test_certificates_are_renewed_in_time(tmp_path: Path, days: int, state: str, words: str) -> None:
    """Three weeks before they end."""
    (file := tmp_path / "ca.pem").write_bytes(certificate_until(NOON + timedelta(days=days)))
    [finding] = check_certificates(file, NOON)
    assert (finding.state, words in f"{finding.text} {finding.cure}") == (state, True)


def test_first_to_end_ends_the_chain(tmp_path: Path) -> None:
    """Whichever stands first in the file."""
    ends = [NOON + timedelta(days=days) for days in (400, 5, 90)]
    (file := tmp_path / "chain.pem").write_bytes(b"".join(map(certificate_until, ends)))
    assert [it.state for it in check_certificates(file, NOON)] == ["warn"]


def test_certificate_of_tomorrow_tells_of_the_clock(tmp_path: Path) -> None:
    """A clock that is behind refuses every connection."""
    (file := tmp_path / "ca.pem").write_bytes(certificate_until(NOON + timedelta(days=90)))
    [finding] = check_certificates(file, NOON - timedelta(days=4000))
    assert (finding.state, finding.cure) == ("fail", "look at the clock")


def test_files_that_are_no_certificates_are_told_apart(tmp_path: Path) -> None:
    """A private key is none of it; what is missing or damaged would refuse every connection."""
    (key := tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (damaged := tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert list(check_certificates(key, NOON)) == []
    assert [it.state for it in check_certificates(damaged, NOON)] == ["fail"]
    [missing] = check_certificates(tmp_path / "none.pem", NOON)
    assert (missing.state, "No such file" in missing.text) == ("fail", True)


def test_certificates_of_the_store_are_looked_at(tmp_path: Path) -> None:
    """Where its address names them."""
    (file := tmp_path / "it.pem").write_bytes(certificate_until(NOON + timedelta(days=5)))
    store = f"postgresql://me:sesame@db/monitor?sslmode=verify-full&sslrootcert={file}"
    told = found(journal=KAFKA, store=store)
    assert [it.subject for it in told if it.state == "warn"] == ["certificate"]
    assert "sesame" not in " ".join(it.text for it in told)


def test_every_file_that_a_setting_names_is_looked_at(tmp_path: Path) -> None:
    """But for the data folder and the rules of masking, which are no certificates."""
    (file := tmp_path / "it.pem").write_bytes(certificate_until(NOON + timedelta(days=5)))
    paths = [name for name, value in Settings.model_fields.items() if "Path" in str(value.annotation)]
    named = [name for name in paths if name not in {"data", "mask_file"}]
    for name in named:
        settings = Settings().model_copy(update={name: file})
        assert [it.subject for it in check_settings(settings, NOON) if it.state == "warn"] == ["certificate"]
