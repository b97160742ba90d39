"""What is said of Kafka's listeners fits together, or is refused with the cure; a password is shown nowhere."""

from pathlib import Path

import pytest

from monitor.errors import SettingsInvalid
from monitor.journal.kafka.address import Address
from monitor.kafka_security import KafkaSecurity
from monitor.settings import Settings, read_settings

LOGIN = {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "monitor", "SASL_PASSWORD": "open sesame"}


def settings(**said: str) -> Settings:
    """The settings with these of Kafka."""
    return read_settings({f"MONITOR_KAFKA_{name}": value for name, value in said.items()})


def read(**said: str) -> KafkaSecurity:
    """What clients are told of these settings."""
    return settings(**said).kafka


def test_nothing_said_asks_for_nothing() -> None:
    """A broker on this machine needs no word of it."""
    assert read() == KafkaSecurity()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"SECURITY": "ssl"}, KafkaSecurity("ssl")),
        ({"SECURITY": "ssl", "CA": "ca.pem"}, KafkaSecurity("ssl", Path("ca.pem"))),
        ({"SECURITY": "ssl", "CERT": "both.pem"}, KafkaSecurity("ssl", None, Path("both.pem"))),
        (
            {"SECURITY": "ssl", "CERT": "c.pem", "KEY": "k.pem"},
            KafkaSecurity("ssl", None, Path("c.pem"), Path("k.pem")),
        ),
        (
            {"SECURITY": "sasl_ssl", "CA": "ca.pem", **LOGIN},
            KafkaSecurity("sasl_ssl", Path("ca.pem"), None, None, "PLAIN", "monitor", "open sesame"),
        ),
        (
            {"SECURITY": "sasl_plaintext", **LOGIN, "SASL_MECHANISM": "SCRAM-SHA-512"},
            KafkaSecurity("sasl_plaintext", None, None, None, "SCRAM-SHA-512", "monitor", "open sesame"),
        ),
    ],
)
def test_what_fits_together_is_taken(said: dict[str, str], expected: KafkaSecurity) -> None:
    """Each kind of listener, with the least that it needs."""
    assert read(**said) == expected


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ({"CA": "ca.pem"}, "MONITOR_KAFKA_CA is for TLS; set MONITOR_KAFKA_SECURITY=ssl"),
        ({"CERT": "c.pem", "KEY": "k.pem"}, "MONITOR_KAFKA_CERT is for TLS; set MONITOR_KAFKA_SECURITY=ssl"),
        ({"SECURITY": "sasl_plaintext", "CA": "ca.pem", **LOGIN}, "set MONITOR_KAFKA_SECURITY=sasl_ssl"),
        ({"SECURITY": "ssl", "KEY": "k.pem"}, "name that with MONITOR_KAFKA_CERT"),
        (LOGIN, r"MONITOR_KAFKA_SASL_MECHANISM is for SASL; .*=sasl_ssl \(or sasl_plaintext\)"),
        ({"SECURITY": "ssl", "SASL_PASSWORD": "x"}, "MONITOR_KAFKA_SASL_PASSWORD is for SASL; .*=sasl_ssl, or leave"),
        ({"SECURITY": "sasl_ssl"}, "logs in; set MONITOR_KAFKA_SASL_MECHANISM, .*_USERNAME, .*_PASSWORD"),
        ({"SECURITY": "sasl_ssl", **LOGIN, "SASL_PASSWORD": ""}, "logs in; set MONITOR_KAFKA_SASL_PASSWORD$"),
        ({"SECURITY": "tls"}, "MONITOR_KAFKA_SECURITY: .*'plaintext', 'ssl', 'sasl_plaintext' or 'sasl_ssl'"),
        ({"SECURITY": "SASL_SSL", **LOGIN}, "MONITOR_KAFKA_SECURITY: "),
        ({"SECURITY": "sasl_ssl", **LOGIN, "SASL_MECHANISM": "GSSAPI"}, "MONITOR_KAFKA_SASL_MECHANISM: "),
        ({"SASL_PASWORD": "x"}, "unknown setting .*; did you mean MONITOR_KAFKA_SASL_PASSWORD"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_cure(said: dict[str, str], cure: str) -> None:
    """Before anything is opened, so that nobody believes to be safe who is not."""
    with pytest.raises(SettingsInvalid, match=cure):
        read(**said)


def test_password_is_never_shown() -> None:
    """Neither by the settings nor by what is made of them."""
    given = settings(SECURITY="sasl_plaintext", **LOGIN)
    address = Address.parse("kafka://broker:9092/events", given.kafka)
    texts = (repr(given), str(given), given.model_dump_json(), repr(given.kafka), repr(address), f"{address}")
    assert not any("open sesame" in text for text in texts)
    assert address.brokers.client_settings()["sasl_plain_password"] == "open sesame"
