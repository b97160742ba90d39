"""None of two hundred secrets leaves a real service by any door, and what only looks like one leaves as it is."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import connect

from tests.support.receiver import answering, receiving
from tests.support.secret_corpus import look_alikes, secrets
from tests.support.service import Service, eventually

ID = "exec_masked"
STREAM = f"/v1/executions/{ID}/stream"
WITHIN_S = 120.0
NEEDLES = [needle for secret in secrets() for needle in secret.needles]


def events() -> Iterator[dict[str, Any]]:
    """One execution, whose nodes, log, error, progress and notes are full of secrets and of look-alikes."""
    values = [secret.value for secret in secrets()]
    bodies: list[tuple[str, dict[str, Any]]] = [
        (
            "execution.started",
            {
                "workflowName": f"Orders of {values[0]}",
                "inputData": values[:40],
                "trigger": {"type": "webhook", "payload": values[40:50]},
                "metadata": {"note": values[3]},
                "tags": [value for value in values[:20] if isinstance(value, str)],
            },
        ),
        *(
            (
                "node.completed",
                {"nodeId": f"n{at}", "nodeName": "N", "inputData": values[at], "outputData": [values[at]]},
            )
            for at in range(0, len(values), 2)
        ),
        *(
            ("node.failed", {"nodeId": f"f{at}", "error": {"message": str(values[at]), "stack": values[at]}})
            for at in range(7)
        ),
        ("execution.progress", {"completed": 1, "total": 2, "message": str(values[1]), "current": str(values[2])}),
        ("log.appended", {"lines": [{"level": "info", "message": str(value), "data": value} for value in values]}),
        ("execution.annotated", {"note": str(values[5]), "tags": [str(values[6])]}),
        ("log.appended", {"final": True, "lines": [{"message": "plain", "data": one.value} for one in look_alikes()]}),
        (
            "execution.failed",
            {"status": "failed", "reason": str(values[7]), "error": {"message": str(values[8]), "details": values}},
        ),
    ]
    for at, (kind, data) in enumerate(bodies):
        yield {
            "type": kind,
            "executionId": ID,
            "workflowId": "wf_masked",
            "timestamp": f"2026-11-22T10:{at // 60:02d}:{at % 60:02d}.000Z",
            "id": f"event-{at}",
            "data": data,
        }


def leaks(name: str, text: bytes | str) -> list[str]:
    """The secrets in what left, as they are and as JSON escapes them."""
    told = text.decode(errors="replace") if isinstance(text, bytes) else text
    return [
        f"{name}: {needle}"
        for needle in NEEDLES
        if needle in told or json.dumps(needle)[1:-1] in told or json.dumps(needle, ensure_ascii=False)[1:-1] in told
    ]


async def test_no_secret_leaves_by_any_door(tmp_path: Path) -> None:
    """REST, streams of all kinds live and replayed, webhooks with their attempts, logs, and the store's own bytes."""
    service = Service(tmp_path / "data", webhook_allow="127.0.0.0/8", log="json")
    service.launch()
    found: list[str] = []
    seen: dict[str, bytes] = {}
    try:
        await service.ready()
        async with receiving() as receiver, receiving() as failing, service.client() as client:
            answer = await client.post("/v1/webhooks", json={"url": receiver.url, "events": ["*"], "filters": {}})
            webhook_id = answer.raise_for_status().json()["id"]
            # A receiver that says back more than it should.
            said = "\n".join(str(secret.value) for secret in secrets()[:10])
            failing.behave(answering(500, f"cannot take {said}".encode()))
            wish = {"url": failing.url, "events": ["execution.failed"]}
            failing_id = (await client.post("/v1/webhooks", json=wish)).raise_for_status().json()["id"]
            live = [
                asyncio.create_task(read)
                for read in (read_lines(service, "now"), read_sse(service, "now"), read_ws(service, "now"))
            ]
            await eventually(lambda: connected(client, 3), within_s=WITHIN_S)
            posted = await client.post("/v1/events", json=list(events()))
            assert posted.raise_for_status().json()["rejected"] == 0
            await service.caught_up()
            for name, body in zip(("ndjson", "sse", "websocket"), await asyncio.gather(*live), strict=True):
                seen[f"live {name}"] = body
            for name, read in (("ndjson", read_lines), ("sse", read_sse), ("websocket", read_ws)):
                seen[f"replayed {name}"] = await read(service, "earliest")
            for path in paths():
                answer = await client.get(path)
                assert answer.status_code in (200, 404), (path, answer.text)
                seen[path] = answer.content
            count = len(list(events()))
            await receiver.received(count)
            seen["webhook bodies"] = b"\n".join(request.body for request in receiver.requests)
            seen["deliveries"] = (await client.get(f"/v1/webhooks/{webhook_id}/deliveries?limit=100")).content
            seen["attempts"] = await eventually(lambda: attempts(client, failing_id), within_s=WITHIN_S)
        assert await service.stop() == 0
    finally:
        service.close()
    seen["application log"] = service.log.read_bytes()
    seen["store.db"] = b"".join(path.read_bytes() for path in sorted(service.data.glob("store.db*")))
    for name, text in seen.items():
        assert len(text) > 10, name
        found += leaks(name, text)
    assert found == [], f"{len(found)} leaks"
    journal = b"".join(path.read_bytes() for path in service.data.glob("journal.db*"))
    assert leaks("journal.db", journal), "the journal holds what the producer wrote"
    assert_look_alikes_are_there(seen[f"/v1/executions/{ID}/logs?limit=1000"])


def paths() -> list[str]:
    """Everything that shows an execution."""
    node = f"/v1/executions/{ID}/nodes/n0/data"
    return [
        *("/v1/executions?include=data,error,metadata", "/v1/executions?limit=100", node, "/v1/statistics"),
        f"/v1/executions/{ID}",
        f"/v1/executions/{ID}?include=data,logs,error",
        f"/v1/executions/{ID}/data",
        f"/v1/executions/{ID}/data?nodeId=n2",
        f"/v1/executions/{ID}/data?format=raw",
        f"/v1/executions/{ID}/data?format=csv",
        f"/v1/executions/{ID}/events?limit=1000",
        f"/v1/executions/{ID}?asOf=2099-01-01T00:00:00Z&include=data,logs",
        *(f"/v1/executions/export?format={format_}" for format_ in ("csv", "json&include=data", "ndjson&include=data")),
        f"/v1/executions/{ID}/logs?limit=1000",
        f"/v1/executions/{ID}/logs?limit=1000&level=info",
    ]


def assert_look_alikes_are_there(answer: bytes) -> None:
    """As they were sent."""
    shown = [line.get("data") for line in msgspec.json.decode(answer)["logs"] if line["message"] == "plain"]
    assert shown == [one.value for one in look_alikes()]


async def connected(client: httpx.AsyncClient, count: int) -> bool:
    """Whether so many subscribers are."""
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("monitor_stream_connections{")) >= count


async def attempts(client: httpx.AsyncClient, webhook_id: str) -> bytes:
    """What is on record of a failing receiver's only delivery, once there is something."""
    rows = (await client.get(f"/v1/webhooks/{webhook_id}/deliveries")).json()["data"]
    shown = (await client.get(f"/v1/webhook-deliveries/{rows[0]['id']}")).content if rows else b""
    return shown if b"cannot take" in shown else b""


async def read_lines(service: Service, position: str) -> bytes:
    """The NDJSON stream of the execution, to its end."""
    return await _read(service, position, "application/x-ndjson")


async def read_sse(service: Service, position: str) -> bytes:
    """The stream of server-sent events, to its end."""
    return await _read(service, position, "text/event-stream")


async def _read(service: Service, position: str, accept: str) -> bytes:
    parts = b""
    async with asyncio.timeout(WITHIN_S), service.client() as client:
        query = {"position": position, "logs": "1", "events": "execution.*,node.*,log.*"}
        async with client.stream("GET", STREAM, params=query, headers={"accept": accept}, timeout=WITHIN_S) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for part in answer.aiter_bytes():
                parts += part
                if b'"stream.end"' in parts:
                    break
    return parts


async def read_ws(service: Service, position: str) -> bytes:
    """The messages of a WebSocket, to the end of the execution."""
    url = f"ws://127.0.0.1:{service.port}/v1/executions/stream"
    start = {
        "channels": [f"execution:{ID}"],
        "events": ["execution.*", "node.*", "log.*"],
        "logs": True,
        "position": position,
    }
    got = b""
    async with asyncio.timeout(WITHIN_S), connect(url, proxy=None, open_timeout=60, max_size=None) as socket:
        await socket.send(json.dumps({"type": "subscribe", **start}))
        while b'"execution.failed"' not in got:
            message = await socket.recv()
            got += message.encode() if isinstance(message, str) else message
    return got
