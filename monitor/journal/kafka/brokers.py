"""The brokers of a cluster and how to speak to them: what every client of aiokafka is made with."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from monitor.errors import StartupError
from monitor.kafka_security import PLAINTEXT, KafkaSecurity

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Brokers:
    """Servers to ask first, as clients want them (`host:port,host:port`), and what they ask of a client."""

    bootstrap: str
    security: KafkaSecurity = PLAINTEXT
    _tls: "_Tls | None" = field(default=None, init=False, repr=False, compare=False)

    def __str__(self) -> str:
        return self.bootstrap

    def client_settings(self) -> dict[str, Any]:
        """What a client needs to reach them, whatever it is for.

        Raises StartupError, naming the cure, when a file of TLS cannot be used. One that is replaced later holds for
        all connections that are opened from the next call on, also by clients of before.
        """
        wanted = self.security
        settings: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": wanted.protocol.upper(),
        }
        if wanted.uses_tls:
            self._tls = self._tls or _Tls(wanted)
            settings["ssl_context"] = self._tls.context()
        if wanted.uses_sasl:
            settings["sasl_mechanism"] = wanted.mechanism
            settings["sasl_plain_username"] = wanted.username
            settings["sasl_plain_password"] = wanted.password
        return settings


class _Tls:
    """One context for all clients, so that certificates renewed on disk reach those that live long."""

    def __init__(self, wanted: KafkaSecurity) -> None:
        self._wanted = wanted
        self._stamps = self._read_stamps()
        with _naming("MONITOR_KAFKA_CA", wanted.ca):
            # Strict by Python's default; without a file it trusts whom the system trusts.
            self._context = ssl.create_default_context(cafile=wanted.ca)
        self._show_certificate()

    def context(self) -> ssl.SSLContext:
        """With what the files hold now, or held when they could last be used."""
        if (stamps := self._read_stamps()) != self._stamps:
            try:
                self._renew()
                self._stamps = stamps
            except StartupError as error:  # half written, it may be: the next client looks again
                _log.warning("certificates for kafka changed and cannot be used", reason=error.message)
        return self._context

    def _renew(self) -> None:
        if self._wanted.ca:
            with _naming("MONITOR_KAFKA_CA", self._wanted.ca):
                self._context.load_verify_locations(self._wanted.ca)
        self._show_certificate()

    def _show_certificate(self) -> None:
        cert, key = self._wanted.cert, self._wanted.key
        if cert:
            with _naming("MONITOR_KAFKA_CERT" + (" and MONITOR_KAFKA_KEY" if key else ""), cert, key):
                self._context.load_cert_chain(cert, key, password=_no_password)

    def _read_stamps(self) -> list[int]:
        files = (self._wanted.ca, self._wanted.cert, self._wanted.key)
        return [file.stat().st_mtime_ns if file.exists() else 0 for file in files if file]


@contextmanager
def _naming(setting: str, *files: Path | None) -> Iterator[None]:
    """Raises StartupError, in the words of the setting, for files that cannot be used."""
    named = " and ".join(str(file) for file in files if file)
    try:
        yield
    except ssl.SSLError as error:
        raise StartupError(f"{setting}: {named} cannot be used ({error.reason or error}); PEM is wanted") from error
    except OSError as error:
        raise StartupError(f"{setting}: {named} cannot be read ({error.strerror})") from error


def _no_password() -> str:
    """Answers OpenSSL, which would otherwise ask at the terminal."""
    raise StartupError("MONITOR_KAFKA_KEY is encrypted; decrypt it with: openssl pkey -in KEY -out DECRYPTED")
