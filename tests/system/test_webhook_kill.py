"""SIGKILL at each instruction of a delivery's life: everything that is owed arrives, under one id, with equal bytes.

Nothing that could not have been sent yet arrives twice, an interrupted attempt uses up nothing of the schedule, and an
ordered endpoint never sees an earlier event after a later one.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest

from monitor.store import open_sqlite_store
from monitor.store.base import Reader
from monitor.store.delivery_port import DeliveryQuery, DeliveryRow
from tests.support.dying import POINTS
from tests.support.receiver import LOOPBACK, Receiver, Request, receiving
from tests.support.service import Service, eventually

EXECUTIONS, EVENTS = 5, 8
"""Forty events, owed to two endpoints."""

ORDERINGS: Final = ("none", "execution")

UNSENT: Final = frozenset({"in_planning", "planned", "in_claim", "claimed"})
"""Where no send of what is repeated had begun: the receivers are told nothing twice."""

WITHIN_S = 120.0


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_named_instruction(tmp_path: Path, point: str, count: int) -> None:
    """The first time that it comes there, and in the long form the fourth."""
    service = Service(tmp_path / "data", webhook_allow=",".join(LOOPBACK))
    async with receiving() as receiver:
        try:
            await prepared(service, receiver.url)
            service.program = ("-m", "tests.support.dying", point, str(count))
            service.launch()
            feeding = asyncio.create_task(feed(service))
            assert await service.ended() == -9
            await restarted(service)
            await feeding
            await settled(service, receiver)
        finally:
            await ended(service)
    arrived = Arrived(receiver.requests)
    arrived.check()
    assert point not in UNSENT or arrived.repeated() == 0 or count > 1
    rows = await stored(service)
    assert {(row.state, row.step) for row in rows} == {("delivered", 0)}
    assert len(rows) == EXECUTIONS * EVENTS * len(ORDERINGS)


@pytest.mark.parametrize("read_bytes", [1000, 100_000, 200_500], ids=["head", "half", "all"])
async def test_case_05_killed_while_a_request_is_under_way(tmp_path: Path, read_bytes: int) -> None:
    """With some of a request sent, or all of it and no answer yet: it comes again, and the first try is on record."""
    service = Service(tmp_path / "data", webhook_allow=",".join(LOOPBACK))
    async with receiving() as receiver, fatal_door(service, receiver, read_bytes) as url:
        try:
            await prepared(service, url, orderings=("none",))
            service.launch()
            await service.ready()
            async with service.client() as client:
                await posted(client, [event(0, 0, text="x" * 200_000)])
            await eventually(lambda: is_dead(service), within_s=WITHIN_S)
            await restarted(service)
            await settled(service, receiver, expected=1)
            async with service.client() as client:
                [webhook] = (await client.get("/v1/webhooks")).json()["data"]
                [row] = (await client.get(f"/v1/webhooks/{webhook['id']}/deliveries")).json()["data"]
        finally:
            await ended(service)
    [request] = receiver.requests
    assert (request.headers["webhook-id"], row["status"]) == (row["id"], "delivered")
    assert [one["error"] for one in row["attempts"]] == ["interrupted", None]
    [kept] = await stored(service)
    assert (kept.step, kept.body) == (0, request.body)


# --- the load --------------------------------------------------------------------------------------------------------


async def prepared(service: Service, url: str, orderings: Sequence[str] = ORDERINGS) -> None:
    """A data folder with an endpoint for each ordering."""
    service.launch()
    await service.ready()
    async with service.client() as client:
        for ordering in orderings:
            wish = {"url": f"{url}/{ordering}", "events": ["node.*"], "ordering": ordering}
            answer = await client.post("/v1/webhooks", json=wish)
            assert answer.status_code == 201, answer.text
    assert await service.stop() == 0


async def restarted(service: Service) -> None:
    """Run the service itself again."""
    service.program = ("-m", "monitor")
    service.launch()
    await service.ready()


async def feed(service: Service) -> None:
    """Post every event until it is acknowledged, whoever dies meanwhile, one of each execution at a time."""
    async with service.client() as client:
        for number in range(EVENTS):
            await posted(client, [event(execution, number) for execution in range(EXECUTIONS)])


def event(execution: int, number: int, text: str = "") -> dict[str, Any]:
    """One of many nodes."""
    return {
        "type": "node.completed",
        "executionId": f"exec_{execution}",
        "workflowId": "wf_1",
        "timestamp": f"2026-11-22T10:30:{number:02}Z",
        "id": f"ev_{execution}_{number}",
        "data": {"nodeId": f"n{number}", "outputData": [{"text": text}]},
    }


async def posted(client: httpx.AsyncClient, events: Sequence[dict[str, Any]]) -> None:
    """Sent until they are acknowledged."""

    async def is_acknowledged() -> bool:
        try:
            return (await client.post("/v1/events", json=events)).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(is_acknowledged, within_s=WITHIN_S)


async def settled(service: Service, receiver: Receiver, expected: int = EXECUTIONS * EVENTS * len(ORDERINGS)) -> None:
    """Return when nothing is owed any more, and everything has arrived."""

    async def is_settled() -> bool:
        async with service.client() as client:
            metrics = (await client.get("/metrics")).text
        owed = [line.split()[-1] for line in metrics.splitlines() if line.startswith("monitor_webhook_backlog{")]
        arrived = {it.headers["webhook-id"] for it in receiver.requests}
        return len(owed) == 3 and not any(map(float, owed)) and len(arrived) >= expected

    await eventually(is_settled, within_s=WITHIN_S, what=lambda: f"{len(receiver.requests)} requests")


async def stored(service: Service) -> list[DeliveryRow]:
    """Every delivery in the store, which nobody uses now."""

    def read(reader: Reader) -> list[DeliveryRow]:
        queries = [DeliveryQuery(endpoint.key) for endpoint in reader.endpoints(None)]
        return [row for query in queries for row in reader.deliveries(query, 1000)]

    store = await open_sqlite_store(service.data / "store.db")
    try:
        return await store.read(read)
    finally:
        await store.close()


async def is_dead(service: Service) -> bool:
    """Whether somebody killed it."""
    return not service.is_running


async def ended(service: Service) -> None:
    """Stop it as its owner would, if it runs."""
    if service.is_running:
        assert await service.stop() == 0


@asynccontextmanager
async def fatal_door(service: Service, receiver: Receiver, read_bytes: int) -> AsyncIterator[str]:
    """Leads to the receiver, but kills the service once it has sent so many bytes for the first time."""
    first = True

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        if first:
            first = False
            await reader.readexactly(read_bytes)
            service.kill()
            writer.close()
        else:
            await receiver.serve_connection(reader, writer)

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()
        receiver.hang_up()
        await server.wait_closed()


class Arrived:
    """What the receivers got, by what it was."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._by_id: dict[str, list[Request]] = defaultdict(list)
        self._by_execution: dict[tuple[str, str], list[str]] = defaultdict(list)
        for it in requests:
            body = orjson.loads(it.body)
            self._by_id[it.headers["webhook-id"]].append(it)
            self._by_execution[it.path, body["executionId"]].append(body["id"])

    def check(self) -> None:
        """Each of them once at least, always with the same bytes; in order where order was asked for."""
        assert len(self._by_id) == EXECUTIONS * EVENTS * len(ORDERINGS)
        assert all(len({it.body for it in same}) == 1 for same in self._by_id.values())
        for (path, execution), ids in self._by_execution.items():
            wanted = [f"ev_{execution.removeprefix('exec_')}_{number}" for number in range(EVENTS)]
            assert list(dict.fromkeys(ids if path.endswith("execution") else sorted(ids))) == wanted
            # Whatever came twice came twice in a row.
            assert not path.endswith("execution") or ids == sorted(ids)

    def repeated(self) -> int:
        """Requests that told nothing new."""
        return sum(len(same) - 1 for same in self._by_id.values())
