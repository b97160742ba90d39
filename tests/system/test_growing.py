"""The README's way from one process to many, as written, on a real Kafka and a real PostgreSQL."""

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

from tests.support.folders import opened, told
from tests.support.kafka import Kafka
from tests.support.processes import free_ports
from tests.support.service import eventually
from tests.system.test_readme import TOP, blocks

WITHIN_S = 240.0


async def test_the_commands_lead_to_many_processes(kafka: Kafka, postgres_url: str, tmp_path: Path) -> None:
    """Topic and tables are made, what one process had comes along, all roles serve, and what is sent to the gateway is
    folded by a projector.
    """
    async with opened(tmp_path / "data") as parts:
        await told(parts, [{"type": "execution.started", "executionId": "exec_7", "timestamp": "2026-11-22T10:30:00Z"}])
    script = "\n".join(blocks("bash growing"))
    ports = dict(zip(("8080", "8081", "8082", "8083"), free_ports(4), strict=True))
    script = re.sub(r"\b808[0-3]\b", lambda found: str(ports[found[0]]), script)
    script = script.replace("monitor-data", str(tmp_path / "data"))
    script = script.replace("127.0.0.1:9092/executions.events.v1", f"{kafka.bootstrap}/growing-{os.getpid()}")
    script = script.replace("postgresql://postgres@127.0.0.1:5432/monitor", postgres_url)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", f"{script}\necho done"),
        cwd=TOP,
        env={key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
        | {"MONITOR_DATA": str(tmp_path / "data")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            while (line := (await process.stdout.readline()).decode()) and line != "done\n":
                printed.append(line)
        assert line == "done\n", "".join(printed)
        for id_ in ("exec_7", "exec_44"):
            assert any(id_ in line for line in printed), "".join(printed)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await eventually(lambda: has_ended(process.pid), within_s=WITHIN_S)
        await process.wait()


async def has_ended(group: int) -> bool:
    """Whether none of its processes is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
