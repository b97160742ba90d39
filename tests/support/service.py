"""A real `monitor serve` in a process of its own, that tests start, kill and start again."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import dying_with_us, free_ports

READY_WITHIN_S = 120.0
ENDED_WITHIN_S = 120.0
ANSWERED_WITHIN_S = 120.0

LATE_S = 10.0
"""By how much a busy machine may be late with what has a time of its own."""

_TOKEN = re.compile(r"mon_[0-9a-f]{16}_[0-9a-f]{64}")


class Service:
    """`monitor serve` on a data folder; the port stays the same from start to start."""

    def __init__(self, data: Path, **settings: str) -> None:
        """`settings`: further `MONITOR_*` variables, without the prefix. Nobody needs a token unless `auth` is on."""
        self.data, self.port = data, free_ports(1)[0]
        self.log = data.parent / f"{data.name}.log"
        # What runs it; tests put a module of theirs in front that lets it die at a certain instruction.
        self.program: Sequence[str] = ("-m", "monitor")
        # What its environment has besides.
        self.environment: dict[str, str] = {}
        self._settings = {f"MONITOR_{name.upper()}": value for name, value in {"auth": "off", **settings}.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether it was launched, and nobody has ended it or seen it end."""
        return self._process is not None

    def launch(self) -> None:
        """Start the process; call it from the main thread, with which it dies."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
        command = [sys.executable, *self.program, "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_us(command),
                env=inherited | {"MONITOR_DATA": str(self.data)} | self._settings | self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def client(self) -> httpx.AsyncClient:
        """A client of its API."""
        # Loading the system's certificates takes longer than starting the service's router, and nothing here is TLS.
        return httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False, timeout=ANSWERED_WITHIN_S)  # noqa: S501

    async def ready(self) -> None:
        """Return when it is ready; fails with its log when it ends or takes too long."""

        async def is_ready() -> bool:
            assert self._running().poll() is None, f"the service ended:\n{self.log.read_text()}"
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        async with self.client() as client:
            await eventually(is_ready, within_s=READY_WITHIN_S, what=self.log.read_text)

    async def first_token(self) -> str:
        """What its first start prints, once it does: a moment after it listens."""

        async def is_printed() -> list[str]:
            return _TOKEN.findall(self.log.read_text())

        [token] = await eventually(is_printed, what=self.log.read_text)
        return str(token)

    async def lag(self) -> list[float]:
        """Records that are not folded yet, by partition; empty while it does not answer."""
        try:
            async with self.client() as client:
                metrics = (await client.get("/metrics")).text
        except httpx.TransportError:
            return []
        return [float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("monitor_lag_records{")]

    async def caught_up(self, within_s: float = 120.0) -> None:
        """Return when everything that is in its journal is folded, whoever kills it meanwhile."""
        lag: list[float] = []

        async def is_caught_up() -> bool:
            nonlocal lag
            lag = await self.lag()
            return bool(lag) and not any(lag)

        await eventually(is_caught_up, within_s=within_s, what=lambda: f"lag {lag}")

    def kill(self) -> None:
        """SIGKILL, at whatever instruction it is."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it by SIGSTOP: its connections stay open, and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)
        # The signal is on its way: a thread may still work until the last one has stopped.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused one run on."""
        self._running().send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self._running().send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """The exit code, once it has ended by itself."""
        process = self._running()
        code = await asyncio.to_thread(process.wait, ENDED_WITHIN_S)
        self._process = None
        return code

    def close(self) -> None:
        """End what may still run."""
        if self._process is not None:
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the service was not launched"
        return self._process


async def eventually(
    condition: Callable[[], Awaitable[Any]], *, within_s: float = 120.0, what: Callable[[], str] = str
) -> Any:
    """The first true answer of `condition`, asked again and again; fails with `what()` after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what()}"
        await asyncio.sleep(0.01)  # the pace of asking, not a wait for something to have happened
    return answer
