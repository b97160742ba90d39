"""What `monitor doctor` tells of the settings by themselves: those that differ from the defaults, those that contradict
each other or have no effect, and the files that they name.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from cryptography import x509

from monitor.access.mask_file import read_mask_file
from monitor.cli.findings import Finding
from monitor.errors import SettingsInvalid
from monitor.settings import Settings, keys

_PASSWORD: Final = re.compile(r"(://[^/@\s:]*):[^@\s]*@")

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"

_RENEW_BEFORE: Final = timedelta(days=21)
"""Three weeks: a holiday, and a week to have it renewed."""

_EVERYWHERE: Final = ("0.0.0.0/0", "::/0")


class _Rule(NamedTuple):
    """A pair of settings that hardly anybody means."""

    holds: bool
    text: str
    cure: str


def check_settings(settings: Settings, now: datetime | None = None) -> Iterator[Finding]:
    """Everything about them; `now` is the time by which certificates are judged."""
    yield _chosen(settings)
    for rule in _rules(settings):
        if rule.holds:
            yield Finding("warn", "settings", rule.text, rule.cure)
    yield from _check_mask_file(settings.mask_file)
    for path in _named_files(settings):
        yield from check_certificates(path, now or datetime.now(UTC))


def check_certificates(path: Path, now: datetime) -> Iterator[Finding]:
    """How long the certificates in `path` are good for; nothing of a file that holds none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        yield Finding("fail", "certificate", f"{path} cannot be read: {error.strerror}", "put it there, or chown it")
        return
    if _CERTIFICATE not in content:
        return
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        yield Finding("fail", "certificate", f"{path} is damaged: {error}", "put a whole one there")
        return
    # The one that ends first ends the chain.
    yield _judged(path, min(found, key=lambda it: it.not_valid_after_utc), now)


def _judged(path: Path, certificate: x509.Certificate, now: datetime) -> Finding:
    ends, begins = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    text = f"{path} is good until {ends:%Y-%m-%d %H:%M} UTC ({certificate.subject.rfc4514_string()})"
    if now < begins:
        return Finding(
            "fail", "certificate", f"{path} is good from {begins:%Y-%m-%d %H:%M} UTC on", "look at the clock"
        )
    if now >= ends:
        return Finding("fail", "certificate", text, "renew it: connections are refused")
    if now >= ends - _RENEW_BEFORE:
        return Finding("warn", "certificate", text, f"renew it within {(ends - now).days} days")
    return Finding("ok", "certificate", text)


def _chosen(settings: Settings) -> Finding:
    """Which settings differ from the defaults, as they would stand in the environment."""
    fields = type(settings).model_fields
    chosen = [
        f"{key}={_spelt(getattr(settings, name))}"
        for name, key in keys().items()
        if getattr(settings, name) != fields[name].default
    ]
    return Finding("ok", "settings", ", ".join(chosen) or "all at their defaults")


def _spelt(value: object) -> str:
    said = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return _PASSWORD.sub(r"\1:***@", said)


def _rules(settings: Settings) -> list[_Rule]:
    is_set = settings.model_fields_set.__contains__
    return [
        _Rule(
            bool(settings.journal) and is_set("journal_keep_s"),
            "MONITOR_JOURNAL_KEEP has no effect on Kafka",
            "set the topic's retention.ms instead; `monitor topics` shows it",
        ),
        _Rule(
            bool(settings.commands) and not settings.journal,
            "runners read commands from Kafka, and the journal is embedded: what they tell in a topic is not read",
            "set MONITOR_JOURNAL to that topic, or have them tell over HTTP",
        ),
        _Rule(
            settings.trust_team and not settings.journal,
            "MONITOR_TRUST_TEAM has no effect without Kafka: over HTTP the token names the team",
            "leave it out",
        ),
        _Rule(
            settings.mask_ingest and not settings.mask and settings.mask_file is None,
            "MONITOR_MASK_INGEST=on masks nothing, since MONITOR_MASK is empty",
            "name rules, or leave MONITOR_MASK out to have the usual ones",
        ),
        _Rule(
            any(network in settings.trusted_proxies for network in _EVERYWHERE),
            "MONITOR_TRUSTED_PROXIES believes everybody: anyone can say where he comes from",
            "name the proxies' own networks",
        ),
        _Rule(
            any(network in settings.webhook_allow for network in _EVERYWHERE),
            "MONITOR_WEBHOOK_ALLOW opens every private network to those who register webhooks",
            "name the networks of the receivers",
        ),
    ]


def _check_mask_file(path: Path | None) -> Iterator[Finding]:
    try:
        read_mask_file(path)
    except SettingsInvalid as error:
        yield Finding("fail", "settings", error.message, "correct the file, or leave MONITOR_MASK_FILE out")


def _named_files(settings: Settings) -> list[Path]:
    """The files that settings name, but for the data folder and the rules of masking."""
    named = {name: getattr(settings, name) for name in type(settings).model_fields if name not in {"data", "mask_file"}}
    query = parse_qs(urlsplit(settings.store.get_secret_value()).query)
    of_store = [Path(path) for name in ("sslrootcert", "sslcert") for path in query.get(name, ()) if path != "system"]
    return [*(value for value in named.values() if isinstance(value, Path)), *of_store]
