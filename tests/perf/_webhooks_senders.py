"""Whoever sends in `scripts/bench webhooks`: the product, the rivals and the floors, each a process on one core.

A `Scene` starts them with a load of their own and ends whatever it has started.
"""

import asyncio
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

import psutil

from tests.perf._embedded import Connection
from tests.perf._machine import FIRST_CORE, on_core
from tests.perf._webhooks_load import Load, Seen
from tests.support.processes import dying_with_us
from tests.support.service import Service

_ALLOWED: Final = "127.0.0.0/8"
_REGISTERING: Final = 8
"""Connections over which endpoints are registered."""

_WARM_UP: Final = 500
"""Deliveries until a process has loaded what it needs and is connected."""

_HISTOGRAM: Final = "monitor_webhook_first_attempt_seconds"


class Sender(Protocol):
    """A service that takes endpoints and events, and delivers."""

    @property
    def pid(self) -> int: ...

    @property
    def port(self) -> int: ...


class Rival:
    """A process of `_webhooks_rivals`."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "tests.perf._webhooks_rivals", *map(str, words)]
        with on_core(FIRST_CORE):
            self._process = subprocess.Popen(
                dying_with_us(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Pool(Rival):
    """A pool of tasks over one queue."""

    def __init__(self, folder: Path) -> None:
        super().__init__("pool", folder)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the pool did not start; it has said why"
        self.port: int = json.loads(line)["port"]


class Floor(Rival):
    """Sends one request again and again, and knows of nothing."""

    def __init__(self, kind: Literal["aiohttp", "sockets"], load: Load, sample: Path) -> None:
        super().__init__(kind, sample, load.port)
        self._load = load

    def send(self, count: int, endpoints: int) -> Seen:
        """So many deliveries, to each of the endpoints in turn."""
        assert self._process.stdin is not None
        first = self._load.begin_await(count)
        self._process.stdin.write(f"{first} {count} {endpoints}\n")
        return self._load.answer().checked()


class Party(NamedTuple):
    """A service and its load."""

    sender: Sender
    load: Load


Held = TypeVar("Held", Service, Load, Pool, Floor)


class Scene:
    """Senders and their loads that are there together."""

    def __init__(self, program: Path, folder: Path, started: ExitStack) -> None:
        self._program, self._folder, self._started = program, folder, started

    def ours(self) -> Party:
        """The product, ready, with an empty journal."""
        service = self.service()
        return Party(service, self._load_of(service))

    def service(self) -> Service:
        """A real `monitor serve`, ready, with an empty journal and without a load."""
        service = self._keep(Service(self._new("data"), webhook_allow=_ALLOWED))
        with on_core(FIRST_CORE):
            service.launch()
        asyncio.run(service.ready())
        return service

    def pool(self) -> Party:
        """What one would write first."""
        folder = self._new("pool")
        folder.mkdir()
        pool = self._keep(Pool(folder))
        return Party(pool, self._load_of(pool))

    def floor(self, kind: Literal["aiohttp", "sockets"], sampled: Load, endpoints: int) -> Floor:
        """The sending alone of what `sampled` received last."""
        load = self._keep(Load(self._program))
        floor = self._keep(Floor(kind, load, sampled.sample(self._new("sample"))))
        load.serve(floor.pid)
        load.endpoints(endpoints, "turns")
        floor.send(_WARM_UP, endpoints)
        return floor

    def _load_of(self, sender: Sender) -> Load:
        load = self._keep(Load(self._program))
        load.serve(sender.pid, sender.port)
        return load

    def _new(self, name: str) -> Path:
        return self._folder / f"{name}-{len(list(self._folder.iterdir()))}"

    def _keep(self, one: Held) -> Held:
        return self._started.enter_context(closing(one))


@contextmanager
def scene(program: Path) -> Iterator[Scene]:
    """A scene, whose processes and files are gone with the block. `program` is the load's."""
    with TemporaryDirectory(prefix="monitor-bench-") as folder, ExitStack() as started:
        yield Scene(program, Path(folder), started)


# --- endpoints -------------------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """An endpoint to register."""

    url: str
    # Number of the only workflow that it wants to hear of.
    workflow: int | None = None

    def document(self) -> bytes:
        """As it is posted."""
        filters = {} if self.workflow is None else {"workflowId": f"wf_{self.workflow}"}
        return json.dumps({"url": self.url, "events": ["*"], "filters": filters}).encode()


def register(sender: Sender, wishes: Iterable[Wish]) -> None:
    """All of them, over several connections."""
    asyncio.run(_register_all(sender.port, iter(wishes)))


async def _register_all(port: int, wishes: Iterator[Wish]) -> None:
    async def post_some() -> None:
        connection = await Connection.open(port)
        for wish in wishes:
            await connection.request("POST", "/v1/webhooks", wish.document())
        connection.close()

    await asyncio.gather(*(post_some() for _ in range(_REGISTERING)))


def resident_mb(sender: Sender) -> float:
    """Memory of its process now."""
    return float(psutil.Process(sender.pid).memory_info().rss / 1e6)


# --- what the service says of itself ---------------------------------------------------------------------------------


class FirstAttempts:
    """The service's own histogram, from now on: seconds from the commit of an event to its first attempt."""

    def __init__(self, service: Sender) -> None:
        self._service = service
        self._before = self._counts()

    def percentile_ms(self, share: float) -> float:
        """The time below which that share of them lies."""
        return 1000 * percentile_s({upto: n - self._before[upto] for upto, n in self._counts().items()}, share)

    def _counts(self) -> dict[float, float]:
        metrics = asyncio.run(_metrics(self._service.port))
        buckets = re.findall(rf'^{_HISTOGRAM}_bucket{{le="(.+)"}} (.+)$', metrics, re.MULTILINE)
        return {float(upto_s): float(count) for upto_s, count in buckets}


def percentile_s(counts: Mapping[float, float], share: float) -> float:
    """The value below which that share of a cumulative histogram lies, spread evenly within its bucket.

    `counts`: by upper bound. Beyond the last one that is finite nothing is known: that one is given.
    """
    wanted = share * counts[math.inf]
    assert wanted, "nothing is counted"
    below_s, below = 0.0, 0.0
    for upto_s, count in sorted(counts.items()):
        if count >= wanted and upto_s != math.inf:
            return below_s + (upto_s - below_s) * (wanted - below) / (count - below)
        if upto_s != math.inf:
            below_s, below = upto_s, count
    return below_s


async def _metrics(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text
