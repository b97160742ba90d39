"""A batch is taken only when it continues the partition."""

import pytest

from monitor.journal.kafka.reading import Reading, Trust


@pytest.mark.parametrize(
    ("trust", "below", "at", "above"),
    [
        (Trust.SOUGHT, False, True, False),
        (Trust.SOUGHT_AGAIN, False, True, True),
        (Trust.STEADY, False, True, True),
        (Trust.CUT, False, False, False),
    ],
)
def test_batch_is_taken_by_where_it_begins(trust: Trust, below: bool, at: bool, above: bool) -> None:
    """Below never; above only where a hole is known to be one; after a cut nothing."""
    assert [below, at, above] == [Reading(10, trust).accepts(head) for head in (9, 10, 11)]


def test_taken_batch_makes_the_reading_steady() -> None:
    """From then on offsets may jump over what is no record."""
    reading = Reading(10)
    reading.went_on_to(25)
    assert reading == Reading(25, Trust.STEADY)
