"""Many subscribers in a process of their own, told what to do: the load client of `scripts/bench fanout`."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import psutil

from tests.perf._machine import FIRST_CORE, SECOND_CORE, busy_s, on_core
from tests.support.processes import dying_with_us

Kind = Literal["sse", "ws"]
KINDS: Final[tuple[Kind, ...]] = ("sse", "ws")


class Seen(NamedTuple):
    """What the subscribers saw during one command, and what it cost the server."""

    events: int
    deliveries: int
    # Deliveries that did not come; numbers out of order or repeated; connections that the server cut.
    missing: int
    wrong: int
    cut: int
    # Frames `stream.*` that tell of trouble, and the first of them.
    notices: int
    notice: str
    began_us: int
    ended_us: int
    server_cpu_s: float
    client_cpu_s: float
    bytes: int
    reads: int
    # Subscribers that the server has answered.
    ready: int
    p50_us: int
    p99_us: int
    max_us: int
    # Of the server's CPU, what it spent outside the kernel.
    user_s: float
    # Share of the server's core that something else took.
    foreign: float

    @property
    def wall_s(self) -> float:
        """Until the last delivery."""
        return (self.ended_us - self.began_us) / 1e6

    @property
    def per_cpu_s(self) -> float:
        """Deliveries per CPU second of the server."""
        return self.deliveries / self.server_cpu_s

    @property
    def cores(self) -> float:
        """Share of a core that the server took."""
        return self.server_cpu_s / self.wall_s

    def checked(self) -> "Seen":
        """Itself, unless a subscriber missed something: then nothing else of it counts."""
        assert (self.missing, self.wrong, self.cut, self.notices) == (0, 0, 0, 0), f"not every event came once: {self}"
        return self


class Load:
    """Many subscribers of one server, who expect every event once and in order."""

    def __init__(
        self, program: Path, kind: Kind, *, pid: int, port: int, control: int, posted: Path | None = None
    ) -> None:
        """Events are asked for on the port `control`, or the one in the file `posted` is sent there by HTTP."""
        words = [kind, port, control, pid, *([] if posted is None else [posted])]
        with on_core(SECOND_CORE):
            self._process = subprocess.Popen(
                dying_with_us([str(program), *map(str, words)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        self._server = psutil.Process(pid)
        self._before = self._look()

    def connect(self, count: int, path: str, *, stalled: int = 0, every: int = 0) -> Seen:
        """Open `count` subscribers of `path`, the first `stalled` of which never read.

        With `every`, events are of that many executions in turn, and subscriber `%d` of `path` gets those of its own.
        """
        return self._run(f"connect {count} {stalled} {every} {path}").checked()

    def burst(self, events: int, seconds: float) -> Seen:
        """Closed loop: so many events at once, the next ones when everybody has them."""
        return self._run(f"burst {events} {seconds}").checked()

    def rate(self, per_s: float, seconds: float) -> Seen:
        """Open loop. Times are those since an event was due."""
        self.begin_rate(per_s, seconds)
        return self.answer().checked()

    def begin_rate(self, per_s: float, seconds: float) -> None:
        """The same without waiting: `answer` has what came of it."""
        self._tell(f"rate {per_s} {seconds}")

    def publish(self, events: int) -> None:
        """Return once these are accepted, wherever the subscribers are."""
        self._run(f"publish {events}")

    def begin_resume(self, seconds: float) -> None:
        """Let subscribers come back with their positions, until each is there and has everything."""
        self._tell(f"resume {seconds}")

    def disconnect(self) -> None:
        """All of them."""
        self._run("disconnect")

    def answer(self) -> Seen:
        """What came of the command that was begun."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the load client ended; it has said why"
        (user_s, core_s), (user_before_s, core_before_s) = self._look(), self._before
        seen: dict[str, Any] = json.loads(line)
        wall_s = max((seen["ended_us"] - seen["began_us"]) / 1e6, 1e-6)
        foreign = max(0.0, (core_s - core_before_s - seen["server_cpu_s"]) / wall_s)
        return Seen(**seen, user_s=user_s - user_before_s, foreign=foreign)

    def close(self) -> None:
        """End the process and with it all connections."""
        self._process.kill()
        self._process.communicate()

    def _run(self, command: str) -> Seen:
        self._tell(command)
        return self.answer()

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._before = self._look()
        self._process.stdin.write(f"{command}\n")

    def _look(self) -> tuple[float, float]:
        """CPU seconds of the server outside the kernel, and of its core under whatever ran there."""
        try:
            return self._server.cpu_times().user, busy_s(FIRST_CORE)
        except psutil.NoSuchProcess:  # killed, as it was to be
            return 0.0, busy_s(FIRST_CORE)
