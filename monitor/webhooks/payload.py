"""The body of a webhook: the event, which is masked, in the words of the public API, with its place.

Promises: the same bytes for every endpoint and attempt, and never beyond `MAX_BODY_BYTES`. The planner asks for it.
"""

from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from monitor.projections.fold import Release

MAX_BODY_BYTES: Final = 256 * 1024
"""Of a full body. Receivers that take a megabyte are few, and what is larger is rarely read to its end."""

SCHEMA_VERSION: Final = 1
"""Raised when a member goes or means something else; further members may appear without."""


class Body(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """An event, with its place: full with `data`, or thin with `dataUrl`."""

    event: Annotated[str, Meta(description="What `type` says, in the older spelling.")]
    execution_id: str
    workflow_id: str
    workflow_name: str | None
    timestamp: Annotated[str, Meta(description="RFC 3339, by the producer's clock.")]
    data: Annotated[dict[str, Any], Meta(description="As the event has it, masked.")] | UnsetType = UNSET
    data_url: Annotated[str, Meta(description="Where the data of the execution is, instead.")] | UnsetType = UNSET
    id: Annotated[str, Meta(description="Of the event.")]
    type: str
    sequence: Annotated[
        int | None, Meta(description="Dense per source and execution; null when the producer does not count.")
    ]
    version: Annotated[int, Meta(description="Of the execution after this event: receivers keep the highest they saw.")]
    schema_version: Annotated[int, Meta(description="Raised when a member goes or means something else.")] = (
        SCHEMA_VERSION
    )


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
        Body(
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
