"""How clients of Kafka know the brokers and show who they are: what can be said about it, and what fits together. Pure.

Made of the settings; `journal.kafka.brokers` gives it to every client.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

KafkaProtocol = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
"""Kafka's own names for its kinds of listeners, in small letters."""

SaslMechanism = Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """What a listener asks for; the default is one that asks for nothing."""

    protocol: KafkaProtocol = "plaintext"
    # PEM files: of who is trusted (None: whom the system trusts), and what is shown where brokers ask for it.
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    mechanism: SaslMechanism = ""
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol.endswith("ssl")

    @property
    def uses_sasl(self) -> bool:
        """Whether a user logs in."""
        return self.protocol.startswith("sasl")

    @property
    def contradiction(self) -> str:
        """What does not fit together, and the cure, in the words of the settings; empty when all does."""
        tls = _named("MONITOR_KAFKA_", CA=self.ca, CERT=self.cert, KEY=self.key)
        login = {"MECHANISM": self.mechanism, "USERNAME": self.username, "PASSWORD": self.password}
        said = _named("MONITOR_KAFKA_SASL_", **login)
        unsaid = [f"MONITOR_KAFKA_SASL_{name}" for name, value in login.items() if not value]
        if tls and not self.uses_tls:
            cure = "sasl_ssl" if self.uses_sasl else "ssl"
            return f"{tls[0]} is for TLS; set MONITOR_KAFKA_SECURITY={cure}, or leave it out"
        if self.key and not self.cert:
            return "MONITOR_KAFKA_KEY opens a certificate; name that with MONITOR_KAFKA_CERT"
        if said and not self.uses_sasl:
            cure = "sasl_ssl" if self.uses_tls else "sasl_ssl (or sasl_plaintext)"
            return f"{said[0]} is for SASL; set MONITOR_KAFKA_SECURITY={cure}, or leave it out"
        if unsaid and self.uses_sasl:
            return f"MONITOR_KAFKA_SECURITY={self.protocol} logs in; set {', '.join(unsaid)}"
        return ""


PLAINTEXT = KafkaSecurity()
"""For brokers that anybody who reaches them may use."""


def _named(prefix: str, **values: object) -> list[str]:
    """The settings that have a value."""
    return [prefix + name for name, value in values.items() if value]
