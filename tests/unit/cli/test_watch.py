"""What each frame and each answer of REST means for somebody who follows an execution: by tables."""

from typing import Any

import msgspec
import pytest

from monitor.cli.frames import Frame
from monitor.cli.watch import Step, Watch, node_status
from monitor.projections.status import FINAL, IN_FLIGHT

NOW_US = 1_795_345_200_000_000
LONG_AGO = "2026-11-22T10:30:00.000Z"
JUST_NOW = "2026-11-22T10:59:59.000Z"
A_WHILE_AGO = "2026-11-22T10:59:45.000Z"

Members = dict[str, Any]


def event(kind: str = "node.started", version: int = 5, status: str = "running", **more: Any) -> Frame:
    """An event of the execution."""
    state = {"status": status, "progress": {}}
    members = {"type": kind, "id": f"{kind}-{version}", "version": version, "state": state, "timestamp": LONG_AGO}
    return msgspec.convert({**members, **more}, Frame)


def control(kind: str, **members: Any) -> Frame:
    """A word of the service."""
    return msgspec.convert({"type": f"stream.{kind}", **members}, Frame)


def execution(status: str = "running", **more: Any) -> Members:
    """What REST answers."""
    return {"status": status, "version": 5, "updatedAt": LONG_AGO, **more}


def watch(**answer: Any) -> Watch:
    """Of a follower that was told this answer."""
    made = Watch()
    made.catch_up(execution(**answer))
    made.is_behind = False
    return made


SNAPSHOT = {"executionId": "e", "state": {"status": "running", "progress": {}}}


@pytest.mark.parametrize(
    ("frame", "step", "is_behind"),
    [
        (event(version=6), Step.SHOW, False),
        (event(version=5), Step.SHOW, False),
        (event(version=4), Step.SKIP, False),
        (event("execution.completed", 6, "success"), Step.SHOW, False),
        (event("execution.deleted", 6), Step.REFRESH, True),
        (event("custom.thing", 6), Step.SHOW, False),
        (event("log.appended", 6, data={"lines": [{"message": "m"}]}), Step.SHOW, False),
        (control("snapshot", version=6, **SNAPSHOT), Step.REFRESH, True),
        (control("snapshot", version=5, **SNAPSHOT), Step.SKIP, False),
        (control("gap", reason="retention", position="p"), Step.REFRESH, True),
        (control("gap", reason="slow"), Step.REFRESH, True),
        (control("reset", reason="incarnation"), Step.REFRESH, True),
        (control("log-gap", count=3, href="/v1/executions/e/logs?from=a&to=b"), Step.FETCH, False),
        (control("log-gap", count=3, href="http://elsewhere/"), Step.REFRESH, True),
        (control("log-gap", count=3), Step.REFRESH, True),
        (control("end", status="success"), Step.END, False),
        (control("stale", since="t", lag=3), Step.SHOW, False),
        (control("fresh"), Step.SHOW, False),
        (control("slow", lagEvents=9, lagMs=1), Step.SHOW, False),
        *[
            (control(word), Step.SKIP, False)
            for word in ("hello", "subscribed", "snapshot-end", "checkpoint", "heartbeat", "drain", "shed", "error")
        ],
    ],
)  # fmt: skip
def test_each_frame_has_its_step(frame: Frame, step: Step, is_behind: bool) -> None:
    """Seen by a follower that stands at version 5."""
    follower = watch()
    assert follower.take(frame) == (step, frame)
    assert follower.is_behind is is_behind


def test_frame_that_comes_again_says_nothing_new() -> None:
    """A connection may break between two frames of one record, which share a version, and both come again."""
    follower = watch()
    recovered, completed = event("execution.recovered", 7), event("execution.completed", 7, "success")
    steps = [follower.take(frame)[0] for frame in (recovered, recovered, completed, recovered, completed)]
    assert steps == [Step.SHOW, Step.SKIP, Step.SHOW, Step.SKIP, Step.SKIP]


def test_only_lines_that_no_answer_told_are_news() -> None:
    """A frame with none of them is none."""
    follower = watch()
    first, second = ({"timestamp": LONG_AGO, "level": "info", "message": word} for word in ("first", "second"))
    follower.lines.begin()
    follower.lines.news([first])
    step, news = follower.take(event("log.appended", 6, data={"lines": [first, second], "final": True}))
    assert (step, news.data) == (Step.SHOW, {"lines": [second], "final": True})
    follower.lines.begin()
    follower.lines.news([first, second, second])
    assert follower.take(event("log.appended", 7, data={"lines": [second]}))[0] == Step.SKIP
    assert follower.version == 7


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(FINAL))
def test_stream_ends_it_by_its_word(status: str) -> None:
    """No other answer is needed."""
    follower = watch()
    follower.take(event("execution.failed", 6, status))
    assert follower.ended(control("end", status=status)) == status


@pytest.mark.parametrize("status", ["running", "", "unheard"])
def test_end_that_is_none_is_looked_into(status: str) -> None:
    """REST has the last word."""
    follower = watch()
    assert follower.ended(control("end", status=status)) is None
    assert follower.is_behind


def test_end_of_a_presumed_crash_is_looked_into() -> None:
    """It may be revoked: whether seen by stream or by REST."""
    by_stream, by_rest = watch(), watch(status="crashed", provisional=True)
    by_stream.take(event("execution.failed", 6, "crashed", data={"status": "crashed", "provisional": True}))
    by_stream.take(event("log.appended", 7, "crashed", data={"lines": [{"message": "last words"}]}))
    assert [follower.ended(control("end", status="crashed")) for follower in (by_stream, by_rest)] == [None, None]
    by_stream.take(event("execution.completed", 8, "success"))
    assert by_stream.ended(control("end", status="success")) == "success"


@pytest.mark.parametrize("status", sorted(IN_FLIGHT))
def test_what_is_under_way_is_not_over(status: str) -> None:
    """However long it is silent."""
    assert watch(status=status).judge(execution(status), NOW_US) is None


@pytest.mark.parametrize(
    ("answer", "is_over"),
    [
        ({"status": "success", "updatedAt": LONG_AGO}, True),
        ({"status": "success", "updatedAt": A_WHILE_AGO}, True),
        ({"status": "success", "updatedAt": JUST_NOW}, False),
        ({"status": "success"}, True),
        ({"status": "success", "updatedAt": "yesterday"}, True),
        ({"status": "crashed", "updatedAt": A_WHILE_AGO}, True),
        ({"status": "crashed", "updatedAt": A_WHILE_AGO, "provisional": True}, False),
        ({"status": "crashed", "updatedAt": LONG_AGO, "provisional": True}, True),
        ({"status": "unheard"}, False),
        ({}, False),
    ],
)
def test_what_has_ended_is_over_when_it_is_settled(answer: Members, is_over: bool) -> None:
    """Last log lines come within two seconds; a crash that is presumed may be revoked for half a minute."""
    follower = watch(status=answer.get("status", ""), provisional=answer.get("provisional"))
    assert follower.judge(answer, NOW_US) == (answer["status"] if is_over else None)


def test_stream_gets_one_chance_to_tell_the_end() -> None:
    """REST says that it is over; if the stream then is silent, REST tells the rest as well."""
    follower, ended = watch(), execution("failed")
    assert (follower.is_ending, follower.judge(ended, NOW_US)) == (False, None)
    assert (follower.is_ending, follower.is_behind) == (True, False)
    assert follower.judge(ended, NOW_US) is None
    assert follower.is_behind
    follower.catch_up(ended)
    assert follower.judge(ended, NOW_US) == "failed"


def test_stream_that_takes_its_chance_ends_it() -> None:
    """With nothing left to tell."""
    follower, ended = watch(), execution("failed")
    assert follower.judge(ended, NOW_US) is None
    follower.take(event("execution.failed", 6, "failed"))
    assert follower.judge(ended, NOW_US) == "failed"
    assert not follower.is_behind


def test_restart_takes_the_end_back() -> None:
    """An execution that runs again in a new epoch is under way."""
    follower = watch(status="failed")
    assert follower.is_ending
    follower.take(event("execution.started", 6, "running", epoch=1))
    assert not follower.is_ending
    overdue = watch()
    overdue.judge(execution("failed"), NOW_US)
    overdue.judge(execution("running"), NOW_US)
    assert not overdue.is_ending


# --- nodes -----------------------------------------------------------------------------------------------------------


def run(node_id: str, status: str, **more: Any) -> Members:
    """A run of a node as REST shows it."""
    return {"nodeId": node_id, "status": status, "iteration": 0, "attempt": 1, **more}


def test_runs_that_were_told_are_no_news() -> None:
    """By stream or by an earlier answer; another status, attempt, iteration or epoch is."""
    follower = Watch()
    first = execution(executionData=[run("a", "success"), run("b", "running")])
    assert follower.catch_up(first) == first["executionData"]
    assert follower.catch_up(first) == []
    follower.take(event("node.completed", 6, data={"nodeId": "b"}))
    follower.take(event("node.started", 7, data={"nodeId": "c", "attempt": 2}))
    again = [run("a", "success"), run("b", "success"), run("c", "running", attempt=2), run("c", "running")]
    assert follower.catch_up(execution(executionData=again)) == again[3:]
    assert follower.catch_up(execution(executionData=again[:1], epoch=1)) == again[:1]


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("node.started", {}, "running"),
        ("node.completed", {}, "success"),
        ("node.completed", {"status": "timeout"}, "timeout"),
        ("node.failed", {"status": "nonsense"}, "failed"),
        ("node.skipped", {}, "skipped"),
        ("node.progress", {}, None),
        ("node.unheard", {}, None),
        ("execution.completed", {}, None),
    ],
)
def test_status_of_a_node_is_what_its_event_says(kind: str, data: Members, status: str | None) -> None:
    """In the words that REST uses."""
    assert node_status(event(kind, data=data)) == status
