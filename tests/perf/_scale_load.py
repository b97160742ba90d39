"""A deployment from outside: events told to its topic at a steady pace, and how old each is when it is seen."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import count
from typing import Final, NamedTuple, Self

import psutil
import websockets

from monitor.clock import SystemClock
from monitor.events.codec import format_time_us
from monitor.events.model import Entry
from monitor.journal.kafka import open_kafka_journal
from monitor.journal.kafka.journal import KafkaJournal

_PACE_S: Final = 0.05
_KINDS: Final = ("execution.queued", "execution.started", "execution.progress", "execution.completed")


class Seen(NamedTuple):
    """A frame: when it was read, by the monotonic clock, and how old its event was then."""

    at_s: float
    age_s: float


class Cost(NamedTuple):
    """CPU seconds so far."""

    projectors: float
    database: float
    brokers: float

    def since(self, before: Self) -> "Cost":
        """What was spent meanwhile."""
        return Cost(*(now - then for now, then in zip(self, before, strict=True)))


def cpu_s(*pids: int) -> float:
    """CPU seconds of these processes and all that they started, as far as they are alive."""
    spent = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    times = one.cpu_times()
                    spent += times.user + times.system
            # Connections of a database come and go with their processes.
            spent += (own := process.cpu_times()).children_user + own.children_system
    return spent


@asynccontextmanager
async def telling(bootstrap: str, topic: str) -> AsyncIterator[KafkaJournal]:
    """A producer of the topic."""
    journal = await open_kafka_journal(
        f"kafka://{bootstrap}/{topic}", clock=SystemClock(), group=f"bench-{uuid.uuid4().hex}", create=False
    )
    try:
        yield journal
    finally:
        await journal.close()


def stories(prefix: str, *, progress: int = 12) -> Iterator[Entry]:
    """Events that happen when they are taken, fifteen of each execution, twenty executions side by side."""
    for number in count():
        ids = [f"{prefix}-{number}-{place}" for place in range(20)]
        for kind in (*_KINDS[:2], *(_KINDS[2],) * progress, _KINDS[3]):
            for id_ in ids:
                yield entry(kind, id_)


def entry(kind: str, execution_id: str) -> Entry:
    """One that happens now."""
    document = {
        "type": kind,
        "executionId": execution_id,
        "workflowId": "wf_bench",
        "timestamp": format_time_us(SystemClock().now_us()),
        "id": uuid.uuid4().hex,
        "data": {"message": "x" * 200},
    }
    return Entry(execution_id.encode(), json.dumps(document).encode())


async def tell_steadily(journal: KafkaJournal, per_s: float, for_s: float) -> int:
    """Append at this pace; returns how many there were."""
    coming, told = stories(uuid.uuid4().hex[:8]), 0
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < for_s:
        due = int(passed_s * per_s) - told
        if due > 0:
            await journal.append([next(coming) for _ in range(due)])
            told += due
        await asyncio.sleep(_PACE_S)
    return told


class Watcher:
    """Reads the stream of a gateway and remembers how old events were."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    async def watch(self, port: int, subscribed: asyncio.Event) -> None:
        """Read lifecycle events until cancelled."""
        url = f"ws://127.0.0.1:{port}/v1/executions/stream"
        async with websockets.connect(url, proxy=None, max_queue=None) as stream:
            await stream.send(json.dumps({"type": "subscribe", "channels": ["executions"]}))
            async for message in stream:
                frame = json.loads(message)
                if frame["type"] == "stream.subscribed":
                    subscribed.set()
                elif not frame["type"].startswith("stream."):
                    age_s = time.time() - datetime.fromisoformat(frame["timestamp"]).timestamp()
                    self.seen.append(Seen(time.monotonic(), age_s))

    def ages_s(self, from_s: float, to_s: float) -> Sequence[float]:
        """Of what was seen in between, sorted."""
        return sorted(it.age_s for it in self.seen if from_s <= it.at_s < to_s)


@asynccontextmanager
async def watching(port: int) -> AsyncIterator[Watcher]:
    """A subscriber for as long as the block runs."""
    watcher, subscribed = Watcher(), asyncio.Event()
    task = asyncio.create_task(watcher.watch(port, subscribed))
    try:
        async with asyncio.timeout(60):
            await subscribed.wait()
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def share(ordered: Sequence[float], part: float) -> float:
    """The value below which this part of them lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
