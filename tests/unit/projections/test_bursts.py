"""When records without an event are a burst, and where a partition halts then."""

from collections.abc import Sequence

import pytest

from monitor.events.model import Poison, Record
from monitor.projections.bursts import WINDOW, BurstLimits, Halt, find_burst, in_words

LIMITS = BurstLimits(in_a_row=3, in_window=6)


def found(said: str, start: int = 0, undecided: Sequence[int] = (), forgiven: int = 0) -> Halt | None:
    """What becomes of records from `start` on: `x` holds no event, `.` one, and a blank is no record."""
    records = [Record(0, start + at, None, None, (), 0) for at, word in enumerate(said) if word != " "]
    poison = {it.offset: Poison(it, "empty", None, "") for it in records if said[it.offset - start] == "x"}
    return find_burst(records, poison, undecided, LIMITS, forgiven=forgiven, now_us=7)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("...", None),
        ("xxx", None),
        ("xxx.xxx", None),
        ("xxxx", (3, 0, 4)),
        ("..xxxx..", (5, 2, 4)),
        # What is no record interrupts nothing.
        ("x x  x x", (7, 0, 4)),
        ("xx.xx.xx.xx", (9, 0, 7)),
    ],
)
def test_more_than_the_limit_is_a_burst(said: str, expected: tuple[int, int, int] | None) -> None:
    """In a row, or among many: it halts at the one that is too many, and counts from the first of them."""
    halt = found(said)
    assert (None if halt is None else halt[:3]) == expected


def test_what_is_in_quarantine_counts() -> None:
    """So a restart between two records of a burst forgets nothing."""
    assert found("xx", 10, [8, 9]) == Halt(11, 8, 4, "empty", 7)
    assert found("xx", 10, [7, 8]) is None
    assert found("x.x", 10, [1, 3, 5, 7, 9]) == Halt(12, 1, 7, "empty", 7)
    assert found(".", 10, [1, 2, 3, 4, 5, 6, 7, 8, 9]) is None


def test_single_records_now_and_then_are_no_burst() -> None:
    """However many they become: only those among the latest ten thousand count."""
    before: list[int] = []
    for at in range(0, 100 * WINDOW, WINDOW // 5):
        assert found("x", at, [it for it in before if it >= at - WINDOW]) is None
        before.append(at)


def test_what_was_accepted_beforehand_does_not_count() -> None:
    """Below the offset up to which a burst was forgiven; behind it counting begins anew."""
    assert found("x" * 20, 0, forgiven=20) is None
    assert found("x" * 23, 0, forgiven=20) is None
    assert found("x" * 24, 0, forgiven=20) == Halt(23, 20, 4, "empty", 7)


def test_words_name_place_reason_and_cure() -> None:
    """For whoever looks at three in the morning."""
    said = in_words(3, Halt(11, 8, 4, "empty", 7))
    assert "partition 3 stands still at offset 11: 4 records from offset 8 on hold no usable event (empty)" in said
    assert "`monitor quarantine resume`" in said
