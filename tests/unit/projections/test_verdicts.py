"""Verdicts: who promised a sign of life and gave none is stalled, then presumed crashed; nobody else is judged."""

from typing import Any

import pytest

from monitor.events.codec import format_time_us, parse_time_us
from monitor.projections.verdicts import Verdict, arm, event_of, judge
from tests.support.clocks import NOON_US
from tests.support.folding import Run, at

SECOND_US = 1_000_000


class Course(Run):
    """A run that is heard of as it is told, by a service whose clock agrees with the engine's."""

    def __init__(self) -> None:
        super().__init__()
        # Times at which somebody was asked to look, in seconds past noon.
        self.asked: list[float] = []

    def hear(self, type_: str, second: float, *, data: Any = None, **members: Any) -> None:
        """The event comes in at its own time."""
        changes = self.tell(type_, second, data=data, **members)
        arm(changes, NOON_US + round(second * SECOND_US))
        looks = [touched.look_us for touched in changes.touched.values() if touched.look_us is not None]
        self.asked += [(look_us - NOON_US) / SECOND_US for look_us in looks]

    def look(self, second: float, *, listening_since: float = -1000) -> tuple[list[Verdict], float | None]:
        """What a look finds, and when the next one is due; in seconds past noon."""
        now_us, since_us = (NOON_US + round(time * SECOND_US) for time in (second, listening_since))
        verdicts, look_us = judge(self.execution, now_us, lambda _: since_us)
        return verdicts, None if look_us is None else (look_us - NOON_US) / SECOND_US

    def say(self, second: float) -> list[str]:
        """A look whose verdicts are folded; their kinds."""
        verdicts, _ = self.look(second)
        for verdict in verdicts:
            said = dict(event_of(self.execution, verdict))
            self.tell(said.pop("type"), **{name: said[name] for name in said if name not in ("executionId", "teamId")})
        return [verdict.kind for verdict in verdicts]


def started(heartbeat: Any = 10, **data: Any) -> Course:
    """A run that promised at noon to be heard of this often."""
    course = Course()
    course.hear("execution.started", 0, data={"heartbeat": heartbeat, **data})
    return course


def test_silence_is_told_after_two_heartbeats_and_presumed_a_crash_after_three() -> None:
    """Once each, and no look is wasted in between."""
    course = started()
    assert course.asked == [20]
    assert course.look(19.9) == ([], 20)
    assert course.say(20) == ["stalled"]
    assert (course.view.status, course.view.stalled, course.view.provisional) == ("running", True, False)
    assert course.look(29.9) == ([], 30)
    assert course.say(30) == ["crashed"]
    view = course.view
    assert (view.status, view.stalled, view.provisional, view.reason) == ("crashed", False, True, "no_heartbeat")
    assert view.error == {
        "type": "NoHeartbeat",
        "message": "presumed crashed: no sign of life since 2026-11-22T10:30:00.000000Z for 3 heartbeats of 10 s",
    }
    assert view.stopped_us == NOON_US
    assert course.look(1000) == ([], None)


def test_who_looks_late_tells_of_silence_first() -> None:
    """Nobody is presumed dead at the first look."""
    course = started()
    assert course.say(100) == ["stalled"]
    assert course.look(105) == (course.look(105)[0], 115)
    assert course.say(110) == ["crashed"]


def test_any_sign_of_life_counts() -> None:
    """A heartbeat moves nothing that is stored apart; whoever looks finds it."""
    course = started()
    course.hear("execution.heartbeat", 9)
    course.hear("node.started", 15, data={"nodeId": "a"})
    course.hear("log.appended", 18, data={"lines": [{"message": "m"}]})
    assert course.asked == [20]
    assert course.look(20) == ([], 38)


def test_a_late_sign_revokes_and_the_watch_goes_on() -> None:
    """Of a presumed crash as of silence; and it is looked at again."""
    course = started()
    assert [course.say(20), course.say(30)] == [["stalled"], ["crashed"]]
    course.hear("execution.heartbeat", 31)
    assert (course.view.status, course.view.stalled, course.view.provisional) == ("running", False, False)
    assert course.asked == [20, 51]
    assert course.say(51) == ["stalled"]
    course.hear("execution.heartbeat", 52)
    assert (course.view.stalled, course.asked) == (False, [20, 51, 72])
    assert course.look(71) == ([], 72)


def test_only_what_is_declared_is_judged() -> None:
    """Without a heartbeat nobody knows what silence means."""
    course = Course()
    course.hear("execution.started", 0)
    assert (course.asked, course.look(1e6)) == ([], ([], None))


@pytest.mark.parametrize("heartbeat", [0, -1, "10", None, True, [1], 1e300])
def test_what_is_no_heartbeat_declares_none(heartbeat: Any) -> None:
    """It is the producer's word; what makes no sense says nothing."""
    course = started(heartbeat)
    assert (course.asked, course.look(1e6)) == ([], ([], None))


@pytest.mark.parametrize(("heartbeat", "expected"), [(0.001, 2), (1, 2), (2.5, 5)])
def test_heartbeats_have_fractions_down_to_a_second(heartbeat: float, expected: float) -> None:
    """Nobody looks more often than once a second."""
    assert started(heartbeat).asked == [expected]


@pytest.mark.parametrize(
    "event",
    [
        ("execution.waiting", {"kind": "timer"}),
        ("execution.completed", None),
        ("execution.failed", None),
        ("execution.deleted", None),
    ],
)
def test_who_waits_or_has_ended_owes_no_heartbeat(event: tuple[str, Any]) -> None:
    """Nobody works on it."""
    course = started()
    course.hear(event[0], 5, data=event[1])
    assert course.look(1000) == ([], None)


def test_who_goes_on_is_watched_again() -> None:
    """Also where the row of the watch was taken away meanwhile."""
    course = started()
    course.hear("execution.waiting", 5)
    course.hear("execution.resumed", 500)
    assert course.asked == [20, 520]


def test_history_is_not_judged() -> None:
    """What was imported ended long ago, whatever is missing of it; unless it goes on live."""
    course = Course()
    course.hear("execution.started", 0, data={"heartbeat": 1, "deadlineAt": at(5)}, backfill=True)
    assert (course.asked, course.look(1000)) == ([], ([], None))
    course.hear("execution.resumed", 1000)
    assert course.asked == [5]


def test_the_monitors_own_words_are_no_sign_of_life() -> None:
    """Nor are people's."""
    course = started()
    course.hear("execution.annotated", 15, data={"note": "?"})
    course.hear("command.requested", 16, data={"commandId": "c"}, source="monitor")
    assert course.say(20) == ["stalled"]
    assert course.look(29)[1] == 30


def test_silence_counts_from_when_the_service_listened() -> None:
    """Whoever did not listen cannot tell."""
    course = started()
    assert course.look(100, listening_since=95) == ([], 115)


def test_a_deadline_is_missed_once() -> None:
    """Also by who waits; a later one is a new one."""
    course = Course()
    course.hear("execution.queued", 0, data={"deadlineAt": at(60)})
    assert course.asked == [60]
    assert course.look(59) == ([], 60)
    assert course.say(60) == ["late"]
    assert (course.view.late, course.view.status) == (True, "queued")
    assert course.look(61) == ([], None)
    course.hear("execution.started", 70, data={"deadlineAt": at(90)})
    assert (course.view.late, course.asked) == (False, [60, 90])
    assert course.say(95) == ["late"]
    course.hear("execution.completed", 99)
    assert course.view.late is False


def test_the_nearer_of_two_looks_comes_first() -> None:
    """A deadline before the next heartbeat is due, and one after."""
    assert started(10, deadlineAt=at(7)).asked == [7]
    assert started(10, deadlineAt=at(70)).look(20)[0][0].kind == "stalled"
    course = Course()
    course.hear("execution.queued", 0, data={"deadlineAt": at(3600)})
    course.hear("execution.started", 1, data={"heartbeat": 5})
    assert course.asked == [3600, 11]


def test_equal_verdicts_are_one_event() -> None:
    """Whoever says them, and when: the bytes are the same; other evidence makes another event."""
    course = started()
    (first,), (second,) = course.look(20)[0], course.look(27)[0]
    assert event_of(course.execution, first) == event_of(course.execution, second)
    course.hear("execution.heartbeat", 1)
    (third,) = course.look(30)[0]
    assert event_of(course.execution, third)["id"] != event_of(course.execution, first)["id"]


def test_what_it_rests_on_is_exact() -> None:
    """A verdict that rounds its evidence down would be revoked by it."""
    course = Course()
    course.hear("execution.started", 0, data={"heartbeat": 1})
    course.tell("execution.heartbeat", timestamp="2026-11-22T10:30:00.123456Z")
    assert [course.say(20), course.say(30)] == [["stalled"], ["crashed"]]
    assert course.view.status == "crashed"


@pytest.mark.parametrize("text", ["2026-11-22T10:30:00.000001Z", "1970-01-01T00:00:00.999999Z"])
def test_times_are_spelt_to_the_microsecond(text: str) -> None:
    """Whichever they are."""
    assert format_time_us(parse_time_us(text)) == text


def test_evidence_of_the_last_second_is_no_trap() -> None:
    """A clock that is far off gives a verdict that is still an event."""
    course = Course()
    course.hear("execution.started", 0, data={"heartbeat": 1e6}, timestamp="2099-12-31T23:59:59Z")
    assert [course.say(2e6 + 1), course.say(4e6)] == [["stalled"], ["crashed"]]
    assert course.view.status == "crashed"


def test_a_verdict_that_was_overtaken_is_told_to_nobody() -> None:
    """It is folded, and changes nothing; an end and a later sign overtake it."""
    for type_, second in (("execution.heartbeat", 1), ("execution.completed", 0)):
        course = started()
        verdicts = [Verdict("stalled", NOON_US, 10 * SECOND_US), Verdict("crashed", NOON_US, 10 * SECOND_US)]
        course.hear(type_, second)
        for verdict in verdicts:
            said = dict(event_of(course.execution, verdict))
            name = said.pop("type")
            members = {key: said[key] for key in ("id", "source", "epoch", "data", "timestamp")}
            assert course.tell(name, **members).releases == []
        assert (course.view.stalled, course.view.provisional) == (False, False)
