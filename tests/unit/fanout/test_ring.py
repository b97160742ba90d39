"""The ring keeps the latest items, and says so where an older one is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.fanout.ring import Fallen, Ring


def test_a_cursor_at_the_end_reads_nothing_yet() -> None:
    """Neither in a new ring nor in one that was read to its end."""
    ring: Ring[str] = Ring(10)
    assert ring.since(ring.next, 5) == []
    ring.append("a", 1)
    assert ring.since(ring.next, 5) == []


def test_a_cursor_that_fell_off_is_told() -> None:
    """Items between it and the oldest one are gone: no silent skip."""
    ring: Ring[str] = Ring(3)
    for item in "abcde":
        ring.append(item, 1)
    assert (ring.first, ring.next, ring.dropped) == (2, 5, "b")
    assert ring.since(2, 10) == ["c", "d", "e"]
    with pytest.raises(Fallen):
        ring.since(1, 10)


def test_the_newest_item_stays_however_large_it_is() -> None:
    """Or nobody could ever read it."""
    ring: Ring[str] = Ring(3)
    ring.append("a", 1)
    ring.append("huge", 1000)
    assert ring.since(ring.first, 10) == ["huge"]


def test_a_cleared_ring_goes_on_counting() -> None:
    """A cursor at its end stays valid, one before it has fallen off."""
    ring: Ring[str] = Ring(10)
    for item in "abc":
        ring.append(item, 1)
    ring.clear()
    ring.append("d", 1)
    assert (ring.size_bytes, ring.since(3, 10)) == (1, ["d"])
    with pytest.raises(Fallen):
        ring.since(2, 10)


@given(st.integers(1, 50), st.lists(st.integers(0, 20), max_size=200))
def test_it_holds_as_many_of_the_latest_as_fit(limit_bytes: int, sizes: list[int]) -> None:
    """Compared with a plain list after every append."""
    ring: Ring[int] = Ring(limit_bytes)
    for sequence, size_bytes in enumerate(sizes):
        ring.append(sequence, size_bytes)
        kept = [sequence]
        while kept[0] > 0 and sum(sizes[kept[0] - 1 : sequence + 1]) <= limit_bytes:
            kept.insert(0, kept[0] - 1)
        assert ring.since(ring.first, len(sizes)) == kept
        assert ring.size_bytes == sum(sizes[kept[0] : sequence + 1])


def test_a_long_life_costs_no_more_memory() -> None:
    """Dead places at the front are given back."""
    ring: Ring[int] = Ring(10)
    for item in range(5000):
        ring.append(item, 1)
    assert ring.since(ring.first, 20) == list(range(4990, 5000))
    assert len(ring._items) < 2000
