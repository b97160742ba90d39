"""Log lines are read from strangers and identified by their event and their place in it."""

from typing import Any

import pytest

from monitor.projections.loglines import LEVELS, LogLine, level_of
from tests.support.clocks import NOON_US
from tests.support.folding import ID, Run, at


def lines(*documents: dict[str, Any], **members: Any) -> list[LogLine]:
    """What is read from one event with these lines."""
    run = Run()
    return run.tell("log.appended", 1, data={"lines": list(documents), **members}).touched[ID].lines


def test_a_line_says_what_it_knows() -> None:
    """Time, level, node, message, data; what is missing comes from the event."""
    [full, bare] = lines(
        {"timestamp": at(5), "level": "WARNING", "nodeId": "a", "message": "m", "data": {"x": 1}},
        {"message": ""},
        nodeId="b",
    )
    assert full[:1] + full[2:] == (NOON_US + 5_000_000, 0, "warn", "a", "m", {"x": 1})
    assert bare[:1] + bare[2:] == (NOON_US + 1_000_000, 1, "info", "b", "", None)
    assert full.event_tie == bare.event_tie


@pytest.mark.parametrize("said", ["yesterday", 5, None, "9999-12-31T23:59:59Z"])
def test_a_line_without_a_usable_time_has_its_events(said: object) -> None:
    """A wrong time loses no line."""
    [line] = lines({"timestamp": said, "message": "m"})
    assert line.time_us == NOON_US + 1_000_000


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("debug", "debug"),
        ("Warn", "warn"),
        ("FATAL", "error"),
        ("trace", "debug"),
        ("loud", "info"),
        (5, "info"),
        (None, "info"),
    ],
)
def test_levels_have_four_words(said: object, expected: str) -> None:
    """Usual synonyms are understood; unknown words are `info`."""
    assert level_of(said) == expected
    assert expected in LEVELS


def test_ties_fit_a_signed_integer_anywhere() -> None:
    """They are columns of databases."""
    assert all(0 <= line.event_tie < 1 << 56 for line in lines({"message": "m"}))
