"""The tests' reader of event streams obeys the standard, however the bytes are cut: else it would prove nothing."""

import itertools

import pytest

from tests.support.event_stream import EventStream
from tests.support.event_stream_cases import CASES, Case


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_standard_at_every_cut(case: Case) -> None:
    """As a whole, byte by byte, and in two and three pieces cut anywhere."""
    whole = len(case.body)
    cuts = [(), tuple(range(1, whole)), *itertools.combinations(range(whole + 1), 2 if whole < 200 else 1)]
    for cut in cuts:
        assert outcome(case.body, cut) == case._replace(body=b"")


def outcome(body: bytes, cuts: tuple[int, ...]) -> Case:
    """What the reader makes of the body when it comes in these pieces."""
    stream = EventStream()
    pieces = (body[begin:end] for begin, end in itertools.pairwise((0, *cuts, len(body))))
    fired = tuple(fired for piece in pieces for fired in stream.feed(piece))
    return Case(b"", fired, stream.last_event_id, stream.retry_ms)
