"""What `monitor doctor` tells of the journal beside its store: whether one was folded from the other, how far each
partition is, in records and in time, and whose clock is ahead.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final, NamedTuple

from monitor.anchors import check_rows
from monitor.cli.findings import Finding, State
from monitor.cli.store_checks import in_units
from monitor.errors import JournalMismatch, RetentionCut
from monitor.events.position import Position
from monitor.journal.base import Bounds, Journal
from monitor.journal.waiting import waiting_since_us
from monitor.store.base import OffsetRow

_NOTABLE_LAG: Final = 10_000
"""Half a second's work; more, while a service runs, is worth a look."""

_NOTABLE_WAIT_S: Final = 60
"""Nobody reads a live page that is a minute old."""

_SKEW_S: Final = 2.0
_BAD_SKEW_S: Final = 30.0
"""Verdicts (stalled, late) and the age of what is shown are wrong by as much."""

_LAST_RECORDS: Final = 20
"""The last offsets may be markers of transactions, which are no records."""


class Folded(NamedTuple):
    """How far a store is."""

    position: Position
    rows: Mapping[int, OffsetRow]


async def compare(journal: Journal, folded: Folded, now_us: int) -> AsyncIterator[Finding]:
    """Whether the store was folded from this journal, and how far. Raises MonitorError when the journal fails."""
    incarnation = folded.position.incarnation
    if incarnation and incarnation != journal.incarnation:
        text = f"the store was folded from the journal {incarnation}, this one is {journal.incarnation}"
        yield Finding("fail", "anchors", text, "bring back that journal, or begin with a new data folder")
        return
    try:
        await check_rows(journal, folded.rows)
        yield Finding("ok", "anchors", "the store was folded from this journal")
    except JournalMismatch as mismatch:
        yield Finding("fail", "anchors", mismatch.message)
        return
    bounds = await journal.bounds()
    for partition, held in sorted(bounds.items()):
        row = folded.rows.get(partition)
        next_offset = row.next if row else held.start
        since_us = await waiting_since_us(journal, partition, Bounds(next_offset, held.end))
        yield lag_finding(partition, held, next_offset, None if since_us is None else (now_us - since_us) / 1_000_000)


def lag_finding(partition: int, held: Bounds, folded: int, waited_s: float | None) -> Finding:
    """How far a partition is folded, what it holds, and how long the first record has waited that is not folded."""
    lag, subject = held.end - folded, f"partition {partition}"
    text = f"holds offsets {held.start} to {held.end}, folded up to {folded}, lag {lag}"
    if folded < held.start:
        text += f"; {held.start - folded} records were removed before they were folded"
        return Finding("fail", subject, text, "lengthen the topic's retention; see the quarantine")
    if waited_s is None:
        return Finding("ok", subject, text)
    text += f", {in_units(max(0.0, waited_s))}"
    if lag > _NOTABLE_LAG or waited_s > _NOTABLE_WAIT_S:
        return Finding("warn", subject, text, "start the service, or see whether it keeps up")
    return Finding("ok", subject, text)


async def check_clock(journal: Journal, now_us: int, whose: str) -> Finding:
    """Whether a record was stored later than it is now by this machine's clock; `whose` clock stamps them.

    A clock that is behind shows in nothing that is stored.
    """
    latest_us = max(await _latest_us(journal), default=None)
    if latest_us is None:
        return Finding("ok", "clock", "no record to compare it with")
    return skew_finding((latest_us - now_us) / 1_000_000, f"the newest record, stamped by {whose}")


def store_clock_finding(store_us: int, before_us: int, after_us: int) -> Finding:
    """How the shared store's clock goes beside this machine's, which asked at `before_us` and heard at `after_us`."""
    ahead_s = (store_us - (before_us + after_us) / 2) / 1_000_000
    if abs(ahead_s) <= _SKEW_S:
        return Finding("ok", "store's clock", f"{abs(ahead_s):.2f} s {_side(ahead_s)} this machine's")
    # Processes that share a store go by its clock; what else runs here, and whoever reads its logs, does not.
    return _skewed("store's clock", f"{in_units(abs(ahead_s))} {_side(ahead_s)} this machine's", abs(ahead_s))


def skew_finding(ahead_s: float, what: str) -> Finding:
    """`what` is so many seconds ahead of this machine's clock; below nothing is the age of something old."""
    if ahead_s <= _SKEW_S:
        return Finding("ok", "clock", f"{what}, is not of the future")
    return _skewed("clock", f"{what}, is {in_units(ahead_s)} ahead of this machine's clock", ahead_s)


def _skewed(subject: str, text: str, by_s: float) -> Finding:
    state: State = "fail" if by_s > _BAD_SKEW_S else "warn"
    return Finding(state, subject, text, "have both follow the same time server (chrony, ntpd)")


def _side(ahead_s: float) -> str:
    return "ahead of" if ahead_s > 0 else "behind"


async def _latest_us(journal: Journal) -> list[int]:
    """When the last records of every partition were stored."""
    stored = []
    for partition, held in (await journal.bounds()).items():
        start = max(held.start, held.end - _LAST_RECORDS)
        try:
            records = await journal.read(partition, start, held.end, _LAST_RECORDS)
        except RetentionCut:
            continue  # it was cut meanwhile; nothing new came
        stored += [record.stored_us for record in records]
    return stored


def journal_finding(journal: Journal | None) -> Iterator[Finding]:
    """Which journal it is."""
    if journal is None:
        yield Finding("ok", "journal", "none yet; the first start makes it")
    else:
        yield Finding("ok", "journal", f"incarnation {journal.incarnation}, {journal.partitions} partition(s)")
