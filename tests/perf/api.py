"""The API over many executions at rest: lists, deep pages, filters, single ones, statistics, exports, and mixed load.

Run by `scripts/bench api [--quick]`. A real `monitor serve` on one core, its only client on the other; times are those
of whole requests over a kept connection. `bound` is an answer that asks nothing of the store.
"""

import argparse
import asyncio
import json
import random
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from urllib.request import urlopen

import psutil
from rich.console import Console
from rich.progress import Progress

from monitor.events.codec import format_time
from monitor.pipeline import relax_collector
from monitor.telemetry.logs import configure_logs
from tests.perf._api_store import DAYS, END_US, data_folder, id_of
from tests.perf._embedded import Connection, percentile
from tests.perf._machine import FIRST_CORE, SECOND_CORE, move_to, on_core
from tests.perf._projection import endless
from tests.perf._report import Report, Rival
from tests.support.service import Service


class Scale(NamedTuple):
    """How much of everything."""

    # Executions at rest, the smallest store first.
    stores: tuple[int, ...]
    requests: int
    # How long requests and events come together.
    mixed_s: float
    # Page of the list that is asked for; the last one where there are fewer.
    page: int = 1000


FULL = Scale((10_000, 100_000, 1_000_000), 1000, 20.0)
QUICK = Scale((1_000, 5_000), 100, 3.0)

_PAGE_ROWS: Final = 20
_DAY_US: Final = 86_400_000_000
_EVENTS_PER_S: Final = 10_000
_BATCH: Final = 100
_REQUESTS_PER_S: Final = 200
_TARGET: Final = "< 20 at 10^6"


class Times(NamedTuple):
    """Milliseconds of requests of one kind, in order."""

    ms: list[float]

    @property
    def p50(self) -> float:
        """The median."""
        return percentile(self.ms, 0.5)

    @property
    def p99(self) -> float:
        """What one in a hundred exceeds."""
        return percentile(self.ms, 0.99)


async def main(report: Report, scale: Scale, cache: Path | None = None) -> None:
    """Measure everything and print it."""
    relax_collector()
    smallest: dict[str, Times] = {}
    folders = [await _folder(report, executions, cache) for executions in scale.stores]
    for executions, folder in zip(scale.stores, folders, strict=True):
        report.progress(f"{executions} executions: {scale.requests} requests of each kind")
        async with serving(folder) as service:
            for kind, times in (await measured(service, executions, scale)).items():
                _tell(report, kind, times, smallest.setdefault(kind, times), executions=executions, scale=scale)
            await _tell_export(report, service, executions)
    report.progress(f"{_REQUESTS_PER_S} requests/s beside {_EVENTS_PER_S} events/s")
    with TemporaryDirectory(prefix="monitor-bench-") as copy:
        shutil.copytree(folders[0], Path(copy) / "data")
        async with serving(Path(copy) / "data") as service:
            await _tell_mixed(report, service, scale)


async def _folder(report: Report, executions: int, cache: Path | None) -> Path:
    report.progress(f"a store of {executions} executions")
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("folding", total=executions * 15)
        where = {"cache": cache} if cache else {}
        return await data_folder(executions, lambda events: bars.advance(bar, events), **where)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    """The service on `folder` and the first core; this process moves to the second."""
    service = Service(folder)
    with on_core(FIRST_CORE):
        service.launch()
    move_to(SECOND_CORE)
    try:
        await service.ready()
        yield service
    finally:
        service.close()
        service.log.unlink(missing_ok=True)


# --- one kind after another ------------------------------------------------------------------------------------------


async def measured(service: Service, executions: int, scale: Scale) -> dict[str, Times]:
    """The times of every kind of request."""
    connection = await Connection.open(service.port)
    chance = random.Random(1)
    deep = await _deep_page(connection, scale.page)
    ids = [id_of(chance.randrange(executions)) for _ in range(scale.requests)]
    day, month = (_range(days) for days in (1, DAYS))
    asked = {
        "nothing": ["/livez"],
        "list": [f"/v1/executions?limit={_PAGE_ROWS}"],
        "deep_page": [deep],
        "filter": [f"/v1/executions?filter[status]=failed&filter[workflowId]=wf_{n}" for n in range(1, 100)],
        "get": [f"/v1/executions/{id_}" for id_ in ids],
        "statistics.day": [f"/v1/executions/statistics?{day}&granularity=hour"],
        "statistics.month": [f"/v1/executions/statistics?{month}&granularity=day"],
        "statistics.workflow": [f"/v1/executions/statistics?{day}&workflowId=wf_{n}" for n in range(1, 100)],
    }
    found = {kind: await _times(connection, paths, scale.requests) for kind, paths in asked.items()}
    connection.close()
    return found


def _range(days: int) -> str:
    return f"from={format_time(END_US - days * _DAY_US)}&to={format_time(END_US)}"


async def _deep_page(connection: Connection, page: int) -> str:
    """The address of the page of this number, found by following cursors as a client does."""
    path = base = f"/v1/executions?limit={_PAGE_ROWS}"
    for _ in range(page - 1):
        cursor = (await connection.request("GET", path))["pagination"]["nextCursor"]
        if cursor is None:
            break
        path = f"{base}&cursor={cursor}"
    return path


async def _times(connection: Connection, paths: Sequence[str], requests: int) -> Times:
    taken = []
    for number in range(-10, requests):  # the first pay for caches that stay
        began = time.perf_counter()
        await connection.request("GET", paths[number % len(paths)])
        taken.append((time.perf_counter() - began) * 1000)
    return Times(sorted(taken[10:]))


def _tell(report: Report, kind: str, times: Times, smallest: Times, *, executions: int, scale: Scale) -> None:
    fewest = scale.stores[0]
    for name in ("p50", "p99"):
        report.figure(
            f"{kind}.{name}",
            getattr(times, name),
            "ms",
            target=_TARGET if name == "p99" and kind != "nothing" else None,
            baseline=Rival(f"with {fewest} executions", getattr(smallest, name)),
            conditions={"executions": executions, "requests": scale.requests},
        )


# --- exports ---------------------------------------------------------------------------------------------------------


async def _tell_export(report: Report, service: Service, executions: int) -> None:
    report.progress(f"{executions} executions: exported")
    rows, taken_s, grown_mb = await asyncio.to_thread(_export, service)
    assert rows >= executions * 0.95, f"{rows} of {executions} executions came"
    conditions = {"executions": executions, "format": "ndjson"}
    report.figure("export", rows / taken_s, "rows per second", conditions=conditions)
    report.figure("export.memory", grown_mb, "MB resident above idle, at most", target="flat", conditions=conditions)


def _export(service: Service) -> tuple[int, float, float]:
    process = psutil.Process(service.pid)
    idle = peak = process.memory_info().rss
    rows, began = 0, time.perf_counter()
    with urlopen(f"{service.url}/v1/executions/export?format=ndjson", timeout=600) as answer:  # noqa: S310 - our own
        while chunk := answer.read(1 << 18):
            rows += chunk.count(b"\n")
            peak = max(peak, process.memory_info().rss)
    return rows, time.perf_counter() - began, (peak - idle) / 2**20


# --- beside ingest ---------------------------------------------------------------------------------------------------


async def _tell_mixed(report: Report, service: Service, scale: Scale) -> None:
    ingest = asyncio.create_task(_ingest(service, scale.mixed_s))
    times = await _paced(service, scale.mixed_s)
    events, took_s = await ingest
    conditions = {
        "executions": scale.stores[0],
        "requests_per_s": _REQUESTS_PER_S,
        "events_per_s": round(events / took_s),
        "seconds": scale.mixed_s,
    }
    for name in ("p50", "p99"):
        report.figure(f"mixed.{name}", getattr(times, name), "ms since a request was due", conditions=conditions)
    report.figure("mixed.events", events / took_s, "events per second", target=">= 10000", conditions=conditions)


async def _ingest(service: Service, seconds: float) -> tuple[int, float]:
    """POST batches as they fall due; returns how many events were taken in how many seconds."""
    connection = await Connection.open(service.port)
    batches, began = int(seconds * _EVENTS_PER_S / _BATCH), time.perf_counter()
    told = endless(active=1000)
    for number in range(batches):
        body = b"[" + b",".join(entry.value for entry in islice(told, _BATCH)) + b"]"
        await _until(began + number * _BATCH / _EVENTS_PER_S)
        await connection.request("POST", "/v1/events", body)
    connection.close()
    return batches * _BATCH, time.perf_counter() - began


async def _paced(service: Service, seconds: float) -> Times:
    """Requests of all kinds, each begun when it is due, whatever became of the one before on another connection."""
    paths = ["/v1/executions", f"/v1/executions/{id_of(7)}", f"/v1/executions/statistics?{_range(1)}"]
    began, taken = time.perf_counter(), list[float]()
    due = iter(range(int(seconds * _REQUESTS_PER_S)))

    async def ask() -> None:
        connection = await Connection.open(service.port)
        for number in due:
            at = began + number / _REQUESTS_PER_S
            await _until(at)
            await connection.request("GET", paths[number % len(paths)])
            taken.append((time.perf_counter() - at) * 1000)
        connection.close()

    await asyncio.gather(*(ask() for _ in range(8)))
    return Times(sorted(taken))


async def _until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - time.perf_counter()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/bench api", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run of less than a minute")
    parser.add_argument("--stores", type=json.loads, help="other sizes, as a JSON array")
    configure_logs("console")
    arguments = parser.parse_args()
    chosen = QUICK if arguments.quick else FULL
    if arguments.stores:
        chosen = chosen._replace(stores=tuple(arguments.stores))
    asyncio.run(main(Report("api", arguments.quick), chosen))
