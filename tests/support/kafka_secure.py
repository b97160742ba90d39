"""A Kafka whose listeners ask for TLS, for a client's certificate, for a user, or for both; and who gets in.

One broker has them all, beside the plain one, so that each test says which it means.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from confluent_kafka.admin import (  # type: ignore[attr-defined] # it does not say what it exports
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from monitor.kafka_security import KafkaSecurity
from tests.support.certificates import Authority
from tests.support.kafka import Broker
from tests.support.kafka_jars import KafkaJars, properties_text
from tests.support.processes import free_ports

Listener = Literal["plain", "tls", "mutual", "login", "tls_login"]

LISTENERS: Final[Mapping[Listener, str]] = {
    "plain": "PLAINTEXT",
    "tls": "SSL",
    "mutual": "SSL",
    "login": "SASL_PLAINTEXT",
    "tls_login": "SASL_SSL",
}
"""Their kinds, in Kafka's words; `mutual` wants a certificate of its clients."""

USER, PASSWORD, STRANGER = "monitor", "a password, with =, and ü", "stranger"
"""`STRANGER` may log in with the same password, and do nothing."""


class SecureBroker(Broker):
    """Answers at `at[listener]`; whoever comes without a name, or as `USER`, may do everything."""

    def __init__(self, jars: KafkaJars, folder: Path) -> None:
        """Certificates lie in `folder`; `authority` vouches for the broker, and for clients."""
        self.authority = Authority(folder)
        self.at: dict[Listener, str] = {}
        self._certificate = self.authority.issue()
        super().__init__(jars)

    def security(self, listener: Listener, mechanism: str = "PLAIN", user: str = USER) -> KafkaSecurity:
        """What gets a client in."""
        kind = LISTENERS[listener]
        login = (mechanism, user, PASSWORD) if kind.startswith("SASL") else ("", "", "")
        cert = self.authority.issue("client") if listener == "mutual" else None
        ca = self.authority.file if kind.endswith("SSL") else None
        return KafkaSecurity(kind.lower(), ca, cert, None, *login)  # type: ignore[arg-type] # Kafka's words are ours

    def add_users(self) -> None:
        """Give both users their password for SCRAM; for PLAIN they have it from the start."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        wanted = [
            UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            for user in (USER, STRANGER)
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
        ]
        for credential in wanted:
            for future in admin.alter_user_scram_credentials([credential]).values():
                future.result(timeout=60)

    def _lay_out(self) -> None:
        super()._lay_out()
        file = self._folder / "server.properties"
        laid: dict[str, object] = {}
        for line in file.read_text().splitlines():
            name, _, laid[name] = line.partition("=")
        ports = free_ports(len(LISTENERS) - 1)
        self.at = {"plain": self.bootstrap}
        self.at |= {name: f"127.0.0.1:{port}" for name, port in zip([*LISTENERS][1:], ports, strict=True)}
        more = ",".join(f"{name.upper()}://{self.at[name]}" for name in [*LISTENERS][1:])
        kinds = ",".join(f"{name.upper()}:{kind}" for name, kind in [*LISTENERS.items()][1:])
        file.write_text(
            properties_text(
                laid
                | {name: f"{laid[name]},{more}" for name in ("listeners", "advertised.listeners")}
                | {"listener.security.protocol.map": f"{laid['listener.security.protocol.map']},{kinds}"}
                | _TRUSTED
                | self._tls()
                | _logins()
            )
        )

    def _tls(self) -> dict[str, object]:
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._certificate,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.file,
            "listener.name.mutual.ssl.client.auth": "required",
        }


_TRUSTED: Final[dict[str, object]] = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:ANONYMOUS;User:CN=A receiver;User:{USER}",
}


def _logins() -> dict[str, object]:
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required " + " ".join(
        f'user_{user}="{PASSWORD}"' for user in (USER, STRANGER)
    )
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    modules = {"plain": plain, "scram-sha-256": scram, "scram-sha-512": scram}
    enabled: dict[str, object] = {"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"}
    return enabled | {
        f"listener.name.{listener}.{mechanism}.sasl.jaas.config": _in_latin(f"{module};")
        for listener in ("login", "tls_login")
        for mechanism, module in modules.items()
    }


def _in_latin(text: str) -> str:
    """As Java wants it in a file of properties."""
    return "".join(char if char.isascii() else f"\\u{ord(char):04x}" for char in text)


@contextmanager
def secure_broker(jars: KafkaJars, folder: Path) -> Iterator[SecureBroker]:
    """Such a broker, running, with its users."""
    with SecureBroker(jars, folder) as broker:
        broker.add_users()
        yield broker
