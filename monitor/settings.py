"""Settings: one frozen object, read once from `MONITOR_*`. Unknown keys are refused with a suggestion.

Each field's description is its documentation; `schemas/settings.json` is generated from them.
"""

import base64
import binascii
import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from monitor.errors import SettingsInvalid
from monitor.kafka_security import KafkaProtocol, KafkaSecurity, SaslMechanism
from monitor.retention import parse_retention

PREFIX: Final = "MONITOR_"
_TESTS: Final = ("MONITOR_TEST_", "MONITOR_KAFKA_CACHE", "MONITOR_KAFKA_VERSION")
"""Belong to the project's own test runs, never to a service."""

_OTHERS: Final = frozenset({"MONITOR_TOKEN", "MONITOR_IMAGE"})
"""Belong to commands that ask a service, and to the files of compose/; a service in the same environment leaves them
alone."""

_DAY_S: Final = 86_400
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": _DAY_S}

_STORE_URL: Final = re.compile(r"postgres(ql)?://[^\s/]+/[^\s/?]+(\?\S*)?")

_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_KEY_BYTES: Final = 32
"""What `access.sealing` takes."""

_MASK_RULE: Final = re.compile(r"-?(?!-)(?:type:(?:\*|[^*.]{1,100})|(?:\*|[^*.]{1,100})(?:\.(?:\*|[^*.]{1,100}))*)")

IN_FILE: Final = "inFile"
"""Marks, in a field's schema, the variable that names a file whose content is as good as the value: for secrets, which
container platforms hand over as files, and which an environment shows to whoever inspects it."""

_EMPTY_COUNTS: Final = frozenset({"mask"})
"""Fields that can be set to nothing; for the others an empty variable is as good as none."""


class Settings(BaseModel):
    """Everything that can be set. Defaults start a service on this machine with nothing but Python."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    data: Path = Field(
        Path("monitor-data"),
        description="Folder of the embedded journal and store, of the key, and of exports, for which gateways that "
        "share a store need it in common.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    journal: str = Field(
        "",
        description="Empty for the embedded journal, or kafka://host:port,host:port/topic.",
        pattern=r"^(kafka://.+/.+)?$",
    )
    commands: str = Field(
        "",
        description="Where commands for workflows of your own runners go: kafka://host:port,host:port/topic. Empty: "
        "nowhere.",
        pattern=r"^(kafka://.+/.+)?$",
    )
    kafka_group: str = Field(
        "execution-monitor",
        min_length=1,
        max_length=255,
        description="Consumer group in which the processes of one store share the partitions of a Kafka journal. "
        "Deployments with stores of their own must not share it.",
    )
    kafka_security: KafkaProtocol = Field(
        "plaintext",
        description="What the brokers' listener asks for: plaintext (nothing), ssl (TLS), sasl_plaintext (a user logs "
        "in) or sasl_ssl.",
    )
    kafka_ca: Path | None = Field(
        None, description="PEM file of who vouches for the brokers. Empty: whom the system trusts."
    )
    kafka_cert: Path | None = Field(
        None, description="PEM file of the certificate that is shown to brokers that ask for one."
    )
    kafka_key: Path | None = Field(
        None, description="PEM file of its private key, not encrypted. Empty: it lies in `MONITOR_KAFKA_CERT`."
    )
    kafka_sasl_mechanism: SaslMechanism = Field(
        "", description="How the user logs in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    kafka_sasl_username: str = Field("", description="The user who logs in.")
    kafka_sasl_password: SecretStr = Field(
        SecretStr(""),
        description="The user's password. `MONITOR_KAFKA_SASL_PASSWORD_FILE` names a file that holds it.",
        json_schema_extra={IN_FILE: "MONITOR_KAFKA_SASL_PASSWORD_FILE"},
    )
    store: SecretStr = Field(
        SecretStr(""),
        description="Empty for the embedded store in the data folder, or postgresql://user:password@host/database with "
        "libpq's parameters, such as ?sslmode=verify-full: many processes may share it, and a Kafka journal. "
        "`MONITOR_STORE_FILE` names a file that holds it.",
        json_schema_extra={IN_FILE: "MONITOR_STORE_FILE"},
    )
    role: Literal["all", "projector", "gateway", "deliverer"] = Field(
        "all",
        description="What this process does: fold events (projector), answer clients and keep house (gateway), send "
        "webhooks (deliverer), or everything. All but the last need a journal and a store that are shared.",
    )
    auth: Literal["on", "off"] = Field(
        "on", description="on: whoever asks shows a token. off: no credentials; only for a loopback address."
    )
    log: Literal["console", "json"] = Field("console", description="Form of the program's log lines.")
    create_topics: bool = Field(True, description="Create a missing Kafka topic; off refuses to start instead.")
    demo: bool = Field(
        True,
        description="Have the built-in workflows demo-flaky, demo-loop and demo-wait to execute; never where processes "
        "share a store, for each knows its own runs only.",
    )
    trust_team: bool = Field(False, description="Believe the teamId in the body of events read from Kafka.")
    journal_keep_s: int = Field(
        7 * _DAY_S,
        alias="MONITOR_JOURNAL_KEEP",
        ge=60,
        description="How long the embedded journal keeps applied records: seconds, or a number with s, m, h or d.",
    )
    poison_in_a_row: int = Field(
        100,
        ge=1,
        description="A partition halts when more records than so many in a row hold no event, until somebody looks.",
    )
    poison_in_10000: int = Field(
        100, ge=1, le=10_000, description="The same among its latest 10,000 records; 10000 is never reached."
    )
    streams: int = Field(
        10_000, ge=1, description="Streams open at a time; whoever comes beyond them is told when to come back."
    )
    rate_limit: int = Field(
        100, ge=1, le=10_000, description="Requests in a second of each token that has no rate of its own."
    )
    webhook_allow: tuple[str, ...] = Field(
        (), description="Private networks (CIDR, comma-separated) that webhooks may reach over http and on any port."
    )
    webhook_keep_s: int = Field(
        30 * _DAY_S,
        alias="MONITOR_WEBHOOK_KEEP",
        ge=60,
        description="How long deliveries that have ended are kept, with their attempts: as `MONITOR_JOURNAL_KEEP`.",
    )
    export_keep_s: int = Field(
        _DAY_S,
        alias="MONITOR_EXPORT_KEEP",
        ge=60,
        description="How long an export that has ended is kept, with its file: as `MONITOR_JOURNAL_KEEP`.",
    )
    export_jobs: int = Field(20, ge=1, le=1000, description="Exports of each team that run or have a file.")
    export_bytes: int = Field(
        2 << 30, ge=1 << 20, description="What the files of each team's exports may take of the disk, together."
    )
    public_url: str = Field(
        "",
        description="Where others reach this service, for links in webhooks: https://host, with a path if it has one.",
    )
    origins: tuple[str, ...] = Field(
        (), description="Web pages that may use the API from a browser: their origins, https://host, comma-separated."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Reverse proxies (CIDR, comma-separated) whose X-Forwarded-For and -Proto are believed."
    )
    mask: str = Field(
        "+",
        description="What is masked wherever it would leave: names (`iban`) and paths (`*.email`) of members, and "
        "types (`type:card`, `type:*`), comma-separated; with - in front what is not. With + at the beginning in "
        "addition to the usual names of secrets and all types. Empty: nothing.",
    )
    mask_file: Path | None = Field(
        None,
        description="TOML file with further rules of masking "
        "for some workflows, by id (* fits any), as in `MONITOR_MASK`.",
    )
    mask_ingest: bool = Field(
        False,
        description="Mask what comes in over HTTP before it is written down: the journal then never holds what was "
        "hidden, nobody can reveal it, and a retry is given the masks.",
    )
    key: SecretStr = Field(
        SecretStr(""),
        description="Key that seals webhook secrets and positions: 32 bytes in base64. Empty: the file `key` in the "
        "data folder, made at the first start.",
        json_schema_extra={IN_FILE: "MONITOR_KEY_FILE"},
    )

    keep: str = Field(
        "forever",
        description="How long finished executions are kept: a time such as 30d, and others for some of them, "
        "comma-separated: failed=90d, workflow:ID=7d, team:NAME=180d, team:NAME&failed=forever.",
    )

    @property
    def shares_store(self) -> bool:
        """Whether other processes may work on the same store."""
        return bool(self.store.get_secret_value())

    @property
    def serves_clients(self) -> bool:
        """Whether clients are answered here, not only those who ask how the process is."""
        return self.role in ("all", "gateway")

    @property
    def folds(self) -> bool:
        """Whether this process brings events into the store."""
        return self.role in ("all", "projector")

    @property
    def delivers(self) -> bool:
        """Whether this process sends notices to webhook endpoints."""
        return self.role in ("all", "deliverer")

    @property
    def key_bytes(self) -> bytes | None:
        """The key; None where the data folder holds it."""
        return base64.b64decode(self.key.get_secret_value()) or None

    @property
    def kafka(self) -> KafkaSecurity:
        """What the brokers ask for, of journal and commands alike."""
        return KafkaSecurity(
            self.kafka_security,
            self.kafka_ca,
            self.kafka_cert,
            self.kafka_key,
            self.kafka_sasl_mechanism,
            self.kafka_sasl_username,
            self.kafka_sasl_password.get_secret_value(),
        )

    @field_validator("journal_keep_s", "webhook_keep_s", "export_keep_s", mode="before")
    @classmethod
    def _read_duration(cls, said: Any) -> Any:
        return duration_s(said) if isinstance(said, str) else said

    @field_validator("webhook_allow", "trusted_proxies", mode="before")
    @classmethod
    def _read_networks(cls, said: Any) -> Any:
        networks = [part.strip() for part in said.split(",")] if isinstance(said, str) else list(said)
        return tuple(str(ipaddress.ip_network(network)) for network in networks if network)

    @field_validator("origins", mode="before")
    @classmethod
    def _read_origins(cls, said: Any) -> Any:
        origins = [part.strip().lower() for part in said.split(",")] if isinstance(said, str) else list(said)
        for origin in filter(None, origins):
            if not _is_base_url(origin) or urlsplit(origin).path:
                raise ValueError(f"'{origin}' is no origin such as https://dashboard.example.com, without a path")
        return tuple(filter(None, origins))

    @field_validator("public_url")
    @classmethod
    def _read_public_url(cls, said: str) -> str:
        if said and not _is_base_url(said):
            raise ValueError("is no address such as https://monitor.example.com, without user, query and fragment")
        return said.rstrip("/")

    @field_validator("mask")
    @classmethod
    def _check_mask(cls, said: str) -> str:
        for rule in filter(None, map(str.strip, said.removeprefix("+").split(","))):
            check_mask_rule(rule)
        return said

    @field_validator("keep")
    @classmethod
    def _check_keep(cls, said: str) -> str:
        parse_retention(said)
        return said

    @field_validator("key")
    @classmethod
    def _check_key(cls, said: SecretStr) -> SecretStr:
        try:
            size_bytes = len(base64.b64decode(said.get_secret_value(), validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("is not base64; make one with: openssl rand -base64 32") from None
        if size_bytes not in (0, _KEY_BYTES):
            raise ValueError(f"holds {size_bytes} bytes, not {_KEY_BYTES}; make one with: openssl rand -base64 32")
        return said

    @field_validator("store")
    @classmethod
    def _check_store(cls, said: SecretStr) -> SecretStr:
        url = said.get_secret_value()
        if url and not _STORE_URL.fullmatch(url):
            raise ValueError("is no address such as postgresql://user:password@host:5432/database")
        # Or the driver would take a part of the password for the host, and say so in its errors.
        if url.partition("://")[2].partition("/")[0].count("@") > 1 or _BARE_PERCENT.search(url):
            raise ValueError("holds a character that is one of the address's own: write @ as %40, / as %2F, % as %25")
        return said

    @model_validator(mode="after")
    def _share_both_or_none(self) -> "Settings":
        if self.shares_store and not self.journal:
            raise ValueError("MONITOR_STORE names a shared store, which needs a shared journal: set MONITOR_JOURNAL")
        if self.role != "all" and not self.shares_store:
            raise ValueError(
                f"MONITOR_ROLE={self.role} does a part of the work and needs others who do the rest, over a shared "
                "journal and store: set MONITOR_JOURNAL=kafka://... and MONITOR_STORE=postgresql://..."
            )
        return self

    @model_validator(mode="after")
    def _keep_topics_apart(self) -> "Settings":
        if self.commands and self.commands == self.journal:
            raise ValueError("MONITOR_COMMANDS names the topic of MONITOR_JOURNAL; commands need a topic of their own")
        return self

    @model_validator(mode="after")
    def _check_kafka(self) -> "Settings":
        if self.kafka.contradiction:
            raise ValueError(self.kafka.contradiction)
        return self

    @model_validator(mode="after")
    def _guard_open_door(self) -> "Settings":
        if self.auth == "off" and not is_loopback(self.host):
            raise ValueError(f"MONITOR_AUTH=off listens on loopback only, not on {self.host}; use --host 127.0.0.1")
        return self


def read_settings(environment: Mapping[str, str] = os.environ, **given: Any) -> Settings:
    """The settings of `environment`; `given` ones (from the command line, None = not given) win.

    Raises SettingsInvalid: one line that names the setting, what is wrong and, for an unknown one, the nearest known.
    """
    _refuse_unknown(environment)
    known = {
        name: said
        for name, key in keys().items()
        if (said := environment.get(key)) or (said is not None and name in _EMPTY_COUNTS)
    }
    for name, key in file_keys().items():
        if path := environment.get(key):
            if name in known:
                raise SettingsInvalid(f"{key} and {keys()[name]} are both set; one of them is enough")
            known[name] = _secret_in(path, key)
    chosen = known | {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        key = keys().get(name, name)
        raise SettingsInvalid(
            ": ".join(part for part in (key, first["msg"].removeprefix("Value error, ")) if part)
        ) from None


def check_mask_rule(rule: str) -> None:
    """Raises ValueError, with a sentence, for what is no rule of masking."""
    if not rule.isprintable() or not _MASK_RULE.fullmatch(rule):
        raise ValueError(f"'{rule}' is no name or path such as customer.iban; a * stands for a whole name")


def keys() -> dict[str, str]:
    """The environment variable of every field."""
    return {name: field.alias or PREFIX + name.upper() for name, field in Settings.model_fields.items()}


def file_keys() -> dict[str, str]:
    """The environment variable that names a file instead, of every field that has one."""
    extras = {name: field.json_schema_extra for name, field in Settings.model_fields.items()}
    return {name: str(extra[IN_FILE]) for name, extra in extras.items() if isinstance(extra, dict) and IN_FILE in extra}


def duration_s(said: str) -> int | str:
    """The seconds in `90`, `90s`, `15m`, `12h` or `30d`; what reads otherwise as it is."""
    if said[-1:] in _UNITS_S and said[:-1].isascii() and said[:-1].isdigit():
        return int(said[:-1]) * _UNITS_S[said[-1]]
    return int(said) if said.isascii() and said.isdigit() else said


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _is_base_url(text: str) -> bool:
    """Whether a path can be put behind it."""
    if not text.isascii() or not text.isprintable() or not {" ", "?", "#", "\\", "@"}.isdisjoint(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _secret_in(path: str, key: str) -> str:
    """What a file holds, without the line's end that most editors leave."""
    try:
        secret = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{key}: {path}: {getattr(error, 'strerror', None) or 'is not text'}") from None
    if not secret:
        raise SettingsInvalid(f"{key}: {path}: is empty")
    return secret


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {*keys().values(), *file_keys().values()}
    for key in environment:
        if key.startswith(PREFIX) and not key.startswith(_TESTS) and key not in known | _OTHERS:
            near = difflib.get_close_matches(key, known, 1)
            raise SettingsInvalid(f"unknown setting {key}" + (f"; did you mean {near[0]}?" if near else ""))
