"""The stream's address of a real service: useless positions, who is connected, and where left out lines are."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from monitor.access.positions import open_position, position_token
from monitor.access.sealing import KEY_BYTES, Sealer, load_key
from monitor.events.position import Position
from tests.support.openings import TRANSPORTS, Transport, opened
from tests.support.service import Service, eventually

ALL = "/v1/executions/stream"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on its embedded journal, ready. The tests share it: each has an execution of its own."""
    service = Service(tmp_path_factory.mktemp("address") / "data")
    service.launch()
    try:
        asyncio.run(service.ready())
        yield service
    finally:
        service.close()


async def tell(service: Service, execution_id: str, *events: dict[str, Any]) -> str:
    """Send events of an execution; returns the position behind them, once it is reached."""
    common = {"executionId": execution_id, "workflowId": "wf_1", "timestamp": "2026-11-22T10:30:00Z"}
    async with service.client() as client:
        answer = await client.post("/v1/events", json=[common | event for event in events])
        position: str = answer.json()["position"]

        async def is_reached() -> bool:
            return (await client.get(f"/v1/executions?minPosition={position}")).status_code == 200

        await eventually(is_reached)
    return position


def useless(service: Service, token: str) -> dict[str, str]:
    """Positions that mean nothing to it, by what the client is told; `token` is a good one."""
    sealer = Sealer(load_key(service.data / "key"))
    here = open_position(sealer, token)
    return {
        "malformed: truncated": token[:-4],
        "malformed: forged": position_token(Sealer(b"f" * KEY_BYTES), here),
        "incarnation: another journal": position_token(sealer, Position("00" * 6, here.offsets)),
        "incarnation: a partition that is gone": position_token(sealer, Position(here.incarnation, (*here.offsets, 1))),
        "ahead": position_token(sealer, here.advanced(0, 1_000_000)),
    }


async def test_useless_positions_have_their_documented_outcome(service: Service) -> None:
    """Who comes back is told in-band and shown the state; an address with what is no position at all is refused."""
    token = await tell(service, "exec_running", {"type": "execution.started"})
    for case, said in useless(service, token).items():
        async with opened(service.url, ALL, "sse", last_event_id=said) as stream:
            told = await stream.until("stream.snapshot-end")
            assert [it["reason"] for it in told if it["type"] == "stream.reset"] == [case.partition(":")[0]]
            assert [it["executionId"] for it in told if it["type"] == "stream.snapshot"] == ["exec_running"]
        for transport in TRANSPORTS:
            async with opened(service.url, f"{ALL}?position={said}", transport) as stream:
                if case.startswith("malformed"):
                    await is_refused(stream, transport)
                else:
                    told = await stream.until("stream.snapshot-end")
                    assert [it["reason"] for it in told if it["type"] == "stream.reset"] == [case.partition(":")[0]]


async def is_refused(stream: Any, transport: Transport) -> None:
    """As the transport does it."""
    if transport == "websocket":
        [error] = await stream.rest()
        assert (error["type"], error["code"], stream.socket.close_code) == ("stream.error", "INVALID_POSITION", 4400)
    else:
        assert (stream.status, stream.body["error"]["code"]) == (400, "INVALID_POSITION")


async def test_the_connected_are_listed(service: Service) -> None:
    """Under the name that each was greeted with, with what it asked for."""
    async with AsyncExitStack() as streams, service.client() as client:
        greeted = {}
        for transport in TRANSPORTS:
            path = f"{ALL}?channels=workflow:{transport}&filter[status]=failed"
            stream = await streams.enter_async_context(opened(service.url, path, transport))
            hello, _ = await stream.frames(2)
            greeted[hello["sid"]] = transport

        async def listed() -> Any:
            """The answer, once those before are gone and these have arrived."""
            answer = (await client.get("/v1/streams")).json()
            arrived = {row["sid"]: row["transport"] for row in answer["data"] if row["state"] == "live"}
            return answer if arrived == greeted and len(answer["data"]) == len(greeted) else None

        answer = await eventually(listed)
    for row in answer["data"]:
        assert row["channels"] == [f"workflow:{row['transport']}"]
        assert row["subscriptions"][0]["filter"] == {"status": "failed"}
        assert (row["lagRecords"], row["bufferedBytes"]) == (0, 0)
        assert row["sentBytes"] > 0
    assert answer["statistics"]["transports"] == dict.fromkeys(TRANSPORTS, 1)


async def test_lines_that_were_left_out_are_at_the_address_that_the_gap_names(service: Service) -> None:
    """What the stream showed and what that address returns is the whole log."""
    lines = [
        {"message": str(number), "timestamp": f"2026-11-22T10:30:{number // 1000:02d}.{number % 1000:03d}Z"}
        for number in range(1200)
    ]
    parts = [lines[at : at + 100] for at in range(0, len(lines), 100)]
    async with opened(service.url, f"{ALL}?logs=1", "ndjson") as stream, service.client() as client:
        await stream.until("stream.subscribed")
        await tell(service, "exec_ended", *({"type": "log.appended", "data": {"lines": part}} for part in parts))
        await tell(service, "exec_ended", {"type": "execution.completed"})
        told = await stream.until("execution.completed")
        gaps = [frame for frame in told if frame["type"] == "stream.log-gap"]
        assert gaps
        shown = [line["message"] for it in told if it["type"] == "log.appended" for line in it["data"]["lines"]]
        for gap in gaps:
            found = (await client.get(gap["href"])).json()["logs"]
            assert len(found) == gap["count"]
            shown += [line["message"] for line in found]
    assert sorted(map(int, shown)) == list(range(1200))
