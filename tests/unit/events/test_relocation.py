"""Where records stand once their log was moved: beyond doubt, and the same as whoever appends them finds."""

import pytest

from monitor.events.model import NOWHERE, Place
from monitor.events.relocation import Relocation

MOVED = (0, 2, 2, 0, 1, 2)
"""The partitions of the records from offset 10 on."""


@pytest.fixture
def relocation() -> Relocation:
    """Six records to three partitions of four."""
    relocation = Relocation(10, 4)
    for partition in MOVED:
        relocation.add(partition)
    return relocation


def test_each_partition_is_filled_from_its_beginning() -> None:
    """In the order of the old log."""
    relocation = Relocation(10, 4)
    assert [relocation.add(partition).offset for partition in MOVED] == [0, 0, 1, 1, 0, 2]


def test_old_places_are_found(relocation: Relocation) -> None:
    """Those that are gone, or never were, are nowhere."""
    old = [Place(0, offset) for offset in range(8, 17)]
    new = [(0, 0), (2, 0), (2, 1), (0, 1), (1, 0), (2, 2)]
    assert [relocation.of(place) for place in old] == [(0, NOWHERE)] * 2 + new + [(0, NOWHERE)]


@pytest.mark.parametrize(
    ("before", "ends"),
    [
        (0, (0, 0, 0, 0)),
        (10, (0, 0, 0, 0)),
        (12, (1, 0, 1, 0)),
        (14, (2, 0, 2, 0)),
        (16, (2, 1, 3, 0)),
        (99, (2, 1, 3, 0)),
    ],
)
def test_ends_tell_how_far_each_partition_was_at_an_old_offset(
    relocation: Relocation, before: int, ends: tuple[int, ...]
) -> None:
    """Also one that lies before what is left, or behind it."""
    assert relocation.ends(before) == dict(enumerate(ends))
    assert relocation.end == 16
