"""Joining: the journal has what happened, the store what each commit said about it; by offset they are releases again.

Whoever reads what others folded goes through here, live (`follower`) and later (`replay`).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from monitor.access.decoding import Decoding
from monitor.events.model import Event, Record
from monitor.projections.execution import Progress
from monitor.projections.fold import Release, concluded
from monitor.store.releases import ReleasedBatch, StoredRelease, Stretch

ByOffset = Mapping[int, Sequence[StoredRelease]]
"""What was released of each record of a partition, derived events ahead of their cause."""


def by_offset(stored: Iterable[StoredRelease]) -> ByOffset:
    """Releases of one partition, in order, as `joined` takes them."""
    return {offset: list(rows) for offset, rows in groupby(stored, key=lambda row: row.offset)}


def joined(records: Iterable[Record], stored: ByOffset, decoding: Decoding, team: str | None = None) -> list[Release]:
    """What was released of these records of one partition, of one team or all, in their order.

    Nothing of a record whose bytes were taken away since: it holds no event any more.
    """
    releases: list[Release] = []
    for event in decoding.events([record for record in records if record.offset in stored], are_known=True):
        if isinstance(event, Event) and team in (None, event.team):
            releases += [_release(row, event) for row in stored[event.record.offset]]
    return releases


def is_doubtful(stretch: Stretch, batches: Sequence[ReleasedBatch]) -> bool:
    """Whether releases of the stretch may be forgotten, given the batches in it: then ask the journal where it begins.

    They go with their records, the oldest first, so all are there where one is that begins no later. Where none does,
    there was nothing to release, or the journal begins later by now.
    """
    return not batches or batches[0].first > stretch.start


def _release(row: StoredRelease, event: Event) -> Release:
    return Release(
        event if row.derived is None else concluded(event, row.derived, row.status),
        row.workflow_id,
        row.workflow_name,
        row.mode,
        row.version,
        row.status,
        Progress(row.completed, row.total, row.current, row.message),
        row.started_us,
        row.duration_us,
        row.tags,
        row.details,
        row.created_us,
    )
