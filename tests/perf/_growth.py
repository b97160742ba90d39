"""Whether an event costs more when there is more at rest: the same traffic into a small store and into a large one."""

import gc
import time
from collections.abc import Iterator
from typing import Final

from monitor.clock import SystemClock
from monitor.events.codec import format_time
from monitor.events.model import Entry
from monitor.journal import MemoryJournal
from monitor.pipeline import Pipeline
from tests.perf._projection import PARTITIONS, chunks, endless, fresh_store, pipeline_on
from tests.support.made_up import STARTED_US

_FINISHED: Final = (
    b'{"type":"execution.started","executionId":"old-%07d","workflowId":"wf_%d","timestamp":"%b","id":"%d:1"}',
    b'{"type":"execution.completed","executionId":"old-%07d","workflowId":"wf_%d","timestamp":"%b","id":"%d:2"}',
)


async def cost_us(stored: int, events: int) -> float:
    """CPU microseconds per event of wide traffic into a store that holds `stored` finished executions."""
    journal = MemoryJournal(PARTITIONS, clock=SystemClock())
    async with fresh_store(journal) as store:
        pipeline = await pipeline_on(journal, store)
        for chunk in chunks(_finished(stored), stored * len(_FINISHED)):
            await _fold(journal, pipeline, chunk)
        gc.collect()
        cpu_s = 0.0
        for chunk in chunks(endless(active=4000), events):
            cpu_s += await _fold(journal, pipeline, chunk)
    return cpu_s / events * 1e6


async def _fold(journal: MemoryJournal, pipeline: Pipeline, entries: list[Entry]) -> float:
    """CPU seconds that folding takes; what was folded is forgotten."""
    await journal.append(entries)
    began = time.process_time()
    await pipeline.catch_up()
    cpu_s = time.process_time() - began
    for partition, held in (await journal.bounds()).items():
        await journal.trim(partition, held.end)
    return cpu_s


def _finished(executions: int) -> Iterator[Entry]:
    """Short histories, a second apart, that ended before all traffic."""
    for number in range(executions):
        at = format_time(STARTED_US - (executions - number) * 1_000_000).encode()
        for form in _FINISHED:
            yield Entry(b"old-%07d" % number, form % (number, number % 100 + 1, at, number))
