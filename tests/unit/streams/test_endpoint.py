"""The stream's address on real sockets: who is served in which form, who is refused how, and where each begins."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx
import pytest
from starlette.types import Scope

from monitor.access.positions import ended_token, open_position, position_token
from monitor.access.principal import LOCAL, Principal
from monitor.access.roles import Role
from monitor.clock import SystemClock
from monitor.errors import ClientError, InsufficientPermissions
from monitor.events.codec import format_time
from monitor.events.position import Position
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.store.base import Reader
from monitor.store.memory import MemoryStore
from tests.support.openings import TRANSPORTS, Frame, Stream, Transport, opened
from tests.support.released import SEALER, World
from tests.support.server import Address, streaming, until

ALL = "/v1/executions/stream"
ONE = "/v1/executions/exec_1/stream"
HTTP: tuple[Transport, ...] = ("sse", "ndjson")

T = TypeVar("T")


class SlowStore(MemoryStore):
    """Answers reads once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()

    async def read(self, work: Callable[[Reader], T]) -> T:
        await self.answers.wait()
        return await super().read(work)


@pytest.fixture
async def world() -> World:
    """One partition, real time, an empty store."""
    world = World(clock=SystemClock())
    world.store = SlowStore()
    return await world.bound()


@pytest.fixture
def hub(world: World) -> Hub:
    """The only hub."""
    return world.hub()


@pytest.fixture
async def address(hub: Hub, world: World) -> AsyncIterator[Address]:
    """Its stream addresses, served."""
    async with streaming(hub, world) as address:
        yield address


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """For answers that are no streams."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as opened:
        yield opened


def token(position: Position) -> str:
    """Of a position, as this deployment seals it."""
    return position_token(SEALER, position)


def types(frames: list[Frame]) -> list[str]:
    """What frames are called."""
    return [frame["type"] for frame in frames]


async def is_silent(stream: Stream, world: World, hub: Hub) -> list[str]:
    """Append one event, and return the ids of the events up to it: what comes from here on."""
    last, ids = await world.append(), list[str]()
    world.publish(hub)
    while last not in ids:
        frame = await stream.frame()
        assert frame is not None
        ids += [frame["id"]] if "id" in frame else []
    return ids


# --- forms and methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "text/event-stream; charset=utf-8"),
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
    ],
)
async def test_accept_chooses_the_form_and_head_tells_it(
    address: Address, client: httpx.AsyncClient, hub: Hub, accept: str, content_type: str
) -> None:
    """HEAD answers with the headers of GET at once, without a body, and attaches nobody."""
    async with client.stream("GET", address.http + ALL, headers={"accept": accept}) as stream:
        assert (stream.status_code, stream.headers["content-type"]) == (200, content_type)
        assert hub.statistics().subscribers == 1
        head = await client.head(address.http + ALL, headers={"accept": accept})
        assert hub.statistics().subscribers == 1
    assert (head.status_code, head.content) == (200, b"")
    # A body that is not sent is not framed either (RFC 9110, 9.3.2).
    ignored = {"date", "server", "transfer-encoding"}
    assert {name: value for name, value in head.headers.items() if name not in ignored} == {
        name: value for name, value in stream.headers.items() if name not in ignored
    }


async def test_what_fits_neither_form_is_refused(address: Address, client: httpx.AsyncClient) -> None:
    """But not to an EventSource that comes back, whatever stands between."""
    answer = await client.get(address.http + ALL, headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (406, "NOT_ACCEPTABLE")
    assert "text/event-stream or application/x-ndjson" in answer.json()["error"]["message"]
    async with opened(address.http, ALL, "sse", accept="application/json", last_event_id="x") as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_other_methods_are_told_which_there_are(address: Address, client: httpx.AsyncClient) -> None:
    """405 with the envelope; OPTIONS asks for nothing else."""
    answer = await client.post(address.http + ALL)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    options = await client.options(address.http + ONE)
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD")


# --- refusals --------------------------------------------------------------------------------------------------------

BAD = [
    ("channels=everything", 400, "INVALID_REQUEST", "channels"),
    ("chanels=executions", 400, "INVALID_REQUEST", "chanels"),
    ("snapshot=all", 400, "INVALID_REQUEST", "snapshot"),
    ("position=yesterday", 400, "INVALID_POSITION", "position"),
    ("filter[stauts]=failed", 422, "INVALID_FILTER", "filter[stauts]"),
]


@pytest.mark.parametrize("transport", HTTP)
async def test_a_bad_address_is_refused_at_first(address: Address, transport: Transport) -> None:
    """With the error envelope that every other address has."""
    for query, status, code, field in BAD:
        async with opened(address.http, f"{ALL}?{query}", transport) as stream:
            error = stream.body["error"]
            assert (stream.status, error["code"], error["field"]) == (status, code, field)
            assert set(error) == {"code", "message", "field", "timestamp"}


async def test_a_bad_address_is_told_in_band_to_an_event_source_that_comes_back(address: Address) -> None:
    """200, why, and a long time to wait: it would give up for good on a status."""
    for query, _, code, field in BAD:
        async with opened(address.http, f"{ALL}?{query}", "sse", last_event_id="anything") as stream:
            [frame] = await stream.rest()
            assert (stream.status, frame["type"], frame["code"], frame["field"]) == (200, "stream.error", code, field)
            assert stream.events.retry_ms == frame["retryMs"]
            assert 30_000 <= frame["retryMs"] <= 60_000


async def test_a_bad_address_closes_a_websocket(address: Address) -> None:
    """After a frame that says why: a browser sees no status of a handshake."""
    for query, _, code, field in BAD:
        async with opened(address.http, f"{ALL}?{query}", "websocket") as stream:
            [frame] = await stream.rest()
            assert stream.socket
            assert (frame["type"], frame["code"], frame["field"]) == ("stream.error", code, field)
            assert stream.socket.close_code == 4400


async def test_one_connection_too_many_is_shed(world: World) -> None:
    """In-band where a status would end a client for good, and with a time to come back everywhere."""
    hub = world.hub(Limits(connections=1))
    async with streaming(hub, world) as address, opened(address.http, ALL, "sse"):
        async with opened(address.http, ALL, "sse") as stream:
            [frame] = await stream.rest()
            assert (stream.status, frame["type"]) == (200, "stream.shed")
            assert stream.events.retry_ms == frame["retryMs"]
            assert 10_000 <= frame["retryMs"] <= 60_000
        async with opened(address.http, ALL, "ndjson") as stream:
            assert (stream.status, stream.body["error"]["code"]) == (503, "TOO_MANY_STREAMS")
            assert 10 <= int(stream.headers["retry-after"]) <= 60
        async with opened(address.http, ALL, "websocket") as stream:
            [frame] = await stream.rest()
            assert stream.socket
            assert (frame["type"], stream.socket.close_code) == ("stream.shed", 1013)
            assert 10_000 <= frame["retryMs"] <= 60_000
        assert hub.statistics().subscribers == 1


async def test_a_journal_that_does_not_answer_is_told_as_passing(address: Address, world: World) -> None:
    """An EventSource comes back by itself, the others by what their protocol has for it."""
    await world.journal.close()
    path = f"{ALL}?position=earliest"
    async with opened(address.http, path, "sse") as stream:
        [frame] = await stream.rest()
        assert (stream.status, frame["type"], frame["code"]) == (200, "stream.error", "JOURNAL_UNAVAILABLE")
        assert stream.events.retry_ms == frame["retryMs"]
    async with opened(address.http, path, "ndjson") as stream:
        assert (stream.status, stream.headers["retry-after"]) == (503, "1")
    async with opened(address.http, path, "websocket") as stream:
        [frame] = await stream.rest()
        assert stream.socket
        assert (frame["code"], stream.socket.close_code) == ("JOURNAL_UNAVAILABLE", 1013)


class NoCredentials(ClientError):
    """Bring credentials."""

    code = "UNAUTHENTICATED"
    status = 401


@pytest.mark.parametrize("error", [NoCredentials(), InsufficientPermissions()])
async def test_credentials_are_refused_by_status_to_everybody(hub: Hub, world: World, error: ClientError) -> None:
    """An EventSource shall not come back with the same ones."""

    async def refuse(_: Scope) -> Principal:
        raise error

    async with streaming(hub, world, refuse) as address:
        for headers in ({}, {"last_event_id": "x"}):
            async with opened(address.http, ALL, "sse", **headers) as stream:
                assert (stream.status, stream.body["error"]["code"]) == (error.status, error.code)
        async with opened(address.http, ALL, "websocket") as stream:
            [frame] = await stream.rest()
            assert stream.socket
            assert (frame["code"], stream.socket.close_code) == (error.code, 4001)


async def test_a_connection_is_labelled(hub: Hub, world: World) -> None:
    """For whoever asks who is connected: transport, team, address and a name of its own."""

    async def red(_: Scope) -> Principal:
        return Principal("red", "tester", LOCAL.role)

    async with streaming(hub, world, red) as address:
        for transport in TRANSPORTS:
            async with opened(address.http, ALL, transport) as stream:
                hello = await stream.frame()
                [connection] = hub.connections("red")
                assert hello
                assert (connection.label.sid, connection.label.transport) == (hello["sid"], transport)
                assert connection.label.client.startswith("127.0.0.1:")
            await until(lambda: hub.statistics().subscribers == 0)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("role", "seen"), [("viewer", [None, None]), ("operator", ["old", "new"])])
async def test_viewers_see_what_happened_without_payloads(
    hub: Hub, world: World, transport: Transport, role: Role, seen: list[str | None]
) -> None:
    """Replayed and live alike."""

    async def somebody(_: Scope) -> Principal:
        return Principal("default", "tester", role)

    async def event(stream: Stream) -> Frame:
        while True:
            frame = await stream.frame()
            assert frame is not None
            if "data" in frame:
                return frame

    await world.append(data={"nodeId": "n", "outputData": "old"})
    world.publish(hub)
    async with (
        streaming(hub, world, somebody) as address,
        opened(address.http, f"{ALL}?events=*&position=earliest", transport) as stream,
    ):
        replayed = await event(stream)
        await world.append(data={"nodeId": "n", "outputData": "new"})
        world.publish(hub)
        assert [frame["data"].get("outputData") for frame in (replayed, await event(stream))] == seen


# --- where it begins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_position_brings_what_followed(address: Address, world: World, hub: Hub, transport: Transport) -> None:
    """By token, by word, and by the time at which the journal took it; the token of an end is a position as well."""
    for _ in range(3):
        await world.append()
    world.publish(hub)
    [_, second, _] = await world.journal.read(0, 0, 3, 3)
    after_one = token(world.beginning.advanced(0, 1))
    for said, ids in (
        (after_one, ["e2", "e3"]),
        (ended_token(after_one), ["e2", "e3"]),
        ("earliest", ["e1", "e2", "e3"]),
        (format_time(second.stored_us - 1_000_000), ["e1", "e2", "e3"]),
        ("2099-01-01T00:00:00Z", []),
        ("now", []),
    ):
        query = f"?channels=execution:exec_1&position={said}"
        async with opened(address.http, ALL + query, transport) as stream:
            assert (await is_silent(stream, world, hub))[: len(ids)] == ids, said


@pytest.mark.parametrize("transport", HTTP)
async def test_the_last_event_id_wins_over_the_address(
    address: Address, world: World, hub: Hub, transport: Transport
) -> None:
    """Which an EventSource repeats unchanged."""
    for _ in range(2):
        await world.append()
    world.publish(hub)
    last_id = token(world.beginning.advanced(0, 1))
    async with opened(address.http, f"{ALL}?position=earliest", transport, last_event_id=last_id) as stream:
        assert await is_silent(stream, world, hub) == ["e2", "e3"]


def useless(world: World) -> dict[str, str]:
    """Positions that mean nothing here, by what the client is told."""
    good = token(world.end)
    return {
        "malformed: truncated": good[:-4],
        "malformed: forged": good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
        "malformed: of another deployment": position_token(type(SEALER)(b"x" * 32), world.end),
        "malformed: words": "yesterday",
        "malformed: very long": "A" * 4000,
        "incarnation: another journal": token(Position("00" * 6, world.end.offsets)),
        "incarnation: a partition that is gone": token(Position(world.end.incarnation, (*world.end.offsets, 3))),
        "ahead": token(world.end.advanced(0, 1_000_000)),
    }


@pytest.mark.parametrize("transport", HTTP)
async def test_a_client_that_comes_back_with_a_useless_position_is_told_and_shown_the_state(
    address: Address, world: World, hub: Hub, transport: Transport
) -> None:
    """200, `stream.reset` with the reason, how everything in flight stands, and from there on everything."""
    await world.append("execution.started")
    world.publish(hub)
    for case, last_id in useless(world).items():
        async with opened(address.http, ALL, transport, last_event_id=last_id) as stream:
            told = await stream.until("stream.snapshot-end")
            assert stream.status == 200, case
            assert sorted(types(told)) == [
                "stream.hello", "stream.reset", "stream.snapshot", "stream.snapshot-end", "stream.subscribed"
            ], case  # fmt: skip
            reset = next(frame for frame in told if frame["type"] == "stream.reset")
            assert reset["reason"] == case.partition(":")[0]
            # Where it is ahead, that is found out after the greeting: it may still be waited for.
            at_last = [frame["type"] for frame in told if "position" in frame and case != "ahead"]
            assert at_last == ([] if case == "ahead" else ["stream.snapshot-end"]), case
            assert open_position(SEALER, told[-1]["position"]).includes(world.end)
            assert len(await is_silent(stream, world, hub)) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_address_with_a_useless_position_is_refused_if_it_is_none_and_else_reset(
    address: Address, world: World, hub: Hub, transport: Transport
) -> None:
    """What this deployment did not make is a mistake of whoever wrote the address; what it made may have aged."""
    await world.append("execution.started")
    world.publish(hub)
    for case, said in useless(world).items():
        async with opened(address.http, f"{ALL}?position={said}", transport) as stream:
            if not case.startswith("malformed"):
                told = await stream.until("stream.snapshot-end")
                reset = next(frame for frame in told if frame["type"] == "stream.reset")
                assert reset["reason"] == case.partition(":")[0]
            elif transport == "websocket":
                [frame] = await stream.rest()
                assert stream.socket
                assert (frame["code"], stream.socket.close_code) == ("INVALID_POSITION", 4400), case
            else:
                assert (stream.status, stream.body["error"]["code"]) == (400, "INVALID_POSITION"), case


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_position_that_the_journal_has_outlived_is_a_gap(world: World, transport: Transport) -> None:
    """It tells from where to where records are lost, then how everything stands, and goes on."""
    for _ in range(3):
        await world.append("execution.started")
    await world.journal.trim(0, 2)
    hub, had = world.hub(start=world.end), world.beginning.advanced(0, 1)
    path = f"{ALL}?position={token(had)}"
    async with streaming(hub, world) as address, opened(address.http, path, transport) as stream:
        told = await stream.until("stream.snapshot-end")
        [gap] = [frame for frame in told if frame["type"] == "stream.gap"]
        assert gap["reason"] == "retention"
        assert gap["lost"] == {"from": token(had), "to": token(world.end)}
        assert [frame["executionId"] for frame in told if frame["type"] == "stream.snapshot"] == ["exec_1"]
        assert await is_silent(stream, world, hub) == ["e4"]


async def test_a_message_with_a_useless_position_is_answered(address: Address, world: World, hub: Hub) -> None:
    """And the connection lives."""
    await world.append("execution.started")
    world.publish(hub)
    async with opened(address.http, ALL, "websocket") as stream:
        await stream.until("stream.hello")
        for case, said in useless(world).items():
            await tell(stream, type="subscribe", channels=["executions"], position=said, id=case)
            if case.startswith("malformed"):
                [error] = await stream.frames(1)
                assert (error["type"], error["code"], error["id"]) == ("stream.error", "INVALID_POSITION", case)
            else:
                told = await stream.until("stream.snapshot-end")
                assert [it["reason"] for it in told if it["type"] == "stream.reset"] == [case.partition(":")[0]]
        assert await is_silent(stream, world, hub) == ["e2"]


async def tell(stream: Stream, **message: Any) -> None:
    """Send a message."""
    assert stream.socket
    await stream.socket.send(json.dumps(message))


@pytest.mark.parametrize("transport", HTTP)
async def test_who_wants_no_snapshot_goes_on_at_once(
    address: Address, world: World, hub: Hub, transport: Transport
) -> None:
    """Then the reset itself tells the new position."""
    await world.append("execution.started")
    world.publish(hub)
    async with opened(address.http, f"{ALL}?snapshot=none", transport, last_event_id="nonsense") as stream:
        told = await stream.frames(3)
        assert types(told) == ["stream.hello", "stream.reset", "stream.subscribed"]
        assert {frame["position"] for frame in told} == {token(world.end)}


# --- snapshots and ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_snapshot_comes_before_what_follows(
    address: Address, world: World, hub: Hub, transport: Transport
) -> None:
    """Without a position before its end; `position=now` asks for nothing else."""
    await world.append("execution.started")
    await world.append("execution.started", "exec_2")
    await world.append("execution.completed", "exec_2")
    world.publish(hub)
    for query, count in (("active", 1), ("active&position=now", 1), ("recent:5", 2), ("recent:1", 1)):
        async with opened(address.http, f"{ALL}?snapshot={query}", transport) as stream:
            told = await stream.until("stream.snapshot-end")
            assert types(told) == [
                "stream.hello", "stream.subscribed", *["stream.snapshot"] * count, "stream.snapshot-end"
            ]  # fmt: skip
            assert [frame["type"] for frame in told if "position" in frame] == ["stream.snapshot-end"]
            assert told[-1]["count"] == count


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_with_a_good_position_gets_no_snapshot(
    address: Address, world: World, hub: Hub, transport: Transport
) -> None:
    """It has what it would show."""
    await world.append("execution.started")
    world.publish(hub)
    query = f"?snapshot=active&position={token(world.end)}"
    async with opened(address.http, ALL + query, transport) as stream:
        assert types(await stream.frames(2)) == ["stream.hello", "stream.subscribed"]
        assert await is_silent(stream, world, hub) == ["e2"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_execution_shows_how_it_stands_and_ends(world: World, transport: Transport) -> None:
    """The stream ends by itself; whoever asks again by its position is told the same."""
    hub = world.hub(Limits(settle_s=0.0))
    async with streaming(hub, world) as address:
        await shows_and_ends(address, world, hub, transport)


async def shows_and_ends(address: Address, world: World, hub: Hub, transport: Transport) -> None:
    """Follow one execution to its end, twice."""
    await world.append("execution.started")
    world.publish(hub)
    async with opened(address.http, ONE, transport) as stream:
        told = await stream.until("stream.snapshot-end")
        assert types(told) == ["stream.hello", "stream.subscribed", "stream.snapshot", "stream.snapshot-end"]
        await world.append("log.appended", data={"lines": [{"message": "last"}], "final": True})
        await world.append("execution.completed")
        world.publish(hub)
        rest = await stream.rest()
    assert types(rest) == ["execution.completed", "stream.end"]
    assert (rest[-1]["executionId"], rest[-1]["status"]) == ("exec_1", "success")
    assert rest[-1]["position"].startswith("e.")
    if stream.socket:
        assert stream.socket.close_code == 1000
    async with opened(address.http, f"{ONE}?position={rest[-1]['position']}", transport) as stream:
        again = await stream.rest()
    assert types(again) == ["stream.hello", "stream.subscribed", "stream.end"]


async def test_whoever_comes_back_after_the_end_need_not_come_again(address: Address, world: World, hub: Hub) -> None:
    """204, with and without a body asked for; an end that was never told is no end."""
    await world.append("execution.started")
    world.publish(hub)
    ended = ended_token(token(world.end))
    async with opened(address.http, ONE, "sse", last_event_id=ended) as stream:
        assert (stream.status, await stream.rest()) == (204, [])
    assert hub.statistics().subscribers == 0
    async with opened(address.http, ONE, "sse", last_event_id=ended[:-4]) as stream:
        told = await stream.until("stream.snapshot-end")
        assert [frame.get("reason") for frame in told if frame["type"] == "stream.reset"] == ["malformed"]


async def test_the_token_of_an_end_is_a_position_elsewhere(address: Address, world: World, hub: Hub) -> None:
    """A stream of everything goes on from it."""
    await world.append()
    world.publish(hub)
    async with opened(address.http, ALL, "sse", last_event_id=ended_token(token(world.end))) as stream:
        assert stream.status == 200
        assert await is_silent(stream, world, hub) == ["e2"]


@pytest.fixture
async def three_workflows(world: World, hub: Hub) -> list[str]:
    """One execution of each is running."""
    workflows = ["wf_1", "wf_2", "wf_3"]
    for workflow in workflows:
        await world.append("execution.started", f"exec of {workflow}", workflow_id=workflow)
    world.publish(hub)
    return workflows


async def shown(stream: Stream) -> list[str]:
    """The executions of the next snapshot."""
    told = await stream.until("stream.snapshot-end")
    return sorted(frame["executionId"] for frame in told if frame["type"] == "stream.snapshot")


@pytest.mark.usefixtures("three_workflows")
async def test_an_added_subscription_is_shown_alone_and_moves_nobody(address: Address, world: World, hub: Hub) -> None:
    """What the first one has seen is not shown again, and its events go on."""
    async with opened(address.http, ALL, "websocket") as stream:
        await tell(stream, type="subscribe", channels=["workflow:wf_1"], snapshot="active", name="one")
        assert await shown(stream) == ["exec of wf_1"]
        await tell(stream, type="subscribe", channels=["workflow:wf_2"], snapshot="active", name="two")
        assert await shown(stream) == ["exec of wf_2"]
        assert await is_silent(stream, world, hub) == ["e4"]


@pytest.mark.usefixtures("three_workflows")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": "change", "name": "x", "channels": ["workflow:wf_3"]}, ["exec of wf_3"]),
        ({"type": "change", "name": "x", "logs": True}, ["exec of wf_1", "exec of wf_2"]),
        ({"type": "unsubscribe", "channels": ["workflow:wf_1"]}, ["exec of wf_2"]),
        ({"type": "subscribe", "channels": ["workflow:wf_3"], "name": "x"}, ["exec of wf_3"]),
    ],
)
async def test_what_is_altered_before_it_was_shown_is_shown_as_it_is_then(
    address: Address, world: World, hub: Hub, change: dict[str, Any], expected: list[str]
) -> None:
    """Whoever asked for a snapshot and changed its mind at once still gets the end that it waits for."""
    assert isinstance(world.store, SlowStore)
    async with opened(address.http, ALL, "websocket") as stream:
        world.store.answers.clear()
        await tell(stream, type="subscribe", channels=["workflow:wf_1", "workflow:wf_2"], snapshot="active", name="x")
        await until(lambda: hub.connections(LOCAL.team)[0].state == "snapshot")
        before = hub.connections(LOCAL.team)[0].selection
        await tell(stream, **change)
        await until(lambda: hub.connections(LOCAL.team)[0].selection != before)
        world.store.answers.set()
        assert await shown(stream) == expected


@pytest.mark.usefixtures("three_workflows")
async def test_what_is_taken_back_before_it_was_shown_is_not_shown(address: Address) -> None:
    """The connection answers on."""
    async with opened(address.http, ALL, "websocket") as stream:
        await tell(stream, type="subscribe", channels=["workflow:wf_1"], snapshot="active")
        await tell(stream, type="unsubscribe")
        await tell(stream, type="ping")
        assert "stream.snapshot" not in types(await stream.until("stream.pong"))
