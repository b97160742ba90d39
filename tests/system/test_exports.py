"""A large export of a real service: killed again and again, its file is still that of the streaming export."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.processes import dying_with_us
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
    files = [path for path in (service.data / "exports").iterdir() if path.suffix != ".keys"]
    return max(file.stat().st_size for file in files)


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
        assert list((service.data / "exports").glob(f"{job['id']}*")) == []


def test_command_goes_on_where_it_was_cut_off(service: Service, tmp_path: Path) -> None:
    """Killed in the middle, the same command fetches the rest alone; another question begins anew."""
    file = tmp_path / "all.ndjson"
    whole = exported(service, file, "--format", "ndjson")
    assert [path.name for path in tmp_path.iterdir()] == ["all.ndjson"]
    asked = asyncio.run(asked_for(service, {"format": "ndjson", "filter": {}}))
    part, note = tmp_path / "all.ndjson.part", tmp_path / "all.ndjson.job"
    begun = b"x" * 1000
    for question, kept in (
        ({"format": "ndjson", "filter": {}}, begun),
        ({"format": "csv", "filter": {}}, whole[:1000]),
    ):
        file.write_text("of before")
        part.write_bytes(begun)
        note.write_bytes(orjson.dumps({"url": service.url, "asked": question, "id": asked}))
        # What is there already is not asked for again, so that it shows whose it is.
        assert exported(service, file, "--format", "ndjson") == kept + whole[1000:]
        assert [path.name for path in tmp_path.iterdir()] == ["all.ndjson"]


def exported(service: Service, file: Path, *arguments: str) -> bytes:
    """What the command line writes by way of a job."""
    command = [sys.executable, "-m", "monitor", "export", str(file), "--job", "--url", service.url, *arguments]
    ended = subprocess.run(dying_with_us(command), capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert f"{EXECUTIONS} executions" in ended.stderr
    return file.read_bytes()


async def asked_for(service: Service, question: dict[str, Any]) -> str:
    """The id of a new export."""
    async with service.client() as client:
        return str((await client.post("/v1/exports", json=question)).json()["id"])
