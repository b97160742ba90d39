"""What history keeps of a release."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from monitor.projections.execution import Details
from monitor.projections.fold import Release


class StoredRelease(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A release at rest. The event itself is in the journal; `derived` names one that the fold concluded from it."""

    offset: int
    derived: str | None
    workflow_id: str
    workflow_name: str | None
    mode: str | None
    version: int
    status: str
    completed: int
    total: int
    current: str | None
    message: str | None
    started_us: int | None
    duration_us: int | None
    tags: list[str]
    details: Details
    created_us: int


class Stretch(NamedTuple):
    """Offsets of a partition from `start` up to, not including, `end`."""

    start: int
    end: int


class ReleasedBatch(NamedTuple):
    """What one commit released of a partition's offsets from `first` up to, not including, `next`.

    Nothing: these records were gone from the journal before anybody read them.
    """

    partition: int
    first: int
    next: int
    releases: Sequence[StoredRelease]


def blanked_release(release: StoredRelease) -> StoredRelease:
    """What history keeps of it once its execution is deleted: no words of the producer's own."""
    return msgspec.structs.replace(release, current=None, message=None, tags=[])


def stored_release(release: Release, derived: bool) -> StoredRelease:
    """What history keeps of a release."""
    event, progress = release.event, release.progress
    return StoredRelease(
        event.record.offset,
        event.type if derived else None,
        release.workflow_id,
        release.workflow_name,
        release.mode,
        release.version,
        release.status,
        progress.completed,
        progress.total,
        progress.current,
        progress.message,
        release.started_us,
        release.duration_us,
        release.tags,
        release.details,
        release.created_us,
    )
