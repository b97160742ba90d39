"""The body of a webhook: the event, which is masked, in the words of the public API, with its place.

Promises: the same bytes for every endpoint and attempt, and never beyond `MAX_BODY_BYTES`. The planner asks for it.
"""

from typing import Any, Final, NotRequired
from urllib.parse import quote

import msgspec
from typing_extensions import TypedDict

from monitor.projections.fold import Release

MAX_BODY_BYTES: Final = 256 * 1024
"""Of a full body. Receivers that take a megabyte are few, and what is larger is rarely read to its end."""

SCHEMA_VERSION: Final = 1
"""Raised when a member goes or means something else; further members may appear without."""


class Full(TypedDict):
    """What the event carries."""

    data: dict[str, Any]


class Thin(TypedDict):
    """A link to what its execution carried."""

    dataUrl: str


class Body(TypedDict):
    """An event, with its place: full with `data`, or thin with `dataUrl`."""

    event: str
    """What `type` says, in the older spelling."""
    executionId: str
    workflowId: str
    workflowName: str | None
    timestamp: str
    """RFC 3339, by the producer's clock."""
    data: NotRequired[dict[str, Any]]
    """As the event has it, masked."""
    dataUrl: NotRequired[str]
    """Where the data of the execution is, instead."""
    id: str
    """Of the event."""
    type: str
    sequence: int | None
    """Dense per source and execution; null when the producer does not count."""
    version: int
    """Of the execution after this event: receivers keep the highest they saw."""
    schemaVersion: int
    """Raised when a member goes or means something else."""


_encode: Final = msgspec.json.Encoder().encode


class Bodies:
    """Makes bodies: full ones carry the event's `data`, thin ones a link to what the execution carried."""

    def __init__(self, public_url: str) -> None:
        """`public_url` is how receivers reach this service, without a slash at its end; empty: links are paths."""
        self._public_url = public_url

    def of(self, release: Release, thin: bool) -> bytes:
        """The body for an event, thin when that is asked for or a full one would be too large."""
        if thin:
            return self._thin(release)
        body = _body(release, {"data": release.event.data})
        return body if len(body) <= MAX_BODY_BYTES else self._thin(release)

    def _thin(self, release: Release) -> bytes:
        path = f"/v1/executions/{quote(release.event.execution_id, safe='')}/data"
        return _body(release, {"dataUrl": self._public_url + path})


def _body(release: Release, carried: Full | Thin) -> bytes:
    event = release.event
    body: Body = {
        "event": event.type,
        "executionId": event.execution_id,
        "workflowId": release.workflow_id,
        "workflowName": release.workflow_name,
        "timestamp": event.timestamp,
        **carried,
        "id": event.id,
        "type": event.type,
        "sequence": event.sequence or None,
        "version": release.version,
        "schemaVersion": SCHEMA_VERSION,
    }
    return _encode(body)
