"""What a newcomer does with webhooks: the README's commands as written; the receiver fails until it is repaired."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.support.processes import dying_with_us, free_ports
from tests.support.service import Service, eventually
from tests.system.test_readme import answers_in, blocks

WITHIN_S = 120.0


async def test_newcomer_registers_watches_repairs_and_replays(tmp_path: Path) -> None:
    """The test send arrives, three attempts fail and are on record, and the replay delivers the same event."""
    service, port = Service(tmp_path / "data", webhook_allow="127.0.0.0/8"), free_ports(1)[0]
    service.launch()
    [receiver] = blocks("bash receiver")
    begin, repair = (on_ports(block, service.port, port) for block in blocks("bash story"))
    try:
        await service.ready()
        async with running(on_ports(receiver, service.port, port), tmp_path) as printed, service.client() as client:
            await eventually(lambda: is_listening(port), within_s=WITHIN_S)
            registered, tested, _ = answers_in(await shell(begin, tmp_path))
            address = f"/v1/webhooks/{registered['id']}"
            assert (tested["status"], tested["attempts"][0]["statusCode"]) == ("failed", 503)
            await eventually(lambda: states(client, address, "failed", attempts=3), within_s=WITHIN_S)
            watched, again, counted, job = answers_in(await shell(repair, tmp_path))
            assert [[one["statusCode"] for one in row["attempts"]] for row in watched["data"]] == [[503] * 3]
            assert (again["status"], counted["matched"], job["matched"]) == ("delivered", 1, 1)
            await eventually(lambda: states(client, address, "delivered", attempts=4), within_s=WITHIN_S)
            [row] = watched["data"]
            came = [orjson.loads(line.partition(" ")[2]) for line in printed() if line.startswith(row["id"])]
            assert [body["executionId"] for body in came] == ["exec_43"] * 4
            assert len({orjson.dumps(body) for body in came}) == 1
    finally:
        service.close()


def on_ports(block: str, service: int, receiver: int) -> str:
    """The commands, for the ports of this test."""
    return block.replace("8080", str(service)).replace("9000", str(receiver))


async def shell(script: str, folder: Path) -> str:
    """What the commands print, run one after the other in `folder`; each must succeed, and complain of nothing."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", script),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, ""), script
    return out.decode()


async def states(client: httpx.AsyncClient, address: str, status: str, attempts: int) -> bool:
    """Whether the one delivery of an event has that status after so many attempts."""
    page: Any = (await client.get(f"{address}/deliveries", params={"event": "execution.failed"})).json()
    return [(row["status"], len(row["attempts"])) for row in page["data"]] == [(status, attempts)]


async def is_listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def running(script: str, folder: Path) -> AsyncIterator[Any]:
    """A command that runs beside the block; gives what reads the lines that it printed so far."""
    printed = folder / "printed"
    with printed.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *dying_with_us(["bash", "-c", f"exec {script}"]), cwd=folder, stdout=out, stderr=asyncio.subprocess.DEVNULL
        )
    try:
        yield lambda: printed.read_text().splitlines()
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
