"""What it costs a gateway to follow: CPU per event that is read and told, whoever listens, from a Kafka topic.

    scripts/bench follower [--quick]

The topic is folded first, in batches that are large as after a pause, or small as under a moderate load; then a gateway
tells all of it, without a subscriber and with one that gets everything. `rest` is what the other pieces leave over: the
client of Kafka, the loop, and handing out what was told.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Final

from monitor.access.decoding import Decoding
from monitor.clock import SystemClock
from monitor.events.position import Position
from monitor.fanout.hub import Hub
from monitor.fanout.window import Window
from monitor.fanout.wires import WEBSOCKET
from monitor.follower import Follower
from monitor.journal.base import Journal
from monitor.pipeline import relax_collector
from monitor.store.base import Store
from monitor.store.sqlite import SQLiteStore
from monitor.telemetry.logs import configure_logs
from monitor.telemetry.metrics import Metrics
from tests.perf import _machine
from tests.perf._projection import (
    Stages,
    decoding_of,
    endless,
    fresh_store,
    hub_on,
    kafka_journal,
    pipeline_on,
    produce,
)
from tests.perf._report import Report
from tests.support.kafka import Broker, prepare
from tests.support.released import cancelled, select, subscribed

_ACTIVE: Final = 64
"""Executions at a time."""

_BATCHES: Final = (2000, 100)
"""Records of a commit, and of what is read ahead of it."""

_SEAMS: Final = (
    (SQLiteStore, "_read", "look"),
    (Decoding, "events", "decode"),
    (sys.modules[Follower.__module__], "joined", "join"),
    (Hub, "publish", "tell"),
)


async def main(report: Report, events: int, runs: int) -> None:
    """Measure everything and print it."""
    _machine.move_to(_machine.FIRST_CORE)
    relax_collector()
    with _machine.on_core(_machine.SECOND_CORE):
        broker = Broker(prepare())
        broker.start()
    with closing(broker):
        report.progress(f"{events} events into Kafka")
        url = await produce(broker.bootstrap, endless(_ACTIVE), events)
        for batch in _BATCHES:
            await _measure(report, url, events, batch, runs)


async def _measure(report: Report, url: str, events: int, batch: int, runs: int) -> None:
    async with kafka_journal(url) as journal, fresh_store(journal) as store:
        start = await store.read(lambda reader: reader.position())
        report.progress(f"folding in batches of {batch}")
        projector = await pipeline_on(journal, store)
        projector._max_batch = batch
        await projector.catch_up()
        for subscribers in (0, 1):
            report.progress(f"following, {subscribers} subscriber(s), {runs} time(s)")
            followed = [await _follow(journal, store, start, batch, subscribers) for _ in range(runs)]
            conditions = {"events": events, "records_per_commit": batch, "subscribers": subscribers}
            for stage, cpu_s in min(followed, key=lambda taken: taken["all"]).items():
                report.figure(f"follower.{stage}", cpu_s / events * 1e6, "CPU us per event", conditions=conditions)


async def _follow(journal: Journal, store: Store, start: Position, batch: int, subscribers: int) -> dict[str, float]:
    """CPU seconds of telling everything from `start` on, by stage."""
    end = await store.read(lambda reader: reader.position())
    hub, stages = hub_on(journal, store, start), Stages(seams=_SEAMS)
    follower = Follower(
        journal=journal,
        store=store,
        hub=hub,
        decoding=decoding_of(journal),
        clock=SystemClock(),
        metrics=Metrics(),
        window=Window(max_records=batch),
    )
    async with AsyncExitStack() as stack:
        for _ in range(subscribers):
            await stack.enter_async_context(_listening(hub))
        consumer = await journal.tail(follower._find_offsets)
        stack.push_async_callback(consumer.close)
        while follower._window.room == batch:
            await follower._read_ahead(consumer)
            await asyncio.sleep(0.01)  # until the client is connected: nothing else lets it have a turn
        gc.collect()
        with stages.watching():
            began_s = time.process_time()
            while hub.position != end:
                await follower.step(consumer)
            total_s = time.process_time() - began_s
    taken = stages.by_name()
    named = {**taken, "join": taken["join"] - taken["decode"]}
    named.pop("commit")
    return {"all": total_s, "rest": total_s - sum(named.values()), **named}


@asynccontextmanager
async def _listening(hub: Hub) -> AsyncIterator[None]:
    """Somebody who gets every event of the default team, without a socket."""
    attachment = subscribed(hub, select(), WEBSOCKET)

    async def read() -> None:
        while await attachment.next() is not None:
            pass

    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(read())]
    try:
        yield
    finally:
        for task in tasks:
            await cancelled(task)
        attachment.leave()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/bench follower", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run of less than a minute")
    configure_logs("console")
    is_quick = parser.parse_args().quick
    asyncio.run(main(Report("follower", is_quick), *((20_000, 1) if is_quick else (100_000, 3))))
