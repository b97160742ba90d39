"""A stream that is cut, refused, silent or spoiled goes on where it was, after the pause that is due.

Against a service on real sockets that says what the test wrote down.
"""

import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from monitor.cli.course import Course
from monitor.cli.service import Unwatchable, open_service
from monitor.cli.subscription import Subscription
from tests.support.scripted import Act, HastyClock, Refusal, Script, Scripted, refusal, scripted

HELLO = {"type": "stream.hello", "sid": "s", "heartbeat_ms": 15_000, "position": "hello", "limits": {}}
SUBSCRIBED = {"type": "stream.subscribed", "channels": ["executions"], "position": "p0"}


def event(number: int) -> dict[str, Any]:
    """The event with this number, and its position."""
    state = {"status": "running", "progress": {}}
    return {"type": "node.started", "id": f"e{number}", "version": number, "state": state, "position": f"p{number}"}


class Followed:
    """A subscription, its service, and what happened."""

    def __init__(self, fake: Scripted, subscription: Subscription, clock: HastyClock, told: list[str]) -> None:
        self.fake, self.subscription, self.clock, self.told = fake, subscription, clock, told

    async def until(self, last: str) -> list[str]:
        """Events by id and other frames by type up to `last`, but for those that open a connection."""
        found: list[str] = []
        async with aclosing(self.subscription.forever()) as frames:
            async for sent in frames:
                found.append(sent.frame.id or sent.frame.type)
                if found[-1] == last:
                    break
        return [name for name in found if name not in ("stream.hello", "stream.subscribed")]

    @property
    def asked_from(self) -> list[str | None]:
        """The position of each connection."""
        return [asked.query.get("position") for asked in self.fake.connections]


@asynccontextmanager
async def following(*scripts: Script, waits: bool = False, position: str | None = None) -> AsyncIterator[Followed]:
    """A subscription to a service with these scripts, one per connection."""
    clock, told = HastyClock(), []
    async with scripted() as fake, open_service(fake.url) as service:
        fake.streams.extend(scripts)
        course = Course(fake.url, 0.0, patience_s=60, waits=waits, position=position)
        subscription = Subscription(
            service,
            "/v1/executions/stream",
            [("events", "*"), ("filter[duration][gte]", "5")],
            course,
            clock=clock,
            chance=random.Random(1),
            on_pause=lambda why, _: told.append(why),
        )
        yield Followed(fake, subscription, clock, told)


OPENING: Sequence[Any] = (HELLO, SUBSCRIBED)


@pytest.mark.parametrize(
    "break_off",
    [
        [Act.END],
        [Act.CUT],
        [b'{"type":"node.star', Act.END],
        [b'{"type":"node.started","id":"e2"', Act.CUT],
        [b"<html>bad gateway</html>\n", Act.HANG],
        [b"\x00\xff\xfe\n", event(2), Act.HANG],
        [b"x" * (1 << 20)] * 17 + [Act.HANG],
        [{"type": "stream.drain", "retryMs": 1, "position": "p1"}, Act.END],
        [{"type": "stream.shed", "retryMs": 1}, Act.END],
    ],
)
async def test_stream_goes_on_where_it_broke_off(break_off: Script) -> None:
    """However that was: nothing is lost, and nothing of the broken end is believed."""
    assert not isinstance(break_off, Refusal)
    async with following([*OPENING, event(1), *break_off], [*OPENING, event(2), event(3), Act.HANG]) as followed:
        found = await followed.until("e3")
    assert [name for name in found if name.startswith("e")] == ["e1", "e2", "e3"]
    assert followed.asked_from == [None, "p1"]
    assert len(followed.told) == 1


async def test_questions_are_the_same_on_every_connection() -> None:
    """Filters and all, for lines of JSON."""
    async with following([*OPENING, Act.CUT], [*OPENING, event(1), Act.HANG]) as followed:
        await followed.until("e1")
    assert followed.asked_from == [None, "p0"]
    for asked in followed.fake.connections:
        assert asked.headers["accept"] == "application/x-ndjson"
        assert {"events": "*", "filter[duration][gte]": "5"}.items() <= asked.query.items()


async def test_bytes_in_any_pieces_are_the_same_frames() -> None:
    """One byte at a time, too."""
    sent = [json.dumps(event(number) | {"timestamp": "é"}, ensure_ascii=False) for number in (1, 2, 3)]
    whole = "\r\n".join([*sent, ""]).encode()
    async with following([*OPENING, *[whole[at : at + 1] for at in range(len(whole))], Act.HANG]) as followed:
        assert await followed.until("e3") == ["e1", "e2", "e3"]


async def test_silence_of_two_and_a_half_heartbeats_is_the_end() -> None:
    """A connection that is dead without knowing it is left; heartbeats keep one alive."""
    hello = HELLO | {"heartbeat_ms": 100}
    beats = [{"type": "stream.heartbeat"}] * 3
    async with following([hello, SUBSCRIBED, *beats, Act.HANG], [*OPENING, event(1), Act.HANG]) as followed:
        assert await followed.until("e1") == ["stream.heartbeat"] * 3 + ["e1"]
    assert followed.told == ["no answer in time"]


@pytest.mark.parametrize(
    ("answer", "why", "least_s"),
    [
        (refusal(503, "UNAVAILABLE", "too many", retry_after="7"), "too many", 7.0),
        (Refusal(503), "it answers with HTTP status 503", 1.0),
        (Refusal(502, b"<html>"), "it answers with HTTP status 502", 1.0),
        (Refusal(204), "the connection was closed", 0.0),
        (Refusal(200, b"<html>", {"content-type": "text/html"}), "it answers with text/html", 0.0),
    ],
)
async def test_answer_that_is_no_stream_is_waited_out(answer: Refusal, why: str, least_s: float) -> None:
    """For as long as it asks for."""
    async with following([*OPENING, event(1), Act.CUT], answer, [*OPENING, event(2), Act.HANG]) as followed:
        assert await followed.until("e2") == ["e1", "e2"]
    assert followed.clock.slept[1] >= least_s
    assert followed.asked_from == [None, "p1", "p1"]
    assert len(followed.told) == 1
    async with following(answer, [*OPENING, event(1), Act.HANG], waits=True) as first:
        assert await first.until("e1") == ["e1"]
    assert [said.startswith(why) for said in first.told] == [True]


async def test_pauses_grow_and_are_told_once() -> None:
    """A service that goes right after its hello is no service yet."""
    flapping: Sequence[Script] = [[*OPENING, Act.CUT]] * 5
    async with following(*flapping, [*OPENING, event(1), Act.CUT], [*OPENING, event(2), Act.HANG]) as followed:
        assert await followed.until("e2") == ["e1", "e2"]
    *growing, anew = followed.clock.slept
    assert [low <= pause <= 2 * low for low, pause in zip((0.25, 0.5, 1, 2, 2.5), growing, strict=True)] == [True] * 5
    assert 0.25 <= anew <= 0.5
    assert len(followed.told) == 2


async def test_service_that_stays_away_is_given_up() -> None:
    """After a minute of trying, with one line that says what to do."""
    async with following([*OPENING, event(1), Act.CUT]) as followed:
        with pytest.raises(Unwatchable, match=r"no answer from http://.* for 60 s \(it answers with HTTP status 503\)"):
            await followed.until("never")
    assert 60 <= followed.clock.monotonic_s() < 66


async def test_address_without_a_service_is_given_up_at_once() -> None:
    """Another program answers there."""
    async with following(Refusal(200, b"<html>", {"content-type": "text/html"})) as followed:
        with pytest.raises(Unwatchable, match=r"it answers with text/html, which is no stream.*--url"):
            await followed.until("never")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_question_that_is_refused_is_not_asked_again(status: int) -> None:
    """The service's own words are the message, on the first connection as on a later one."""
    no = refusal(status, "INVALID_FILTER", "unknown filter field 'x'")
    for scripts in ([no], [[*OPENING, event(1), Act.CUT], no]):
        async with following(*scripts) as followed:
            with pytest.raises(Unwatchable, match="unknown filter field 'x'"):
                await followed.until("never")
        assert len(followed.fake.connections) == len(scripts)


async def test_position_that_the_service_does_not_know_any_more_is_announced() -> None:
    """It was made by a service with another key: the stream begins anew, and says that something may be missing."""
    forgotten = refusal(400, "INVALID_POSITION", "The position was not made by this service.")
    async with following([*OPENING, event(1), Act.CUT], forgotten, [*OPENING, event(2), Act.HANG]) as followed:
        assert await followed.until("e2") == ["e1", "stream.reset", "e2"]
    assert followed.asked_from == [None, "p1", None]


async def test_position_of_the_user_that_nobody_knows_is_a_mistake() -> None:
    """It is not dropped silently."""
    async with following(refusal(400, "INVALID_POSITION", "bad"), position="mine") as followed:
        with pytest.raises(Unwatchable, match="bad"):
            await followed.until("never")
    assert followed.asked_from == ["mine"]
