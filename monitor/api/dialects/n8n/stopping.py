"""Stopping many executions: as many jobs as it takes, one answer, a bounded time."""

from typing import Final

from monitor.access.principal import Principal
from monitor.api.dialects.desk import Desk
from monitor.api.dialects.n8n.readers import N8nFlatFilter
from monitor.executions.bulk import MOST_EXECUTIONS, Wanted

WAIT_S: Final = 20.0
"""How long an answer waits until every execution has stopped; what is left goes on without it."""


async def stopped_of(desk: Desk, who: Principal, asked: N8nFlatFilter) -> int:
    """How many executions have stopped, of all that the filter finds, once no more are to come or WAIT_S are over.

    Raises InvalidFilter, InvalidRequest and RateLimited.
    """
    wanted = Wanted(asked.question(), None, MOST_EXECUTIONS)
    until_us = desk.clock.now_us() + round(WAIT_S * 1_000_000)
    stopped = set[str]()
    while (left_s := (until_us - desk.clock.now_us()) / 1_000_000) > 0:
        tried, ended = await _stop_some(desk, who, wanted, left_s)
        new = ended - stopped
        stopped |= new
        # Fewer than a job takes were all. Where none of so many stopped, they are all that another job would find.
        if tried < MOST_EXECUTIONS or not new:
            break
    return len(stopped)


async def _stop_some(desk: Desk, who: Principal, wanted: Wanted, within_s: float) -> tuple[int, set[str]]:
    """How many of the newest that are wanted were tried, and which of them stopped within that time."""
    preview = await desk.bulk.preview(who, "stop", wanted)
    if not preview.matched:
        return 0, set()
    started = await desk.bulk.start(who, "stop", wanted, preview.token, force=False)
    items = (await desk.bulk.settled(who, started.job.id, within_s)).items
    return len(items), {item.execution_id for item in items if item.outcome == "done"}
