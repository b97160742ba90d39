"""A large export of a real service: killed again and again, its file is still that of the streaming export."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import orjson
import pytest

from tests.support.service import Service, eventually

EXECUTIONS = 20_000
AT_ONCE = 2_000

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With so many executions."""
    service = Service(tmp_path_factory.mktemp("exports") / "data")
    service.launch()
    try:
        asyncio.run(fill(service))
        yield service
    finally:
        service.close()


async def fill(service: Service) -> None:
    """Have all of them folded."""
    await service.ready()
    async with service.client() as client:
        for first in range(0, EXECUTIONS, AT_ONCE):
            lines = (orjson.dumps(started(number)) for number in range(first, first + AT_ONCE))
            headers = {"content-type": "application/x-ndjson"}
            answer = await client.post("/v1/events", content=b"\n".join(lines), headers=headers, timeout=60)
            assert answer.json()["rejected"] == 0
    await service.caught_up(within_s=60)


def started(number: int) -> dict[str, Any]:
    """One of the executions."""
    time = f"2026-11-22T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    data = {"workflowName": "=Nightly", "trigger": {"type": "webhook", "source": "a, b"}, "tags": ["x", "y"]}
    return {
        "type": "execution.started",
        "executionId": f"e{number}",
        "workflowId": "wf",
        "timestamp": time,
        "data": data,
    }


async def shown(client: httpx.AsyncClient, at: str) -> dict[str, Any]:
    """An export."""
    return dict((await client.get(at)).json())


async def completed(service: Service, at: str) -> dict[str, Any]:
    """The export, once its file is there."""
    job: dict[str, Any] = {}

    async def is_completed() -> bool:
        nonlocal job
        job = await shown(client, at)
        return job["status"] not in ("queued", "running")

    async with service.client() as client:
        await eventually(is_completed, within_s=120, what=lambda: str(job))
    assert job["status"] == "completed", job
    return job


async def test_export_killed_again_and_again(service: Service) -> None:
    """After its bytes were written and after they were recorded: it goes on, and nothing of it is doubled or torn."""
    await service.stop()
    dying(service, "recorded", 2)
    await service.ready()
    async with service.client() as client:
        with suppress(httpx.TransportError):  # it may be faster with two portions than with its answer
            await client.post("/v1/exports", json={"format": "csv", "sort": "startedAt"})
    sizes = [await died(service)]
    for point, count in (("put", 1), ("put", 2), ("recorded", 1)):
        dying(service, point, count)
        sizes.append(await died(service))
    service.program = ("-m", "monitor")
    service.launch()
    await service.ready()
    async with service.client() as client:
        [job] = (await client.get("/v1/exports")).json()["data"]
        at = f"/v1/exports/{job['id']}"
        job = await completed(service, at)
        fetched = await client.get(f"{at}/file", timeout=60)
        streamed = await client.get("/v1/executions/export", params={"sort": "startedAt"}, timeout=60)
    assert fetched.content == streamed.content
    assert (job["rows"], job["total"], job["bytes"]) == (EXECUTIONS, EXECUTIONS, len(streamed.content))
    # Two portions, three, four of which the last is not recorded, and the same four.
    assert 0 < sizes[0] < sizes[1] < sizes[2] == sizes[3] < len(streamed.content)


def dying(service: Service, point: str, count: int) -> None:
    """Launch it once more, to be killed when it has passed a point so many times."""
    service.program = ("-m", "tests.support.dying", point, str(count))
    service.launch()


async def died(service: Service) -> int:
    """The bytes of its one export, once it is killed."""
    assert await service.ended() == -9
    [file] = [path for path in (service.data / "exports").iterdir() if path.suffix != ".keys"]
    return file.stat().st_size


async def test_download_cut_off_goes_on(service: Service) -> None:
    """Of a connection that breaks, and across a restart: the pieces are the file."""
    async with service.client() as client:
        at = (await client.post("/v1/exports", json={"format": "ndjson"})).headers["location"]
    job = await completed(service, at)
    async with service.client() as client, client.stream("GET", f"{at}/file") as answer:
        etag = answer.headers["etag"]
        begun = b""
        async for piece in answer.aiter_bytes(100_000):
            begun = piece
            break
    service.kill()
    service.launch()
    await service.ready()
    async with service.client() as client:
        headers = {"range": f"bytes={len(begun)}-", "if-range": etag}
        rest = await client.get(f"{at}/file", headers=headers, timeout=60)
        assert (rest.status_code, len(begun) + len(rest.content)) == (206, job["bytes"])
        lines = (begun + rest.content).splitlines()
        assert [orjson.loads(line)["id"] for line in lines] == [f"e{number}" for number in reversed(range(EXECUTIONS))]
        assert (await client.delete(at)).status_code == 204
        assert not (service.data / "exports" / job["id"]).exists()
