"""Servers under test of `scripts/bench fanout`: the product, the bound in C and the rivals, each a process on one core.

A `Scene` starts them and ends whatever it has started. The programs in C are compiled once a run.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, TypeVar

import psutil

from tests.perf import _programs
from tests.perf._fanout_events import UNMARKED, sample_event
from tests.perf._fanout_load import Kind, Load
from tests.perf._machine import FIRST_CORE, on_core
from tests.support.processes import dying_with_us
from tests.support.service import Service

STREAM: Final = "/v1/executions/stream?channels=executions"

_EXECUTIONS: Final = 1000
_SETTLED_WITHIN_S: Final = 10.0
_OTHERS: Final = 3
"""Descriptors that come and go with nobody: of who publishes, of files that are opened late."""


class Programs(NamedTuple):
    """Those in C."""

    client: Path
    bound: Path


class Server:
    """One that is told by its control port what to publish."""

    def __init__(self, command: list[str], log: Path, path: str = "/") -> None:
        """`path` is where its streams are."""
        self.path = path
        self._log = log
        with on_core(FIRST_CORE), log.open("wb") as errors:
            self._process = subprocess.Popen(dying_with_us(command), stdout=subprocess.PIPE, stderr=errors)
        self._seen = psutil.Process(self._process.pid)
        self._said: dict[str, int] = {}

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def port(self) -> int:
        """Where it listens for subscribers."""
        return self._ports()["port"]

    @property
    def control(self) -> int:
        """Where it is told what to publish."""
        return self._ports()["control"]

    def resident_bytes(self) -> int:
        """Memory of its process now."""
        return int(self._seen.memory_info().rss)

    def descriptors(self) -> int:
        """Open ones of its process now."""
        return int(self._seen.num_fds())

    def settled(self, descriptors: int) -> None:
        """Return once it holds hardly more of them than that: it has closed what its subscribers left."""
        deadline = time.monotonic() + _SETTLED_WITHIN_S
        while self.descriptors() > descriptors + _OTHERS:
            assert time.monotonic() < deadline, f"{self.descriptors()} descriptors are left, {descriptors} before"
            time.sleep(0.01)

    def tell(self, command: str) -> None:
        """Say a line to its control port."""
        with socket.create_connection(("127.0.0.1", self.control)) as control:
            control.sendall(f"{command}\n".encode())

    def ask(self, question: str) -> Any:
        """The product's answer to `watch`, `stalls` or `statistics`."""
        with socket.create_connection(("127.0.0.1", self.control)) as control, control.makefile("r") as answers:
            control.sendall(f"{question}\n".encode())
            return json.loads(answers.readline())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _ports(self) -> dict[str, int]:
        if not self._said:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            assert line, f"a server did not start:\n{self._log.read_text()}"
            self._said = json.loads(line)
        return self._said


Held = TypeVar("Held", Server, Load, Service)


class Scene:
    """Servers and load clients that are there together."""

    def __init__(self, programs: Programs, folder: Path, started: ExitStack) -> None:
        self._programs, self._folder, self._started = programs, folder, started

    def ours(self, *, executions: int = _EXECUTIONS, padding_bytes: int = 0) -> Server:
        """The product, with an empty journal."""
        data = self._new("data")
        words = ["tests.perf._fanout_ours", str(data), str(executions), str(padding_bytes)]
        return self._keep(Server([sys.executable, "-m", *words], data.with_suffix(".log"), STREAM))

    def bound(self, kind: Kind, frame: str) -> Server:
        """A server in C that writes ready frames and does nothing else."""
        sample = self._new("frame")
        sample.write_text(frame if kind == "ws" else f"id: {json.loads(frame)['position']}\ndata: {frame}\n\n")
        return self._keep(Server([str(self._programs.bound), kind, str(sample)], sample.with_suffix(".log")))

    def rival(self, kind: Kind, frame: str) -> Server:
        """What one would write first."""
        sample = self._new("frame")
        sample.write_text(frame)
        words = ["tests.perf._fanout_rivals", kind, str(sample)]
        return self._keep(Server([sys.executable, "-m", *words], sample.with_suffix(".log")))

    def service(self) -> Service:
        """A real `monitor serve`, not started yet."""
        return self._keep(Service(self._new("data")))

    def load(self, kind: Kind, server: Server) -> Load:
        """A load client of `server`."""
        return self._keep(Load(self._programs.client, kind, pid=server.pid, port=server.port, control=server.control))

    def posting_load(self, kind: Kind, service: Service) -> Load:
        """A load client of `service` that posts the events itself."""
        posted = self._new("event")
        posted.write_bytes(sample_event(0, 0))
        return self._keep(
            Load(self._programs.client, kind, pid=service.pid, port=service.port, control=service.port, posted=posted)
        )

    def _new(self, name: str) -> Path:
        return self._folder / f"{name}-{len(list(self._folder.iterdir()))}"

    def _keep(self, one: Held) -> Held:
        return self._started.enter_context(closing(one))


@contextmanager
def scene(programs: Programs) -> Iterator[Scene]:
    """A scene, whose processes and files are gone with the block."""
    with TemporaryDirectory(prefix="monitor-bench-") as folder, ExitStack() as started:
        yield Scene(programs, Path(folder), started)


@contextmanager
def compiled() -> Iterator[Programs]:
    """The programs in C, as long as the block runs. Raises CannotMeasure."""
    with _programs.compiled("fanout_client", "fanout_server") as (client, bound):
        yield Programs(client, bound)


def frame_of(ours: Server) -> str:
    """The JSON of an event as the product sends it, so that others send the same bytes."""
    with (
        socket.create_connection(("127.0.0.1", ours.port), _SETTLED_WITHIN_S) as stream,
        stream.makefile("rb") as lines,
    ):
        stream.sendall(f"GET {ours.path} HTTP/1.1\r\nHost: 127.0.0.1:{ours.port}\r\n\r\n".encode())
        while b"stream.subscribed" not in lines.readline():
            pass
        ours.tell("publish 1 0 0")
        while UNMARKED.encode() not in (line := lines.readline()):
            pass
        return line.decode().removeprefix("data: ").rstrip()
