"""Clients that this project did not write read the stream of a real service: all see the same, and all come back."""

import json
import re
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from monitor.events.model import MAX_EVENT_BYTES
from monitor.events.types import DERIVED, TYPES
from tests.support.browser import Browser, BrowserUnavailable, prepare_browser, running_browser
from tests.support.debian import Unavailable
from tests.support.followers import Follower, Followers, following
from tests.support.made_up import VARIED
from tests.support.node_clients import prepare
from tests.support.service import Service
from tests.support.traffic import traffic

CHANNELS = ("executions", "workflow:wf_123")
"""As in the documented example."""

LAST = "the-last-one"
LOSSES = ("gap", "reset", "error", "shed")
BATCH = 50

HOSTILE = (
    r"\r\n\n data: forged\n\nevent: stream.reset\r\rid: x",
    r"\u0000 \u000b \u000c \u001c \u0085 \u2028 \u2029 \ufeff \ud83d\ude80",
    "\x7f \x85 \u2028 \u2029 \ufeff 🚀 e\u0301 \u202e",
    "</script><script>alert(1)</script>",
)
"""What JSON strings may hold, escaped and raw."""


# One browser for all of it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium that may say that it did not reach a service that is away; Node's clients are there as well."""
    try:
        executable = prepare_browser()
        prepare()
    except (BrowserUnavailable, Unavailable) as error:
        pytest.skip(str(error))
    async with running_browser(executable) as browser:
        browser.expected = re.compile(r"net::ERR_|favicon")
        yield browser


async def test_every_client_is_shown_the_same(tmp_path: Path, browser: Browser) -> None:
    """Equal texts with equal tokens in one order, each event once, whatever is in its strings and however long."""
    early = ["early-1", "early-2", "early-3"]
    async with serving(Service(tmp_path / "data")) as service:
        await post(service, map(event, early))
        await service.caught_up()
        kinds = Followers(service.url, CHANNELS, browser, events="*", snapshot="active").all()
        async with following(kinds) as followers:
            for follower in followers.values():
                await follower.until(lambda one: one.controls("snapshot-end"))
            events = [*hostile_events(), largest_event(), *made_up(500), event(LAST)]
            await post(service, events)
            await everybody_has_seen(LAST, followers)
        assert await service.stop() == 0
    assert_equal(followers)
    assert facts(followers["websockets"]) == [fact(orjson.loads(sent)) for sent in events]
    for follower in followers.values():
        assert sorted(shown.frame["executionId"] for shown in follower.controls("snapshot")) == early


@pytest.mark.timeout(300)  # the long form starts the service eleven times
async def test_every_client_comes_back_after_a_kill(tmp_path: Path, browser: Browser, long_form: bool) -> None:
    """The service dies by SIGKILL under them: none misses an event, none is shown one twice."""
    kills = 10 if long_form else 1
    lifecycle = [sent for sent in made_up(300 * (kills + 1)) if is_lifecycle(sent)]
    async with serving(Service(tmp_path / "data")) as service:
        async with following(Followers(service.url, CHANNELS, browser).all()) as followers:
            share = len(lifecycle) // (kills + 1) + 1
            for begin in range(0, len(lifecycle), share):
                if begin:
                    service.kill()
                    service.launch()
                    await service.ready()
                for at in range(begin, begin + share, BATCH):
                    await post(service, lifecycle[at : min(at + BATCH, begin + share)])
            await post(service, [event(LAST)])
            await everybody_has_seen(LAST, followers)
        assert await service.stop() == 0
    # A conclusion goes ahead of its cause: who is cut off between the two is shown it again.
    assert_equal(followers, but=DERIVED)
    assert facts(followers["websockets"]) == [fact(orjson.loads(sent)) for sent in (*lifecycle, event(LAST))]


async def test_stream_of_one_execution_ends_for_everybody(tmp_path: Path, browser: Browser) -> None:
    """They see its end and its last log line, and none comes back: an EventSource because it is told 204."""
    ends = [
        event("e1", type="execution.completed", id="2"),
        event("e1", type="log.appended", id="3", data={"lines": [{"message": "bye"}], "final": True}),
    ]
    async with serving(Service(tmp_path / "data")) as service:
        await post(service, [event("e1")])
        await service.caught_up()
        kinds = Followers(service.url, browser=browser, path="/v1/executions/e1/stream", logs="1").all()
        del kinds["curl"]  # which does not tell its user about a 204
        async with following(kinds) as followers:
            await post(service, ends)
            for follower in followers.values():
                await follower.until(lambda one: one.states[-1:] == ["closed"])
        assert await service.stop() == 0
    assert_equal(followers)
    assert facts(followers["websockets"]) == [("e1", "2"), ("e1", "3")]
    for follower in followers.values():
        assert follower.shown[-1].frame["type"] == "stream.end"
        assert follower.shown[-1].frame["status"] == "success"


async def test_unreadable_position_ends_no_event_source(tmp_path: Path, browser: Browser) -> None:
    """What a browser remembers means nothing to a service with another key: it is told in-band, and stays."""
    service, other = Service(tmp_path / "data"), Service(tmp_path / "other")
    other.port = service.port
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(service))
        sources = Followers(service.url, CHANNELS, browser).event_sources()
        followers = await stack.enter_async_context(following(sources))
        service.kill()
        await stack.enter_async_context(serving(other))
        for follower in followers.values():
            await follower.until(lambda one: one.controls("snapshot-end"))
            assert [shown.frame["reason"] for shown in follower.controls("reset")] == ["malformed"]
        await post(other, [event(LAST)])
        await everybody_has_seen(LAST, followers)
        assert [follower.states[-1] for follower in followers.values()] == ["open"] * len(followers)


# --- what happens ----------------------------------------------------------------------------------------------------


def event(execution_id: str, **members: Any) -> bytes:
    """A start, or with these members something else, as its producer wrote it."""
    said = {"type": "execution.started", "executionId": execution_id, "timestamp": "2026-11-22T10:30:00Z", "id": "1"}
    return json.dumps({**said, **members}, ensure_ascii=False).encode()


def hostile_events() -> Sequence[bytes]:
    """Strings that would break a frame if they were not escaped, as values and as names."""
    return [
        event(f"hostile-{number}", data={"text": "TEXT", "TEXT": "name"}).replace(b"TEXT", text.encode())
        for number, text in enumerate(HOSTILE)
    ]


def largest_event() -> bytes:
    """As many bytes as the service takes."""
    empty = len(event("largest", data={"text": ""}))
    return event("largest", data={"text": "x" * (MAX_EVENT_BYTES - empty)})


def made_up(events: int) -> Sequence[bytes]:
    """Traffic of many executions, every event with an id."""
    return [entry.value for entry in islice(traffic(11, mix=replace(VARIED, anonymous=0.0), active=30), events)]


def is_lifecycle(sent: bytes) -> bool:
    """Whether who names no types gets it."""
    return TYPES[orjson.loads(sent)["type"]].stream_class == "lifecycle"


async def post(service: Service, events: Iterable[bytes]) -> None:
    """Have them acknowledged."""
    async with service.client() as client:
        answer = await client.post(
            "/v1/events", content=b"\n".join(events), headers={"content-type": "application/x-ndjson"}
        )
    assert answer.status_code == 200
    assert [result for result in answer.json()["results"] if result["verdict"] != "accepted"] == []


# --- what is seen ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Service]:
    """Let it run while the block does; what is left of it is killed."""
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


async def everybody_has_seen(execution_id: str, followers: Mapping[str, Follower]) -> None:
    """Return when the last thing that anybody was shown is of this execution."""

    def has_seen(follower: Follower) -> bool:
        return follower.shown[-1].frame.get("executionId") == execution_id

    for follower in followers.values():
        await follower.until(has_seen)


def assert_equal(followers: Mapping[str, Follower], but: Container[str] = ()) -> None:
    """All were shown the same texts of executions, with the position in the text for a token, and nothing lost."""
    # Lines of JSON escape what some readers take for a line break; else they are what everybody gets.
    escaped = {ord(raw): f"\\u{ord(raw):04x}" for raw in "\u0085\u2028\u2029"}
    texts = {
        name: [shown.data.translate(escaped) for shown in follower.events if shown.frame["type"] not in but]
        for name, follower in followers.items()
    }
    assert [name for name in texts if texts[name] != texts["websockets"]] == []
    for follower in followers.values():
        placed = [shown for shown in follower.shown if "position" in shown.frame]
        assert [shown.token for shown in placed] == [shown.frame["position"] for shown in placed]
        assert [shown for loss in LOSSES for shown in follower.controls(loss)] == []


def facts(follower: Follower) -> Sequence[tuple[str, str]]:
    """What happened, as often as it was shown; without what the service itself concluded from it."""
    frames = (shown.frame for shown in follower.events)
    return [fact(frame) for frame in frames if frame["type"] not in DERIVED]


def fact(said: Mapping[str, str]) -> tuple[str, str]:
    """What makes an event one of its own."""
    return said["executionId"], said["id"]
