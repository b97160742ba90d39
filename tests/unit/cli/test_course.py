"""Where a reader stands, how long it believes in silence, when it comes back and when it gives up: by tables."""

from typing import Any

import msgspec
import pytest

from monitor.cli.course import Course
from monitor.cli.frames import Frame, Progress, State
from monitor.cli.service import Away, Unwatchable

AWAY = Away("Connection refused")
LATER = Away("not now", is_its_word=True)


def course(**more: Any) -> Course:
    """Of a reader that began at second 0 and has 60 s of patience."""
    return Course("http://h", 0.0, **{"patience_s": 60.0} | more)


def frame(kind: str, **members: Any) -> Frame:
    """A frame of this type, as it comes."""
    return msgspec.convert({"type": kind, **members}, Frame)


EVENT = Frame(type="node.started", position="p9", state=State("running", Progress()))


@pytest.mark.parametrize(
    ("frames", "position"),
    [
        ([], None),
        ([frame("stream.hello", position="p1")], None),
        ([frame("stream.subscribed", position="p1")], "p1"),
        ([frame("stream.subscribed")], None),
        ([frame("stream.subscribed", position="p1"), EVENT], "p9"),
        ([frame("stream.subscribed", position="p1"), frame("stream.snapshot"), frame("stream.heartbeat")], "p1"),
        ([frame("stream.snapshot-end", position="p2")], "p2"),
        ([frame("stream.checkpoint", position="p3")], "p3"),
        ([frame("stream.gap", reason="retention", position="p4")], "p4"),
        ([EVENT, frame("stream.gap", reason="slow")], "p9"),
        ([frame("stream.drain", retryMs=1, position="p5")], "p5"),
    ],
)
def test_position_is_that_of_the_last_frame_that_has_one(frames: list[Frame], position: str | None) -> None:
    """But hello's: it was said before the service had looked at ours."""
    begun = course()
    for each in frames:
        begun.take(each, 1.0)
    assert begun.position == position


def test_reader_begins_where_it_is_told() -> None:
    """Only a position of the service's own making can become unknown without a mistake."""
    begun = course(position="earliest")
    assert (begun.position, begun.has_moved) == ("earliest", False)
    begun.take(EVENT, 1.0)
    assert (begun.position, begun.has_moved) == ("p9", True)
    begun.go_to(None)
    assert (begun.position, begun.has_moved) == (None, False)


@pytest.mark.parametrize(
    ("said", "silence_s"), [({}, 37.5), ({"heartbeat_ms": 2000}, 5.0), ({"heartbeat_ms": 0}, 37.5)]
)
def test_silence_is_believed_for_two_and_a_half_heartbeats(said: dict[str, Any], silence_s: float) -> None:
    """Of the service's, or the usual ones while it has not said."""
    begun = course()
    begun.take(frame("stream.hello", **said), 1.0)
    assert begun.silence_s == silence_s


def test_pauses_grow_to_five_seconds_and_begin_anew_after_progress() -> None:
    """Half of each is chance."""
    begun = course(waits=True)
    most = [begun.lost(AWAY, 1.0, 1.0) for _ in range(8)]
    assert most == [0.5, 1, 2, 4, 5, 5, 5, 5]
    assert begun.lost(AWAY, 1.0, 0.0) == 2.5
    begun.take(frame("stream.heartbeat"), 1.0)
    assert [begun.lost(AWAY, 1.0, chance) for chance in (0.0, 0.5)] == [0.25, 0.75]


@pytest.mark.parametrize(
    "kind", ["hello", "subscribed", "snapshot", "gap", "reset", "drain", "shed", "error", "stale", "slow"]
)
def test_connection_that_brings_nobody_further_is_a_failure(kind: str) -> None:
    """A service that says hello and goes is not asked twice a second for ever, and is given up in the end."""
    begun = course()
    pauses = []
    for _ in range(4):
        begun.take(frame(f"stream.{kind}"), 1.0)
        pauses.append(begun.lost(AWAY, 1.0, 1.0))
    assert pauses == [0.5, 1, 2, 4]
    begun.take(frame(f"stream.{kind}"), 59.0)
    with pytest.raises(Unwatchable, match="no answer from http://h for 60 s"):
        begun.lost(AWAY, 60.0, 0.0)


@pytest.mark.parametrize(
    ("asked_s", "chance", "pause_s"),
    [(0, 1.0, 0.5), (3, 0.0, 3.0), (3, 1.0, 3.75), (0.1, 1.0, 0.5), (86_400, 0.0, 60.0), (float("inf"), 0.0, 60.0)],
)
def test_pause_that_the_service_asks_for_is_the_least(asked_s: float, chance: float, pause_s: float) -> None:
    """But nobody waits a day, and a thousand who were told the same do not come back at once."""
    assert course().lost(Away("busy", pause_s=asked_s, is_its_word=True), 1.0, chance) == pause_s


@pytest.mark.parametrize(
    ("frame_", "reason", "pause_s"),
    [
        (frame("stream.drain", retryMs=1500), "the service is about to end", 1.5),
        (frame("stream.shed", retryMs=2500), "the service has too many connections", 2.5),
        (frame("stream.error", code="X", message="no such thing"), "no such thing", 0.0),
    ],
)
def test_farewell_says_why_and_for_how_long(frame_: Frame, reason: str, pause_s: float) -> None:
    """It is forgotten when the next connection begins."""
    begun = course()
    begun.take(frame_, 1.0)
    assert begun.farewell is not None
    assert (begun.farewell.reason, begun.farewell.pause_s) == (reason, pause_s)
    begun.connecting()
    assert begun.farewell is None


def test_service_that_never_answered_is_given_up_at_once() -> None:
    """The usual mistake is an address; one that says itself that it is busy is there, and `waits` waits."""
    with pytest.raises(Unwatchable, match=r"nobody answers at http://h \(Connection refused\); start `monitor serve`"):
        course().lost(AWAY, 0.0, 0.0)
    course().lost(LATER, 0.0, 0.0)
    course(waits=True).lost(AWAY, 59.9, 0.0)


def test_service_that_was_there_is_given_up_after_a_while() -> None:
    """Counted from its last sign of life, on the stream or beside it."""
    begun = course()
    begun.take(EVENT, 100.0)
    begun.lost(AWAY, 159.9, 0.0)
    begun.heard(160.0)
    begun.lost(AWAY, 219.9, 0.0)
    with pytest.raises(Unwatchable, match=r"for 60 s \(Connection refused\).*--patience"):
        begun.lost(AWAY, 220.0, 0.0)


def test_answers_beside_the_stream_do_not_shorten_its_pauses() -> None:
    """REST may work where the stream does not."""
    begun = course(waits=True)
    begun.lost(AWAY, 1.0, 1.0)
    begun.heard(1.0)
    assert begun.lost(AWAY, 1.0, 1.0) == 1.0
