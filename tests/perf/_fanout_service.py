"""Fan-out of a real `monitor serve`: events come by HTTP, and the process is killed under its subscribers."""

import asyncio
import time
from typing import Final

from tests.perf._fanout_load import Kind
from tests.perf._fanout_servers import STREAM, Scene
from tests.perf._machine import FIRST_CORE, on_core
from tests.perf._report import Report
from tests.support.service import Service

_MISSED: Final = 500
"""Events that are accepted just before the kill: most subscribers have not got most of them."""

_PATIENCE_S: Final = 30.0


def measure_whole_path(report: Report, here: Scene, subscribers: int, per_s: int, seconds: float) -> None:
    """From the POST of an event through journal, fold and commit to the last subscriber."""
    report.progress(f"POST to {subscribers} subscribers, {per_s} events a second")
    service = here.service()
    _start(service)
    load = here.posting_load("sse", service)
    load.connect(subscribers, STREAM)
    load.rate(per_s, 1.0)  # what every process pays once
    seen = load.rate(per_s, seconds)
    conditions = {"subscribers": subscribers, "per_s": per_s, "events_per_post": 1, "foreign": round(seen.foreign, 2)}
    report.figure("whole_path.p50", seen.p50_us / 1000, "ms", conditions=conditions)
    report.figure("whole_path.p99", seen.p99_us / 1000, "ms", conditions=conditions)
    report.figure("whole_path.core", seen.cores, "of a core", conditions=conditions)


def measure_return(report: Report, here: Scene, kind: Kind, subscribers: int) -> None:
    """SIGKILL under everybody; all come back at once with their last positions."""
    report.progress(f"{kind}: {subscribers} subscribers return after a kill")
    service = here.service()
    _start(service)
    load = here.posting_load(kind, service)
    load.connect(subscribers, STREAM)
    load.burst(16, 0.5)
    load.publish(_MISSED)
    service.kill()
    killed_s = time.monotonic()
    load.begin_resume(_PATIENCE_S)
    _start(service)
    ready_s = time.monotonic() - killed_s
    seen = load.answer()
    assert (seen.ready, seen.missing, seen.wrong, seen.notices) == (subscribers, 0, 0, 0), f"not all came back: {seen}"
    load.burst(16, 0.2)
    report.figure(
        f"return.{kind}",
        seen.ended_us / 1e6 - killed_s,
        "s from the kill until everybody has everything",
        target="< 5",
        conditions={
            "subscribers": subscribers,
            "ready_s": round(ready_s, 2),
            "deliveries": seen.deliveries,
            "journal_pages": asyncio.run(_pages(service)),
        },
    )


def _start(service: Service) -> None:
    with on_core(FIRST_CORE):
        service.launch()
    asyncio.run(service.ready())


async def _pages(service: Service) -> int:
    """Pages of the journal that were read again for subscribers."""
    async with service.client() as client:
        metrics = (await client.get("/metrics")).text
    [pages] = [line.split()[1] for line in metrics.splitlines() if line.startswith("monitor_stream_pages_total ")]
    return int(float(pages))
