"""No log line is told twice, and none is left out, whichever of stream and answers brought it first."""

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor.cli import told_lines
from monitor.cli.frames import Frame
from monitor.cli.told_lines import ToldLines

AT = "2026-11-22T10:30:00.{:03}Z"

Line = dict[str, Any]


def line(ms: int, message: str = "", **more: Any) -> Line:
    """A line as answers show it."""
    return {"timestamp": AT.format(ms), "level": "info", "message": message or f"line {ms}", **more}


def event(*lines: Line, **data: Any) -> Frame:
    """The event that brings them."""
    return Frame(type="log.appended", timestamp=AT.format(999), data={"lines": list(lines), **data})


def read(told: ToldLines, *pages: list[Line]) -> list[Any]:
    """What is news when the log is read in these pages."""
    told.begin()
    return [each for page in pages for each in told.news(page)]


def test_log_that_the_stream_told_is_no_news() -> None:
    """Only what it left out is."""
    told = ToldLines()
    assert told.told(event(line(1), line(3))) == [line(1), line(3)]
    assert read(told, [line(1), line(2), line(3)]) == [line(2)]
    assert read(told, [line(1), line(2), line(3)]) == []


def test_event_behind_an_answer_is_no_news() -> None:
    """The answer was read later than where the stream goes on; each line of it is awaited once."""
    told = ToldLines()
    assert read(told, [line(1), line(2)]) == [line(1), line(2)]
    assert told.told(event(line(2), line(3))) == [line(3)]
    assert told.told(event(line(2))) == [line(2)]


def test_line_that_is_there_twice_is_told_twice() -> None:
    """Lines are counted, since nothing else tells them apart."""
    told = ToldLines()
    told.told(event(line(1), line(1)))
    assert read(told, [line(1), line(1), line(1)]) == [line(1)]
    assert told.told(event(line(1), line(1))) == [line(1)]


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ({"level": "WARNING"}, {"level": "warn"}),
        ({"nodeId": ""}, {}),
        ({"nodeId": "own"}, {"nodeId": "own"}),
        ({"timestamp": "2026-11-22T11:30:00.0019+01:00"}, {"timestamp": AT.format(1)}),
        ({"timestamp": "yesterday"}, {}),
        ({"data": {"a": 1, "b": [2]}}, {"data": {"b": [2], "a": 1}}),
    ],
)
def test_line_is_the_same_in_an_event_and_in_an_answer(sent: Line, answered: Line) -> None:
    """Which shows milliseconds, our words for levels, and the event's time and node where a line has none."""
    told = ToldLines()
    told.told(event({"message": "m", **sent}, nodeId="event's"))
    assert read(told, [line(999, "m", nodeId="event's") | answered]) == []


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(2, 12))
def test_pages_that_overlap_are_one_log(times: list[int], size: int) -> None:
    """Each page begins with the millisecond in which the last one ended, wherever that is cut."""
    log = [line(ms, f"{number % 2}") for number, ms in enumerate(sorted(times))]
    assume(all(times.count(ms) < size for ms in times))
    pages, begin = [log[:size]], 0
    while begin + size < len(log):
        begin = next(at for at, each in enumerate(log) if each["timestamp"] == pages[-1][-1]["timestamp"])
        pages.append(log[begin : begin + size])
    assert read(ToldLines(), *pages) == log


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told longest ago is forgotten, and not read again: it says up to when."""
    monkeypatch.setattr(told_lines, "MOST_LINES", 3)
    told = ToldLines()
    told.told(event(line(1), line(2), line(3)))
    assert told.forgotten_us is None
    told.told(event(line(4), line(5)))
    assert told.forgotten_us == 1_795_343_400_002_000
    assert read(told, [line(3), line(4), line(5), line(6)]) == [line(6)]
    assert told.told(event(line(6))) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [({}, []), ({"lines": 7}, []), ({"lines": ["no line", None, {}]}, [{}])],
)
def test_lines_that_are_none_do_no_harm(data: Line, told: list[Line]) -> None:
    """The service lets none of them in; another program might."""
    lines = ToldLines()
    assert lines.told(msgspec.convert({"type": "log.appended", "data": data}, Frame)) == told
    assert read(lines, [{}, {"message": 7, "timestamp": 7}]) == [{}, {"message": 7, "timestamp": 7}][len(told) :]
