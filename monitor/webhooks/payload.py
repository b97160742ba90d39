"""The body of a webhook: the event, which is masked, in the words of the public API, with its place.

Promises: the same bytes for every endpoint and attempt, and never beyond `MAX_BODY_BYTES`. The planner asks for it.
"""

from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from monitor.projections.fold import Release

MAX_BODY_BYTES: Final = 256 * 1024
"""Of a full body. Receivers that take a megabyte are few, and what is larger is rarely read to its end."""

SCHEMA_VERSION: Final = 1
"""Raised when a member goes or means something else; further members may appear without."""


class _Payload(msgspec.Struct, rename="camel", gc=False):
    """What receivers read. `event` says what `type` says: the former is the older spelling."""

    event: str
    execution_id: str
    workflow_id: str
    workflow_name: str | None
    timestamp: str
    # Either what the event carries, or in a thin body a link to what its execution carried.
    data: dict[str, Any] | UnsetType
    data_url: str | UnsetType
    id: str
    type: str
    # Dense per source and execution; None when the producer does not count.
    sequence: int | None
    # Of the execution after this event: receivers keep the highest they saw.
    version: int
    schema_version: int = SCHEMA_VERSION


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
        body = _body(release, data=release.event.data)
        return body if len(body) <= MAX_BODY_BYTES else self._thin(release)

    def _thin(self, release: Release) -> bytes:
        path = f"/v1/executions/{quote(release.event.execution_id, safe='')}/data"
        return _body(release, data_url=self._public_url + path)


def _body(release: Release, *, data: dict[str, Any] | UnsetType = UNSET, data_url: str | UnsetType = UNSET) -> bytes:
    event = release.event
    return _encode(
        _Payload(
            event=event.type,
            execution_id=event.execution_id,
            workflow_id=release.workflow_id,
            workflow_name=release.workflow_name,
            timestamp=event.timestamp,
            data=data,
            data_url=data_url,
            id=event.id,
            type=event.type,
            sequence=event.sequence or None,
            version=release.version,
        )
    )
