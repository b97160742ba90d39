"""Settings: one frozen object, read once from `MONITOR_*`. Unknown keys are refused with a suggestion.

Each field's description is its documentation; `schemas/settings.json` is generated from them.
"""

import difflib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from monitor.errors import SettingsInvalid

PREFIX: Final = "MONITOR_"
_TESTS: Final = ("MONITOR_TEST_", "MONITOR_KAFKA_CACHE", "MONITOR_KAFKA_VERSION")
"""Belong to the project's own test runs, never to a service."""

_DAY_S: Final = 86_400
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": _DAY_S}


class Settings(BaseModel):
    """Everything that can be set. Defaults start a service on this machine with nothing but Python."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    data: Path = Field(Path("monitor-data"), description="Folder of the embedded journal and store, and of the key.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    journal: str = Field(
        "",
        description="Empty for the embedded journal, or kafka://host:port,host:port/topic.",
        pattern=r"^(kafka://.+/.+)?$",
    )
    store: str = Field("", description="Empty for the embedded store in the data folder.", pattern="^$")
    auth: Literal["off"] = Field("off", description="off: no credentials; only for a loopback address.")
    log: Literal["console", "json"] = Field("console", description="Form of the program's log lines.")
    create_topics: bool = Field(True, description="Create a missing Kafka topic; off refuses to start instead.")
    trust_team: bool = Field(False, description="Believe the teamId in the body of events read from Kafka.")
    journal_keep_s: int = Field(
        7 * _DAY_S,
        alias="MONITOR_JOURNAL_KEEP",
        ge=60,
        description="How long the embedded journal keeps applied records: seconds, or a number with s, m, h or d.",
    )
    streams: int = Field(
        10_000, ge=1, description="Streams open at a time; whoever comes beyond them is told when to come back."
    )
    webhook_allow: tuple[str, ...] = Field(
        (), description="Private networks (CIDR, comma-separated) that webhooks may reach over http and on any port."
    )

    @field_validator("journal_keep_s", mode="before")
    @classmethod
    def _read_duration(cls, said: Any) -> Any:
        if isinstance(said, str) and said[-1:] in _UNITS_S and said[:-1].isdigit():
            return int(said[:-1]) * _UNITS_S[said[-1]]
        return said

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _read_networks(cls, said: Any) -> Any:
        networks = [part.strip() for part in said.split(",")] if isinstance(said, str) else list(said)
        return tuple(str(ipaddress.ip_network(network)) for network in networks if network)

    @model_validator(mode="after")
    def _guard_open_door(self) -> "Settings":
        if not is_loopback(self.host):
            raise ValueError(f"MONITOR_AUTH=off listens on loopback only, not on {self.host}; use --host 127.0.0.1")
        return self


def read_settings(environment: Mapping[str, str] = os.environ, **given: Any) -> Settings:
    """The settings of `environment`; `given` ones (from the command line, None = not given) win.

    Raises SettingsInvalid: one line that names the setting, what is wrong and, for an unknown one, the nearest known.
    """
    _refuse_unknown(environment)
    known = {name: environment[key] for name, key in keys().items() if environment.get(key)}
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


def keys() -> dict[str, str]:
    """The environment variable of every field."""
    return {name: field.alias or PREFIX + name.upper() for name, field in Settings.model_fields.items()}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = set(keys().values())
    for key in environment:
        if key.startswith(PREFIX) and not key.startswith(_TESTS) and key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise SettingsInvalid(f"unknown setting {key}" + (f"; did you mean {near[0]}?" if near else ""))
