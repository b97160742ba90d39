"""Nesting has a limit that does not depend on how deep in its own calls a reader happens to stand."""

import msgspec
import pytest

from monitor.access.teams import team_rule
from monitor.events.codec import MAX_NESTING, decode
from monitor.events.model import Event, Poison, Record

TEAM_OF = team_rule(exclusive=True, trust_body=False)


def read(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> Event | Poison:
    """An event whose `data` has so many levels."""
    deep = b'{"x":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"
    text = b'{"type":"execution.started","executionId":"e","timestamp":"2026-11-22T10:30:00Z","data":%b}' % deep
    return decode(Record(0, 0, None, text, (), 0), TEAM_OF)


def below(calls: int, levels: int) -> Event | Poison:
    """The same, read from so many calls further down."""
    return read(levels) if calls == 0 else below(calls - 1, levels)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"x":', b"}")])
def test_the_limit_is_exact(opening: bytes, closing: bytes) -> None:
    """The last level that is taken, and the first that is not."""
    taken, refused = read(MAX_NESTING, opening, closing), read(MAX_NESTING + 1, opening, closing)
    assert isinstance(taken, Event)
    assert isinstance(refused, Poison)
    assert (refused.reason, refused.field) == ("invalid_field", "data")


def test_what_is_taken_can_be_written_again() -> None:
    """Also from deep within other calls."""
    event = below(500, MAX_NESTING)
    assert isinstance(event, Event)
    assert msgspec.json.decode(msgspec.json.encode(event.data)) == event.data


def test_width_is_no_depth() -> None:
    """Many brackets side by side are fine."""
    text = msgspec.json.encode(
        {
            "type": "execution.started",
            "executionId": "e",
            "timestamp": "2026-11-22T10:30:00Z",
            "data": {"rows": [{}] * 1000, "text": "[" * 1000},
        }
    )
    assert isinstance(decode(Record(0, 0, None, text, (), 0), TEAM_OF), Event)


@pytest.mark.parametrize("levels", [900, 990, 2000, 100_000])
def test_absurd_depth_is_poison(levels: int) -> None:
    """Whether the parser gives up first or the limit does."""
    assert isinstance(read(levels), Poison)
