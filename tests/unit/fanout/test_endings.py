"""A stream of one execution ends by itself once that has ended and its log is closed, or has been quiet for a while."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from monitor.access.positions import is_ended, open_position
from monitor.fanout.attachment import Attachment
from monitor.fanout.channels import ACTIVE
from monitor.fanout.hub import Hub
from monitor.fanout.wires import WEBSOCKET
from monitor.store.base import Reader
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.folding import at
from tests.support.released import SEALER, Piped, World, select, subscribed, told

FOLLOWED = select("execution:exec_1", logs=True)


class Course:
    """A world whose hub is told everything at once, and somebody who follows one execution."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOON_US)
        self.world = World(clock=self.clock)
        self.hub = self.world.hub()

    def follow(self, **wishes: Any) -> Attachment:
        """Somebody who follows it."""
        attachment = subscribed(self.hub, FOLLOWED, WEBSOCKET, **wishes)
        attachment.follow_end("exec_1")
        return attachment

    async def happen(self, *names: str, **members: Any) -> None:
        """Let events happen."""
        for name in names:
            await self.world.append(name, **{"data": {}, **members})
        self.world.publish(self.hub)

    async def log(self, *, final: bool) -> None:
        """Let a line be written."""
        await self.happen("log.appended", data={"lines": [{"message": "x"}], "final": final})

    async def presume_a_crash(self) -> None:
        """Let the monitor conclude that it must have crashed."""
        said = {"status": "crashed", "provisional": True, "asOf": at(60)}
        await self.happen("execution.failed", source="monitor", data=said)

    async def pass_by(self, seconds: int) -> None:
        """Let time go by, a beat a second."""
        for _ in range(seconds):
            await self.clock.advance(1.0)
            self.hub._beat()


@pytest.fixture
async def course() -> Course:
    """The execution runs."""
    course = Course()
    await course.happen("execution.started")
    return course


async def types(hub: Hub, attachment: Attachment) -> list[str]:
    """The types of the frames that there are to read now."""
    return [frame["type"] for frame in await told(hub, attachment)]


async def test_a_closed_log_ends_the_stream_at_once(course: Course) -> None:
    """Behind everything else; the token of the last frame says that nothing follows."""
    follower = course.follow()
    await course.happen("execution.completed")
    assert await types(course.hub, follower) == ["execution.completed"]
    await course.log(final=True)
    line, end = await told(course.hub, follower)
    assert line["type"] == "log.appended"
    token = end.pop("position")
    assert end == {"type": "stream.end", "executionId": "exec_1", "status": "success"}
    assert (is_ended(token), open_position(SEALER, token)) == (True, course.world.end)
    assert (follower.ended, await follower.next()) == ("ended", None)
    assert course.hub.statistics().tally.ends == 1


async def test_the_end_never_overtakes_what_came_before_it(course: Course) -> None:
    """A reader that is woken by it before the hub hands the last events out gets them first."""
    follower = Piped(course.hub, FOLLOWED)
    follower.attachment.follow_end("exec_1")
    await settle()
    await course.happen("execution.completed")
    await course.log(final=True)
    await settle()
    assert [frame["type"] for frame in follower.outlet.frames()] == [
        "execution.completed",
        "log.appended",
        "stream.end",
    ]
    await follower.leave()


async def test_a_log_that_was_closed_before_is_not_waited_for(course: Course) -> None:
    """The end itself is the last thing."""
    follower = course.follow()
    await course.log(final=True)
    assert await types(course.hub, follower) == ["log.appended"]
    await course.happen("execution.failed")
    assert await types(course.hub, follower) == ["execution.failed", "stream.end"]


async def test_a_quiet_log_ends_the_stream_after_two_seconds(course: Course) -> None:
    """Most producers never close it; every line begins the wait anew."""
    follower = course.follow()
    await course.happen("execution.cancelled")
    await course.pass_by(1)
    await course.log(final=False)
    await course.pass_by(1)
    assert await types(course.hub, follower) == ["execution.cancelled", "log.appended"]
    await course.pass_by(1)
    assert await types(course.hub, follower) == ["stream.end"]


async def test_silence_ends_nothing_that_runs(course: Course) -> None:
    """Nor does a closed log."""
    follower = course.follow()
    assert await types(course.hub, follower) == []
    await course.pass_by(600)
    assert await types(course.hub, follower) == []
    await course.log(final=True)
    await course.pass_by(600)
    assert "stream.end" not in await types(course.hub, follower)
    assert follower.ended is None


async def test_a_deleted_execution_is_over_at_once(course: Course) -> None:
    """It said its last."""
    follower = course.follow()
    await course.happen("execution.deleted")
    event, end = await told(course.hub, follower)
    assert (event["type"], end["type"], end["status"]) == ("execution.deleted", "stream.end", "deleted")


async def test_a_presumed_crash_that_is_revoked_in_time_is_no_end(course: Course) -> None:
    """Evidence came: it goes on, and ends in another way."""
    follower = course.follow()
    await course.presume_a_crash()
    await course.pass_by(1)
    await course.happen("node.completed", data={"nodeId": "a"}, timestamp=at(61))
    await course.pass_by(60)
    assert await types(course.hub, follower) == ["execution.failed", "execution.recovered", "node.completed"]
    await course.happen("execution.completed", timestamp=at(62))
    await course.pass_by(2)
    assert [(frame["type"], frame.get("status")) for frame in await told(course.hub, follower)] == [
        ("execution.completed", None),
        ("stream.end", "success"),
    ]


async def test_a_restart_opens_the_log_again(course: Course) -> None:
    """What was closed in an earlier life says nothing of this one."""
    follower = course.follow()
    await course.log(final=True)
    await course.happen("execution.started", "execution.completed", epoch=1)
    assert await types(course.hub, follower) == ["log.appended", "execution.started", "execution.completed"]
    await course.pass_by(2)
    assert await types(course.hub, follower) == ["stream.end"]


async def test_a_slow_reader_is_told_no_end_that_was_revoked_meanwhile(course: Course) -> None:
    """It reads what happened since, and the stream goes on."""
    follower = Piped(course.hub, FOLLOWED)
    follower.attachment.follow_end("exec_1")
    await settle()
    follower.outlet.shut()
    follower.outlet.write(b"\x81\x7e\x07\xd2" + b'"%b"' % (b"x" * 2000))
    await course.presume_a_crash()
    await course.pass_by(3)
    await course.happen("node.completed", data={"nodeId": "a"}, timestamp=at(61))
    await course.hub._flush()
    follower.outlet.open()
    await settle()
    assert [frame["type"] for frame in follower.outlet.frames()[1:]] == [
        "execution.failed",
        "execution.recovered",
        "node.completed",
    ]
    assert follower.is_served
    await course.happen("execution.completed", timestamp=at(62))
    await course.hub._flush()
    await course.pass_by(2)
    await settle()
    assert follower.outlet.frames()[-1]["status"] == "success"
    await follower.leave()


async def test_what_ended_long_ago_ends_the_stream_behind_its_snapshot(course: Course) -> None:
    """Nobody has to wait for something to happen."""
    await course.happen("execution.completed")
    await course.clock.advance(2.0)
    follower = course.follow(snapshot=ACTIVE)
    assert await types(course.hub, follower) == ["stream.snapshot", "stream.snapshot-end", "stream.end"]


async def test_what_has_just_ended_is_given_the_rest_of_its_two_seconds(course: Course) -> None:
    """Counted from what the store heard last."""
    await course.happen("execution.completed")
    await course.pass_by(1)
    follower = course.follow(snapshot=ACTIVE)
    assert await types(course.hub, follower) == ["stream.snapshot", "stream.snapshot-end"]
    await course.log(final=False)
    await course.pass_by(1)
    assert await types(course.hub, follower) == ["log.appended"]
    await course.pass_by(1)
    assert await types(course.hub, follower) == ["stream.end"]


async def test_what_was_heard_since_counts_more_than_what_the_store_said(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer may be old when it comes."""
    await course.happen("execution.completed")
    await course.clock.advance(60.0)
    read, gate = course.world.store.read, asyncio.Event()

    async def read_and_wait(work: Callable[[Reader], object]) -> object:
        found = await read(work)
        await gate.wait()
        return found

    follower = course.follow()
    with monkeypatch.context() as patched:
        patched.setattr(course.world.store, "read", read_and_wait)
        reading = asyncio.create_task(follower.next())
        await settle()
    await course.happen("execution.started", epoch=1)
    gate.set()
    chunk = await reading
    assert chunk is not None
    assert [json.loads(message)["type"] for message in chunk.messages] == ["execution.started"]
    await course.pass_by(60)
    assert "stream.end" not in await types(course.hub, follower)


async def test_who_comes_back_gets_what_is_missing_before_the_end(course: Course) -> None:
    """However far behind it is."""
    await course.happen(*["node.started"] * 5, "execution.completed", data={"nodeId": "a"})
    await course.clock.advance(60.0)
    follower = course.follow(start=course.world.beginning.advanced(0, 1))
    assert await types(course.hub, follower) == [*["node.started"] * 5, "execution.completed", "stream.end"]


async def test_an_execution_that_nobody_knows_is_waited_for(course: Course) -> None:
    """It may begin any time."""
    follower = subscribed(course.hub, select("execution:later"), WEBSOCKET)
    follower.follow_end("later")
    await course.pass_by(60)
    await course.happen("execution.started", "execution.completed", execution_id="later")
    assert await types(course.hub, follower) == ["execution.started", "execution.completed"]
    await course.pass_by(2)
    assert await types(course.hub, follower) == ["stream.end"]


async def test_everybody_who_follows_it_is_told(course: Course) -> None:
    """Also who came after the end, and through a socket; each of its own team."""
    other = subscribed(course.hub, select("execution:exec_1", team="blue"), WEBSOCKET)
    other.follow_end("exec_1")
    first, piped = course.follow(), Piped(course.hub, FOLLOWED)
    piped.attachment.follow_end("exec_1")
    await settle()
    await course.happen("execution.completed")
    second = course.follow()
    await course.hub._flush()
    await course.pass_by(2)
    assert (await types(course.hub, first))[-1] == "stream.end"
    assert await types(course.hub, second) == ["stream.end"]
    await settle()
    assert [frame["type"] for frame in piped.outlet.frames()] == ["execution.completed", "stream.end"]
    assert not piped.is_served
    assert "stream.end" not in await types(course.hub, other)
    await piped.leave()


async def test_a_follower_that_leaves_is_forgotten(course: Course) -> None:
    """Nothing is kept of an execution that nobody follows."""
    followers = [course.follow(), course.follow()]
    followers[0].leave()
    followers[0].leave()
    await course.happen("execution.completed")
    await course.log(final=True)
    assert followers[0].ended == "left"
    assert (await types(course.hub, followers[1]))[-1] == "stream.end"
    followers[1].leave()
    assert not course.hub._feed.endings


async def test_a_full_socket_does_not_become_less_stuck_by_an_end(course: Course) -> None:
    """Who takes nothing is closed after its time, however often it is told that it could finish."""
    follower = Piped(course.hub, FOLLOWED)
    follower.attachment.follow_end("exec_1")
    await settle()
    follower.outlet.shut()
    follower.outlet.write(b"x" * 2000)
    await course.happen("execution.completed")
    await course.pass_by(12)
    await settle()
    assert follower.attachment.ended == "slow"
    await follower.leave()


async def test_a_store_that_does_not_answer_sends_the_follower_away(course: Course) -> None:
    """It comes back, and is told then."""
    await course.world.store.close()
    follower = course.follow()
    assert (await types(course.hub, follower), follower.ended) == ([], "unavailable")
