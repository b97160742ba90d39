"""What a row costs on its way into PostgreSQL: traffic folded by the product's own pipeline, its commits watched.

Run by itself, this starts a server that waits for the disk as a real one does, and prints a line for each batch size.
"""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import psutil

from monitor.clock import SystemClock
from monitor.journal import MemoryJournal
from monitor.journal.base import Journal
from monitor.store import Store, open_postgres_store
from monitor.store.postgres_session import PostgresSession
from monitor.store.postgres_write import PostgresWriter
from tests.perf._projection import chunks, endless, pipeline_on
from tests.perf._report import Report
from tests.support.postgres import Server

BATCHES: Final = (10, 100, 1000, 4000)
SAFE: Final = {"fsync": "on", "full_page_writes": "on", "wal_level": "replica", "shared_buffers": "256MB"}
"""Settings of a server that loses nothing, over those of tests."""


@dataclass(slots=True)
class MergeCost:
    """What commits took, the transaction around them apart."""

    events: int = 0
    rows: int = 0
    wall_s: float = 0.0
    # Of the thread that commits; and of all that the server does meanwhile.
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0

    def per_row_us(self, seconds: float) -> float:
        """Of a row, be it new or changed."""
        return seconds / max(self.rows, 1) * 1e6

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, commits are timed and their rows counted."""
        commit, merge, many = PostgresWriter.commit, PostgresSession._merge, PostgresSession._many

        def timed(*args: Any) -> None:
            began, began_cpu = time.perf_counter(), time.thread_time()
            commit(*args)
            self.wall_s += time.perf_counter() - began
            self.client_cpu_s += time.thread_time() - began_cpu

        def counted(call: Callable[..., int]) -> Callable[..., int]:
            def counting(session: PostgresSession, statement: Any, rows: Sequence[Any]) -> int:
                self.rows += len(rows)
                return call(session, statement, rows)

            return counting

        with (
            patch.object(PostgresWriter, "commit", timed),
            patch.object(PostgresSession, "_merge", counted(merge)),
            patch.object(PostgresSession, "_many", counted(many)),
        ):
            yield


async def merge_cost(server: Server, batch: int, events: int) -> MergeCost:
    """The cost of `events` of wide traffic, folded `batch` at a time into an empty database of the server."""
    cost, journal = MergeCost(), MemoryJournal(1, clock=SystemClock())
    with server.database() as url:
        async with _fresh_store(url, journal) as store:
            pipeline = await pipeline_on(journal, store)
            coming = endless(active=1000)
            for chunk in chunks(coming, 5_000):  # the first of anything is dearer: statements are prepared
                await journal.append(chunk)
                await pipeline.catch_up()
            gc.collect()
            before_s = _cpu_s(server)
            with cost.watching():
                while cost.events < events:
                    for chunk in chunks(coming, batch):
                        await journal.append(chunk)
                        await pipeline.catch_up()
                        cost.events += len(chunk)
            cost.server_cpu_s = _cpu_s(server) - before_s
    return cost


@asynccontextmanager
async def _fresh_store(url: str, journal: Journal) -> AsyncIterator[Store]:
    store = await open_postgres_store(url)
    try:
        await store.write(lambda writer: writer.bind(journal.incarnation, [0] * journal.partitions))
        yield store
    finally:
        await store.close()


def _cpu_s(server: Server) -> float:
    """CPU seconds of the server so far, with those who still serve a connection."""
    assert server.pid is not None
    postmaster = psutil.Process(server.pid)
    spent = [it.cpu_times() for it in (postmaster, *postmaster.children())]
    return sum(it.user + it.system for it in spent)


def report_merge_costs(report: Report, *, events: int) -> None:
    """A line for each batch size: microseconds per row, wall and CPU on both sides."""
    with Server(SAFE) as server:
        for batch in BATCHES:
            cost = asyncio.run(merge_cost(server, batch, min(events, batch * 200)))
            conditions = {
                "batch": batch,
                "events": cost.events,
                "rows_per_event": round(cost.rows / cost.events, 2),
                "client_cpu_us": round(cost.per_row_us(cost.client_cpu_s), 2),
                "server_cpu_us": round(cost.per_row_us(cost.server_cpu_s), 2),
            }
            report.figure("merge_row_us", cost.per_row_us(cost.wall_s), "us", conditions=conditions)


if __name__ == "__main__":
    is_quick = "--quick" in sys.argv
    report_merge_costs(Report("scale", is_quick), events=5_000 if is_quick else 40_000)
