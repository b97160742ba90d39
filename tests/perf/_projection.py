"""The product's own line for benchmarks: a topic full of traffic, a fresh store, a pipeline, its stages taken apart."""

import asyncio
import gc
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest.mock import patch

from monitor.access.decoding import Decoding
from monitor.access.sealing import KEY_BYTES, Sealer
from monitor.access.teams import team_rule
from monitor.clock import SystemClock
from monitor.events.model import DEFAULT_TEAM, Entry
from monitor.events.position import Position
from monitor.fanout.hub import Hub
from monitor.fanout.replay import Replay
from monitor.fanout.snapshots import Snapshots
from monitor.journal.base import Journal
from monitor.journal.kafka import open_kafka_journal
from monitor.journal.kafka.journal import KafkaJournal
from monitor.pipeline import MAX_BATCH, Pipeline
from monitor.projections.filter import Condition, Filter
from monitor.store.base import Store, Writer
from monitor.store.sqlite import SQLiteStore, open_sqlite_store
from monitor.store.sqlite_write import SQLiteWriter
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.endpoint import Endpoint, Secret
from monitor.webhooks.planner import Planner
from monitor.working_set import WorkingSet
from tests.support.decoding import usual
from tests.support.made_up import Mix
from tests.support.replay import deliveries
from tests.support.traffic import traffic
from tests.support.webhooks import BODIES

PARTITIONS: Final = 4
ENDPOINTS: Final = 100
_MIX: Final = Mix(workflows=ENDPOINTS)
_HEARD: Final = ("execution.failed", "execution.completed", "execution.cancelled", "node.failed")
_CHUNK: Final = 5000


# --- traffic ---------------------------------------------------------------------------------------------------------


def endless(active: int, seed: int = 1) -> Iterator[Entry]:
    """Events of 450 bytes, of `active` executions at any time, fifteen events each."""
    return traffic(seed, mix=_MIX, active=active, rate_per_s=10_000)


def chunks(entries: Iterable[Entry], count: int) -> Iterator[list[Entry]]:
    """The first `count` entries, some thousand at a time."""
    coming = islice(entries, count)
    while chunk := list(islice(coming, _CHUNK)):
        yield chunk


async def produce(bootstrap: str, entries: Iterable[Entry], count: int) -> str:
    """The address of a new topic that holds the first `count` entries."""
    url = f"kafka://{bootstrap}/bench-{uuid.uuid4().hex}"
    async with kafka_journal(url) as journal:
        for chunk in chunks(entries, count):
            await journal.append(chunk)
    return url


@asynccontextmanager
async def kafka_journal(url: str) -> AsyncIterator[KafkaJournal]:
    """The product's journal on that topic, in a consumer group of its own."""
    group = f"bench-{uuid.uuid4().hex}"
    journal = await open_kafka_journal(url, clock=SystemClock(), group=group, partitions=PARTITIONS, replication=1)
    try:
        yield journal
    finally:
        await journal.close()


# --- the line --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def fresh_store(journal: Journal) -> AsyncIterator[SQLiteStore]:
    """An empty SQLite store on disk, tied to `journal`, with a hundred endpoints."""
    with TemporaryDirectory(prefix="monitor-bench-") as folder:
        store = await open_sqlite_store(Path(folder) / "store.db")
        try:
            await store.write(lambda writer: _prepare(writer, journal))
            yield store
        finally:
            await store.close()


def _prepare(writer: Writer, journal: Journal) -> None:
    writer.bind(journal.incarnation, [0] * journal.partitions)
    for number in range(ENDPOINTS):
        writer.add_endpoint(_endpoint(number))


def _endpoint(number: int) -> Endpoint:
    """Each hears one kind of event of one workflow."""
    return Endpoint(
        key=0,
        id=f"wh_{number}",
        team=DEFAULT_TEAM,
        url=f"https://hooks.example.com/{number}",
        events=(_HEARD[number % len(_HEARD)],),
        filter=Filter((Condition("workflowId", "eq", (f"wf_{number + 1}",)),)),
        created_us=0,
        updated_us=0,
        secrets=(Secret(b"", 0),),
        since={},
    )


async def pipeline_on(journal: Journal, store: Store) -> Pipeline:
    """The pipeline as the service makes it, with a hub that has no subscribers."""
    return Pipeline(
        journal=journal,
        store=store,
        hub=hub_on(journal, store, await store.read(lambda reader: reader.position())),
        decoding=decoding_of(journal),
        bodies=BODIES,
        on_deliveries=lambda: None,
        clock=SystemClock(),
        metrics=Metrics(),
    )


def hub_on(journal: Journal, store: Store, start: Position) -> Hub:
    """A hub as the service makes it, that has told what lies before `start`."""
    clock = SystemClock()
    return Hub(
        start=start,
        replay=Replay(journal, store, decoding_of(journal)),
        snapshots=Snapshots(store, lambda summary: {"id": summary.id}, clock),
        sealer=Sealer(bytes(KEY_BYTES)),
        clock=clock,
    )


def decoding_of(journal: Journal) -> Decoding:
    """With the usual rules, and one team."""
    return usual(team_rule(exclusive=journal.exclusive, trust_body=False))


@dataclass(slots=True)
class Run:
    """What a catch-up took."""

    events: int
    cpu_s: float
    deliveries: int

    @property
    def per_cpu_s(self) -> float:
        """Events per CPU second of the whole process."""
        return self.events / self.cpu_s


async def catch_up(url: str, on_progress: Callable[[int], None] = lambda _: None) -> Run:
    """Fold the topic into a fresh store by the product's own pipeline."""
    events = 0

    def count(records: int) -> None:
        nonlocal events
        events += records
        on_progress(records)

    async with kafka_journal(url) as journal, fresh_store(journal) as store:
        pipeline = await pipeline_on(journal, store)
        gc.collect()  # the remains of earlier runs, which a service does not have
        began = time.process_time()
        await pipeline.catch_up(count)
        cpu_s = time.process_time() - began
        return Run(events, cpu_s, len(await deliveries(store)))


# --- taken apart -----------------------------------------------------------------------------------------------------

Seams = Sequence[tuple[Any, str, str]]
"""Where a line is cut, and what the piece is called."""

_SEAMS: Final[Seams] = (
    (Decoding, "events", "decode"),
    (WorkingSet, "take", "load"),
    (sys.modules[Pipeline.__module__], "fold", "fold"),
    (Planner, "plan", "plan"),
    (SQLiteWriter, "commit", "write"),
    (Pipeline, "_project", "_project"),
    (SQLiteStore, "_write", "_write"),
    (Hub, "publish", "release"),
)


@dataclass(slots=True)
class Stages:
    """CPU seconds of the calling thread, by stage; of the pipeline, unless other seams are named."""

    seams: Seams = _SEAMS
    taken_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, every piece of the line is timed."""
        with ExitStack() as patches:
            for owner, name, stage in self.seams:
                patches.enter_context(patch.object(owner, name, self._timed(stage, getattr(owner, name))))
            yield

    def by_name(self) -> Mapping[str, float]:
        """Seconds of each stage of the line, in its order; the commit is what the transaction takes around the rest."""
        names = [stage for _, _, stage in self.seams if not stage.startswith("_")]
        taken = {name: self.taken_s[name] for name in names}
        taken["commit"] = self.taken_s["_write"] - self.taken_s["_project"]
        return taken

    def _timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.taken_s[stage] += time.thread_time() - began

        return timed


async def fetch_only(url: str) -> Run:
    """Poll the whole topic and do nothing with it."""
    async with kafka_journal(url) as journal:
        ends = await journal.bounds()
        total = sum(held.end for held in ends.values())
        events = 0
        began = time.process_time()
        consumer = await journal.consumer(_from_the_beginning)
        while events < total:
            events += len(await consumer.poll(MAX_BATCH, 1.0))
        await consumer.close()
        return Run(events, time.process_time() - began, 0)


async def _from_the_beginning(partitions: Collection[int]) -> dict[int, int]:
    await asyncio.sleep(0)
    return dict.fromkeys(partitions, 0)
