"""The product as a server under test: what `monitor serve` runs, and a port that puts ready releases into its hub.

Run by the benchmark as a process of its own, with a data folder, the number of executions and the padding of events.
Prints its ports as JSON and serves until it is killed.
"""

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from monitor.app import open_parts
from monitor.cli.serve import run_to_exit_code
from monitor.fanout.hub import Hub
from monitor.pipeline import relax_collector
from monitor.serving import running
from monitor.settings import Settings, read_settings
from tests.perf._fanout_events import Control, Due, Releases

_TICK_S: Final = 0.002


class Stalls:
    """How long the event loop keeps a timer waiting."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []
        self._watching: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin anew."""
        self._late_ms = []
        if self._watching is None:
            self._arm()

    def end(self) -> dict[str, float]:
        """How late the timers were since then, in milliseconds."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        late_ms = sorted(self._late_ms) or [0.0]
        return {"p50_ms": median(late_ms), "p99_ms": late_ms[len(late_ms) * 99 // 100], "max_ms": late_ms[-1]}

    def _arm(self) -> None:
        # By the system's clock: that of the loop stands still while something runs.
        due_s = time.monotonic() + _TICK_S
        self._watching = asyncio.get_running_loop().call_later(_TICK_S, self._note, due_s)

    def _note(self, due_s: float) -> None:
        self._late_ms.append(max(0.0, time.monotonic() - due_s) * 1000)
        self._arm()


async def serve(settings: Settings, executions: int, padding_bytes: int) -> None:
    """Serve until killed."""
    async with open_parts(settings) as parts, running(parts, settings) as url:
        relax_collector()
        hub, stalls = parts.hub, Stalls()
        releases = Releases(executions, padding_bytes, hub.position.offsets[0])

        def publish(due: Sequence[Due]) -> None:
            made, next_offset = releases.make(due)
            hub.publish(made, hub.position.advanced(0, next_offset))

        def answer(word: str) -> Any:
            if word == "watch":
                return stalls.watch()
            return stalls.end() if word == "stalls" else _statistics(hub)

        loop = asyncio.get_running_loop()
        control = await loop.create_server(lambda: Control(publish, answer), "127.0.0.1", 0)
        ports = {"port": int(url.rpartition(":")[2]), "control": control.sockets[0].getsockname()[1]}
        print(json.dumps(ports), flush=True)
        await control.serve_forever()


def _statistics(hub: Hub) -> Any:
    return dataclasses.asdict(hub.statistics())


if __name__ == "__main__":
    data, executions, padding_bytes = sys.argv[1:]
    settings = read_settings({}, data=Path(data), port=0, auth="off")
    sys.exit(run_to_exit_code(serve(settings, int(executions), int(padding_bytes)), settings.log))
