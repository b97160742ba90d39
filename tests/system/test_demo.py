"""The demo shows what the service does, and notices when it does not."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.support.processes import free_ports

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
WITHIN_S = 120.0


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`monitor demo` at work in `folder`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "monitor", "demo", *arguments),
        cwd=folder,
        env=ENVIRONMENT | {"TMPDIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def left_in(folder: Path) -> list[Path]:
    """What lies there."""
    return list(folder.iterdir())


async def test_once_shows_frames_checks_itself_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 0, four checks by name, no file left behind."""
    async with demo(tmp_path, "--once") as process, asyncio.timeout(WITHIN_S):
        out, err = await process.communicate()
    shown = out.decode()
    assert process.returncode == 0, shown + err.decode()
    for workflow in ("demo-flaky", "demo-loop", "demo-wait"):
        assert re.search(rf"{workflow} +execution\.(completed|failed) ", shown)
    checks = re.findall(r"^ok +(.*)$", shown, re.MULTILINE)
    assert [words.split()[0] for words in checks] == ["each", "REST", "who", "a"]
    assert left_in(tmp_path) == []


async def test_demo_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """It prints where to look, shows frames, and its address answers; SIGTERM ends it with 0."""
    port = free_ports(1)[0]
    async with demo(tmp_path, "--port", str(port), "--rate", "200") as process, asyncio.timeout(WITHIN_S):
        assert process.stdout is not None
        assert process.stderr is not None
        seen = ""
        while "execution.completed" not in seen:
            line = await process.stdout.readline()
            assert line, seen + (await process.stderr.read()).decode()
            seen += line.decode()
        assert f"curl -N http://127.0.0.1:{port}/v1/executions/stream" in seen
        assert f'new WebSocket("ws://127.0.0.1:{port}/v1/executions/stream")' in seen
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
    assert (tmp_path / "monitor-data").is_dir()
