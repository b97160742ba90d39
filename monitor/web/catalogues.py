"""The closed lists that belong to the contract: errors, metrics and types of events, as programs and people read them.

`schemas/` holds them as files, and the documentation's page shows them.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from typing_extensions import TypedDict

from monitor.errors import ClientError, MonitorError, Unavailable
from monitor.events.types import TYPES, EventType
from monitor.telemetry.metrics import CATALOGUE
from monitor.web.cures import CURES, READ_MESSAGE

_TREE: Final = "monitor.errors."
"""Where an error is declared that belongs to the contract; tests make others."""


class ErrorEntry(TypedDict):
    """An error that a client can meet."""

    code: str
    status: int
    retryable: bool
    name: str
    message: str
    cure: str


class MetricEntry(TypedDict):
    """A metric of `/metrics`."""

    name: str
    kind: str
    labels: list[str]
    meaning: str


class Catalogues(NamedTuple):
    """All of them."""

    errors: list[ErrorEntry]
    events: list[EventType]
    metrics: list[MetricEntry]


def catalogues() -> Catalogues:
    """Every error, type of event and metric."""
    return Catalogues(errors(), list(TYPES.values()), metrics())


def errors() -> list[ErrorEntry]:
    """Every error that a client can meet, by code."""
    kinds: list[type[MonitorError]] = [MonitorError, *_family(ClientError), *_family(Unavailable)]
    rows: list[ErrorEntry] = [
        {
            "code": kind.code,
            "status": kind.status,
            "retryable": kind.retryable,
            "name": kind.__name__,
            "message": (kind.__doc__ or "").partition("\n")[0],
            "cure": CURES.get(kind.code, READ_MESSAGE),
        }
        for kind in kinds
    ]
    return sorted(rows, key=lambda row: (row["code"], row["name"]))


def metrics() -> list[MetricEntry]:
    """Every metric of `/metrics`, by name."""
    rows: list[MetricEntry] = [
        {"name": row.name, "kind": row.kind, "labels": list(row.labels), "meaning": row.meaning} for row in CATALOGUE
    ]
    return sorted(rows, key=lambda row: row["name"])


def _family(kind: type[MonitorError]) -> Iterator[type[MonitorError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith(_TREE):
            yield from _family(child)
