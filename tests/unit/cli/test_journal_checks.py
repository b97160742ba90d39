"""The doctor's look at journal beside store: lag in records and time, cuts, and clocks that are ahead."""

import pytest

from monitor.cli.findings import Finding
from monitor.cli.journal_checks import Folded, check_clock, compare, lag_finding, store_clock_finding
from monitor.events.model import Entry
from monitor.events.position import Position, beginning
from monitor.journal.base import Bounds
from monitor.journal.memory import MemoryJournal
from monitor.store.base import OffsetRow
from tests.support.clocks import NOON_US, ManualClock


@pytest.mark.parametrize(
    ("folded", "held", "waited_s", "state", "told"),
    [
        (7, Bounds(2, 7), None, "ok", "lag 0"),
        (3, Bounds(0, 7), 5.0, "ok", "lag 4, 5 s"),
        (3, Bounds(0, 7), 600.0, "warn", "lag 4, 10 min"),
        (3, Bounds(0, 20_000), 1.0, "warn", "lag 19997, 1 s"),
        (3, Bounds(5, 7), 1.0, "fail", "2 records were removed before they were folded"),
    ],
)
def test_partition_is_told_by_what_it_holds_and_how_far_it_is_folded(
    folded: int, held: Bounds, waited_s: float | None, state: str, told: str
) -> None:
    """Being behind is normal for a stopped service, for a minute; a cut is not."""
    finding = lag_finding(0, held, folded, waited_s)
    assert (finding.state, finding.subject) == (state, "partition 0")
    assert told in finding.text
    assert (finding.cure != "") == (state != "ok")


async def compared(
    journal: MemoryJournal, position: Position, rows: dict[int, OffsetRow], now_us: int
) -> list[Finding]:
    """With a store that is so far."""
    return [finding async for finding in compare(journal, Folded(position, rows), now_us)]


async def test_age_of_what_waits_is_told() -> None:
    """From the first record on that is not folded."""
    clock = ManualClock()
    journal = MemoryJournal(clock=clock)
    for value in (b"first", b"second"):
        await journal.append([Entry(b"e", value)])
        await clock.advance(100)
    position = beginning(journal.incarnation, 1)
    _, finding = await compared(journal, position, {0: OffsetRow(1, 0, b"")}, clock.now_us())
    assert (finding.state, finding.text) == ("warn", "holds offsets 0 to 2, folded up to 1, lag 1, 100 s")


async def test_partition_that_was_never_folded_stands_at_its_begin() -> None:
    """A store that was just made knows no partitions."""
    journal = MemoryJournal(clock=ManualClock())
    await journal.append([Entry(b"e", b"1"), Entry(b"e", b"2")])
    await journal.trim(0, 1)
    _, finding = await compared(journal, beginning(journal.incarnation, 1), {}, NOON_US)
    assert finding.text == "holds offsets 1 to 2, folded up to 1, lag 1, 0 s"


async def test_journal_of_another_life_is_a_failure() -> None:
    """By its name, by its end, and by a record that is another one; nothing else is then told of partitions."""
    journal = MemoryJournal(clock=ManualClock())
    await journal.append([Entry(b"e", b"1")])
    mine = beginning(journal.incarnation, 1)
    for position, row in [
        (beginning("0123456789ab", 1), OffsetRow(1, 0, b"")),
        (mine, OffsetRow(5, 0, b"")),
        (mine, OffsetRow(1, 0, b"another record's")),
    ]:
        [finding] = await compared(journal, position, {0: row}, NOON_US)
        assert (finding.state, finding.subject) == ("fail", "anchors")


@pytest.mark.parametrize(("ahead_s", "state"), [(-3600, "ok"), (1, "ok"), (10, "warn"), (600, "fail")])
async def test_clock_that_is_ahead_shows_in_the_newest_record(ahead_s: int, state: str) -> None:
    """Whoever stamped it, or this machine, is wrong."""
    journal = MemoryJournal(2, clock=ManualClock(NOON_US + ahead_s * 1_000_000))
    await journal.append([Entry(b"e", b"1")])
    finding = await check_clock(journal, NOON_US, "the service")
    assert (finding.state, finding.subject) == (state, "clock")
    assert (finding.cure != "") == (state != "ok")


@pytest.mark.parametrize(
    ("ahead_s", "state", "told"),
    [(0.4, "ok", "0.40 s ahead of"), (-1.5, "ok", "1.50 s behind"), (5, "warn", "5 s ahead"), (-600, "fail", "behind")],
)
def test_clock_of_the_store_is_compared_both_ways(ahead_s: float, state: str, told: str) -> None:
    """With the middle of the question's way."""
    finding = store_clock_finding(NOON_US + round(ahead_s * 1_000_000), NOON_US - 3_000_000, NOON_US + 3_000_000)
    assert (finding.state, told in finding.text) == (state, True)


async def test_empty_journal_tells_nothing_of_clocks() -> None:
    """And is no failure."""
    finding = await check_clock(MemoryJournal(clock=ManualClock()), NOON_US, "the service")
    assert finding.text == "no record to compare it with"
