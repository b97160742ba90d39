"""Bursts of poison: so many records that hold no event that whoever writes them has changed, and where to stand then.

A record that cannot be read now and then is quarantined, and its partition goes on. In a burst that would empty a whole
topic into quarantine: the partition halts at the record that was one too many, and waits there for somebody to look.
Pure, and without memory: what came before is what lies undecided in quarantine, so a restart forgets nothing, and who
decides about records takes them out of the count.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from monitor.events.model import Poison, Record

WINDOW: Final = 10_000
"""Offsets among which records that hold no event are counted."""

UNCOUNTED: Final = ("id_reused", "retention_cut")
"""Reasons that are no part of a burst. A record whose id another event has is one that intake takes: if it counted,
everybody who may send events of one team could halt those of all. What retention removed says nothing of who writes.
"""


class BurstLimits(NamedTuple):
    """How many records without an event are no burst yet."""

    in_a_row: int = 100
    # Among the latest `WINDOW`.
    in_window: int = 100


class Halt(NamedTuple):
    """A partition that stands still."""

    # The first record that is not read: one too many.
    offset: int
    # The first of those that were counted, and how many they were with the one at `offset`.
    first: int
    records: int
    # Of the one at `offset`, the word that quarantine uses.
    reason: str
    halted_us: int


def find_burst(
    records: Sequence[Record],
    poison: Mapping[int, Poison],
    undecided: Sequence[int],
    limits: BurstLimits,
    *,
    forgiven: int,
    now_us: int,
) -> Halt | None:
    """Where a partition halts that goes on with `records`, in order; None where it does not.

    `poison` are those that hold no event, by offset; `undecided` the offsets of earlier ones, growing. Below the offset
    `forgiven` nothing counts.
    """
    recent = deque(undecided)
    in_a_row = _tail(undecided, records[0].offset)
    for record in records:
        bad = poison.get(record.offset)
        if bad is None or bad.reason in UNCOUNTED or record.offset < forgiven:
            in_a_row = 0
            continue
        in_a_row += 1
        recent.append(record.offset)
        while recent[0] <= record.offset - WINDOW:
            recent.popleft()
        if in_a_row > limits.in_a_row or len(recent) > limits.in_window:
            counted = len(recent) if len(recent) > limits.in_window else min(in_a_row, len(recent))
            return Halt(record.offset, recent[-counted], counted, bad.reason, now_us)
    return None


def _tail(offsets: Sequence[int], end: int) -> int:
    """How many of these offsets stand side by side right before `end`."""
    count = 0
    for offset in reversed(offsets):
        if offset != end - count - 1:
            break
        count += 1
    return count


def in_words(partition: int, halt: Halt) -> str:
    """Why a partition stands still, and the cure. Tells of no execution, for everybody may read it."""
    return (
        f"partition {partition} stands still at offset {halt.offset}: {halt.records} records from offset {halt.first} "
        f"on hold no usable event ({halt.reason}). See `monitor quarantine ls --partition {partition}`, mend whoever "
        "writes them, then `monitor quarantine resume`"
    )
