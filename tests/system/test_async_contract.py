"""Topics, streams and webhooks are described by a document that the official parser takes, and that says the truth."""

import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.app import spoken
from monitor.events.types import DERIVED, TYPES
from monitor.web.async_contract import asyncapi
from tests.support.asyncapi_parser import complaints
from tests.support.debian import Unavailable
from tests.support.openings import Stream, opened
from tests.support.receiver import LOOPBACK, Receiver, answering, receiving
from tests.support.service import Service, eventually
from tests.support.spoken import EVERYDAY, Contract

STREAM = "/v1/executions/stream"
MOST_STREAMS = 5


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The contract."""
    return asyncapi(spoken())


def judged(*documents: dict[str, Any]) -> list[list[str]]:
    """What the parser holds against each."""
    try:
        return [[f"{it.code} at {it.path}: {it.message}" for it in of_one] for of_one in complaints(documents)]
    except Unavailable as error:
        pytest.skip(str(error))


def test_the_official_parser_has_nothing_against_it(document: dict[str, Any]) -> None:
    """Neither errors nor warnings."""
    assert judged(document) == [[]]


def _without_channel(document: dict[str, Any]) -> None:
    del document["channels"]["events"]


def _with_odd_action(document: dict[str, Any]) -> None:
    document["operations"]["takeEvents"]["action"] = "publish"


def _with_foreign_message(document: dict[str, Any]) -> None:
    document["operations"]["takeEvents"]["messages"][0] = {"$ref": "#/channels/commands/messages/command.retry"}


def _with_odd_schema(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["EventFrame"]["type"] = "record"


def _with_undeclared_parameter(document: dict[str, Any]) -> None:
    document["channels"]["executionStream"]["parameters"] = {}


_BREAKERS: tuple[Callable[[dict[str, Any]], None], ...] = (
    _without_channel,
    _with_odd_action,
    _with_foreign_message,
    _with_odd_schema,
    _with_undeclared_parameter,
)


def test_the_parser_refuses_a_broken_one(document: dict[str, Any]) -> None:
    """So its silence says something."""
    broken = [copy.deepcopy(document) for _ in _BREAKERS]
    for breaker, other in zip(_BREAKERS, broken, strict=True):
        breaker(other)
    refused = [bool(of_one) for of_one in judged(*broken)]
    assert refused == [True] * len(_BREAKERS)


# --- what is said, held against what is served -----------------------------------------------------------------------


def event(execution_id: str, type_: str, **data: Any) -> dict[str, Any]:
    """An event of this type, with data that fits every one."""
    about = {"executionId": execution_id, "workflowId": "wf_1", "timestamp": "2026-11-22T10:30:00.000Z"}
    fits_all = {"nodeId": "n1", "lines": [{"message": "said"}], "commandId": "cmd_1", "inputData": [1]}
    return {**about, "type": type_, "data": {**fits_all, **data}}


def every_type(execution_id: str) -> list[dict[str, Any]]:
    """What a producer can tell, and what the monitor does not know; but for the deletion of the execution."""
    kinds = [name for name in TYPES if name not in DERIVED | {"execution.deleted"}]
    return [event(execution_id, name) for name in [*kinds, "node.painted"]]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service that takes few subscribers, and may send to this machine."""
    allowed = ",".join(LOOPBACK)
    running = Service(tmp_path / "data", streams=str(MOST_STREAMS), demo="false", webhook_allow=allowed)
    running.launch()
    try:
        await running.ready()
        yield running
    finally:
        running.close()


async def served(client: httpx.AsyncClient) -> Contract:
    """The contract, as everybody may read it."""
    return Contract((await client.get("/asyncapi.json")).json())


async def post(client: httpx.AsyncClient, *events: dict[str, Any]) -> None:
    """Hand in events, and see all of them taken."""
    answer = (await client.post("/v1/events", json=events)).json()
    assert answer["accepted"] == len(events), answer


async def asked(stream: Stream, answer: str, **message: Any) -> list[dict[str, Any]]:
    """Say something, and read what comes up to its answer."""
    assert stream.socket is not None
    await stream.socket.send(json.dumps(message))
    return await stream.until(answer)


async def said_on_a_websocket(service: Service, client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Every answer to a client's messages, every type of event, more log lines than fit, and the farewell."""
    await post(client, event("exec_0", "execution.started"))
    async with opened(service.url, STREAM, "websocket") as stream:
        wish = {"channels": ["executions"], "events": ["*"], "logs": True, "snapshot": "active"}
        frames = await asked(stream, "stream.snapshot-end", type="subscribe", id=1, name="all", **wish)
        frames += await asked(stream, "stream.pong", type="ping", id="a")
        frames += await asked(stream, "stream.error", type="subscribe", id=2, channels=["nowhere"])
        frames += await asked(
            stream, "stream.subscribed", type="change", id=3, name="all", filter={"status": "running"}
        )
        frames += await asked(stream, "stream.subscribed", type="change", id=3, name="all", filter=None)
        frames += await log_gap(client, stream)
        await post(client, *every_type("exec_2"), event("exec_3", "execution.deleted"))
        frames += await stream.until("execution.deleted")
        frames += await asked(stream, "stream.unsubscribed", type="unsubscribe", id=4, name="all")
        frames += await said_to_one_too_many(service)
        await service.stop()
        return [*frames, *await stream.rest()]


async def log_gap(client: httpx.AsyncClient, stream: Stream) -> list[dict[str, Any]]:
    """Two events that go out together, with more lines than that takes; again where they did not."""
    frames: list[dict[str, Any]] = []
    while "stream.log-gap" not in {frame["type"] for frame in frames}:
        lines = [{"message": f"{len(frames)}"}] * 200
        logs = [event("exec_1", "log.appended", lines=lines, part=part) for part in range(2)]
        await post(client, *logs, event("exec_1", "execution.annotated", note=f"{len(frames)}"))
        frames += await stream.until("execution.annotated")
    return frames


async def said_to_one_too_many(service: Service) -> list[dict[str, Any]]:
    """By server-sent events and by WebSocket."""
    frames: list[dict[str, Any]] = []
    async with AsyncExitStack() as held:
        for _ in range(MOST_STREAMS):
            stream = await held.enter_async_context(opened(service.url, STREAM, "sse"))
            frames += await stream.frames(1)
        async with opened(service.url, STREAM, "websocket") as refused:
            frames += await refused.rest()
    assert [frame["type"] for frame in frames[-2:]] == ["stream.shed"] * 2
    return frames


async def said_over_http(service: Service, client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """To who comes back with what is no position, and to who follows an execution to its end."""
    async with opened(service.url, STREAM, "sse", last_event_id="never made here") as stream:
        frames = await stream.until("stream.subscribed")
    await post(client, event("exec_9", "execution.started"), event("exec_9", "execution.completed"))
    async with opened(service.url, "/v1/executions/exec_9/stream", "ndjson") as stream:
        return [*frames, *await stream.rest()]


async def test_what_streams_say_is_what_is_served(service: Service) -> None:
    """Frames of every type of event, and the control frames of an ordinary day."""
    async with service.client() as client:
        contract = await served(client)
        frames = [*await said_over_http(service, client), *await said_on_a_websocket(service, client)]
    assert [fault for frame in frames for fault in contract.faults("executionStream", frame)] == []
    told = {frame["type"] for frame in frames}
    assert (EVERYDAY | {*TYPES, "node.painted"}) - told <= DERIVED


async def test_what_webhooks_receive_is_what_is_served(service: Service) -> None:
    """Events of every type, full and thin, a test, and the troubles of another webhook."""
    async with service.client() as client, receiving() as good, receiving() as bad:
        contract = await served(client)
        for wish in ({"events": ["*"]}, {"events": ["*"], "payload": "thin"}):
            await client.post("/v1/webhooks", json={"url": good.url, **wish})
        hearer = await client.post("/v1/webhooks", json={"url": good.url, "events": ["endpoint.*", "delivery.*"]})
        await client.post(f"/v1/webhooks/{hearer.json()['id']}/test")
        await trouble(client, bad)
        await post(client, *every_type("exec_2"), event("exec_3", "execution.deleted"))
        wanted = {*TYPES, "node.painted", "webhook.ping"} - DERIVED
        wanted |= {"delivery.exhausted", "delivery.recovered", "endpoint.disabled"}

        async def has_come() -> bool:
            return {json.loads(it.body)["type"] for it in good.requests} >= wanted

        await eventually(has_come, what=lambda: f"{len(good.requests)} requests")
    for request in good.requests:
        body = json.loads(request.body)
        assert contract.faults("webhook", body) == []
        signed = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
        assert contract.faults_of_headers("webhook", body["type"], signed) == []


async def trouble(client: httpx.AsyncClient, bad: Receiver) -> None:
    """A delivery is given up, is sent again and arrives; the next one is answered with 410."""
    bad.behave(answering(503), answering(503), answering(200), answering(410))
    wish = {"url": bad.url, "events": ["execution.started"], "retrySchedule": [1]}
    address = f"/v1/webhooks/{(await client.post('/v1/webhooks', json=wish)).json()['id']}/deliveries"

    async def states() -> list[str]:
        return [it["status"] for it in (await client.get(address)).json()["data"]]

    async def is_given_up() -> bool:
        return await states() == ["failed"]

    async def has_arrived() -> bool:
        return await states() == ["delivered"]

    await post(client, event("exec_4", "execution.started"))
    await eventually(is_given_up)
    [row] = (await client.get(address)).json()["data"]
    await client.post(f"/v1/webhook-deliveries/{row['id']}/retry")
    await eventually(has_arrived)
    await post(client, event("exec_5", "execution.started"))
