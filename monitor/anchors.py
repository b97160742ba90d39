"""Anchors: by the last record that was folded, a store recognises its journal when both are opened again."""

from collections.abc import Mapping

from monitor.errors import JournalMismatch
from monitor.events.blanking import anchor_of
from monitor.journal.base import Journal
from monitor.store.base import OffsetRow, Store


async def check_anchors(journal: Journal, store: Store) -> None:
    """Raise JournalMismatch unless the store was folded from this very journal.

    Each stored offset must lie inside the journal, and the record before it must be the one that was folded. A record
    that retention has removed since cannot be compared and is taken on trust.
    """
    await check_rows(journal, await store.read(lambda reader: reader.offsets()))


async def check_rows(journal: Journal, rows: Mapping[int, OffsetRow]) -> None:
    """The same for the offset rows of a store that is not open."""
    bounds = await journal.bounds()
    for partition, row in rows.items():
        end = bounds[partition].end
        if row.next > end:
            raise _mismatch(f"partition {partition} is folded up to {row.next}, but its journal ends at {end}")
        if row.anchor and bounds[partition].start < row.next:
            records = await journal.read(partition, row.next - 1, row.next, 1)
            if records and anchor_of(records[0]) != row.anchor:
                raise _mismatch(f"record {row.next - 1} of partition {partition} is not the one that was folded")


def _mismatch(what: str) -> JournalMismatch:
    return JournalMismatch(
        f"the store was not folded from this journal: {what}. It was recreated or restored from an older copy; "
        "restore both from one backup with `monitor restore` into an empty folder, or move store.db away to fold this "
        "journal from its beginning, without webhooks and tokens"
    )
