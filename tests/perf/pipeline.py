"""The hot path: Kafka to state, its stages and baselines, its growth and memory; and the embedded service.

Run by `scripts/bench pipeline [--quick]`. CPU is that of the whole process, pinned to one core, the broker to another.
`bound` is what the machine would allow if the product itself cost nothing.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import orjson
import psutil

from monitor.pipeline import MAX_BATCH, relax_collector
from monitor.telemetry.logs import configure_logs
from tests.perf import _baselines, _embedded, _growth, _machine
from tests.perf._projection import PARTITIONS, Run, Stages, catch_up, chunks, endless, fetch_only, produce
from tests.perf._report import Report, Rival
from tests.support.kafka import Broker, prepare


class Scale(NamedTuple):
    """How much of everything."""

    events: int
    # Of which the best counts: whatever else the machine does only adds.
    runs: int
    # Events of the baselines: committed one by one, and in batches.
    committed: int
    batched: int
    long_events: int
    # Executions at rest, and events folded into them.
    few: int
    many: int
    grown_by: int
    posted: int
    seen: int


FULL = Scale(300_000, 2, 30_000, 200_000, 2_000_000, 10_000, 1_000_000, 200_000, 200_000, 500)
QUICK = Scale(80_000, 1, 5_000, 50_000, 200_000, 10_000, 100_000, 30_000, 30_000, 200)

_WARM_UP = 50

# Until the working set and the backlog of frames are full, which are bounded and not what is looked for.
_FILLING_EVENTS = 170_000

# Kafka's own defaults, where the tests' broker is quicker than a real one and pays for it.
_REAL_TIMERS = {
    "broker.session.timeout.ms": 9000,
    "broker.heartbeat.interval.ms": 2000,
    "controller.quorum.fetch.timeout.ms": 2000,
    "controller.quorum.election.timeout.ms": 1000,
    "log.retention.check.interval.ms": 300_000,
    "log.cleaner.backoff.ms": 15_000,
    "log.initial.task.delay.ms": 30_000,
}


async def main(report: Report, scale: Scale) -> None:
    """Measure everything and print it."""
    _machine.move_to(_machine.FIRST_CORE)
    relax_collector()
    with _broker() as broker:
        await _measure_memory(report, scale, broker)
        await _measure_interleave(report, scale, broker, "tight", active=64, target=50_000)
        await _measure_interleave(report, scale, broker, "wide", active=4000, target=35_000)
    await _measure_growth(report, scale)
    await _measure_embedded(report, scale)


@contextmanager
def _broker() -> Iterator[Broker]:
    with _machine.on_core(_machine.SECOND_CORE):
        broker = Broker(prepare(), properties=_REAL_TIMERS)
        broker.start()
    with closing(broker):
        yield broker


# --- Kafka to state --------------------------------------------------------------------------------------------------


async def _measure_interleave(
    report: Report, scale: Scale, broker: Broker, name: str, *, active: int, target: int
) -> None:
    report.progress(f"{name}: {scale.events} events of {active} active executions into Kafka")
    url = await produce(broker.bootstrap, endless(active), scale.events)
    fetched = await fetch_only(url)
    report.progress(f"{name}: folding, {scale.runs} time(s)")
    best = max([await catch_up(url) for _ in range(scale.runs)], key=lambda run: run.per_cpu_s)
    report.progress(f"{name}: baselines")
    committed = await _baselines.upserts(url, scale.committed, work="same rows", per_commit=1)
    batched = await _baselines.upserts(url, scale.batched, work="same rows", per_commit=1000)
    lean = await _baselines.upserts(url, scale.batched, work="lean", per_commit=1000)
    parsed = Rival("fetching and parsing JSON alone", 1 / (fetched.cpu_s / fetched.events + _parse_s(active)))
    conditions: dict[str, object] = {
        "events": scale.events,
        "active": active,
        "partitions": PARTITIONS,
        "batch": MAX_BATCH,
        "deliveries": best.deliveries,
    }
    metric, unit = f"kafka_to_state.{name}", "events per CPU second"
    report.figure(
        metric,
        best.per_cpu_s,
        unit,
        target=f">= {target}, >= 4 times the baseline",
        baseline=Rival("upserts of the same rows + commit per event", committed),
        bound=parsed,
        conditions=conditions,
    )
    for suffix, aim, rival in (
        ("batched", ">= 1.5 times the baseline", Rival("batched upserts of the same rows, a commit per 1000", batched)),
        ("batched.lean", None, Rival("batched upserts of one row per execution, nothing else kept", lean)),
    ):
        report.figure(
            f"{metric}.{suffix}", best.per_cpu_s, unit, target=aim, baseline=rival, bound=parsed, conditions=conditions
        )
    await _measure_stages(report, metric, url, fetched)


async def _measure_stages(report: Report, metric: str, url: str, fetched: Run) -> None:
    stages = Stages()
    with stages.watching():
        run = await catch_up(url)
    taken_s = {"fetch": fetched.cpu_s, **stages.by_name()}
    taken_s["other"] = run.cpu_s - sum(taken_s.values())
    for stage, seconds in taken_s.items():
        report.figure(
            f"{metric}.stage.{stage}",
            seconds / run.events * 1e6,
            "us of CPU per event",
            conditions={"events": run.events},
        )


def _parse_s(active: int, events: int = 20_000) -> float:
    """CPU seconds that orjson takes for one of these events, kept by nobody."""
    values = [entry.value for chunk in chunks(endless(active), events) for entry in chunk]
    began = time.process_time()
    for value in values:
        orjson.loads(value)
    return (time.process_time() - began) / events


# --- what lasts ------------------------------------------------------------------------------------------------------


async def _measure_memory(report: Report, scale: Scale, broker: Broker) -> None:
    report.progress(f"memory: {scale.long_events} events")
    url = await produce(broker.bootstrap, endless(active=4000), _FILLING_EVENTS + scale.long_events)
    process = psutil.Process()
    folded = -_FILLING_EVENTS
    resident_mb: list[float] = []

    def watch(records: int) -> None:
        nonlocal folded
        folded += records
        if folded >= scale.long_events * (len(resident_mb) + 1) / 4:
            resident_mb.append(process.memory_info().rss / 2**20)

    await catch_up(url, watch)
    conditions = {"events": scale.long_events, "after": _FILLING_EVENTS, "active": 4000}
    report.figure("memory.at_25_percent", resident_mb[0], "MB resident", conditions=conditions)
    report.figure("memory.at_end", resident_mb[-1], "MB resident", conditions=conditions)
    report.figure("memory.growth", resident_mb[-1] - resident_mb[0], "MB", target="flat", conditions=conditions)


async def _measure_growth(report: Report, scale: Scale) -> None:
    report.progress(f"cost growth: {scale.few} and {scale.many} executions at rest")
    few_us = await _growth.cost_us(scale.few, scale.grown_by)
    many_us = await _growth.cost_us(scale.many, scale.grown_by)
    report.figure(
        "cost_growth",
        many_us,
        "us of CPU per event",
        target="<= 1.3 times the baseline",
        baseline=Rival(f"with {scale.few} stored executions", few_us),
        conditions={"stored_executions": scale.many, "events": scale.grown_by},
    )


# --- the embedded service --------------------------------------------------------------------------------------------


async def _measure_embedded(report: Report, scale: Scale) -> None:
    report.progress("embedded service")
    async with _embedded.serving() as service:
        # The first requests pay for caches that stay.
        await _embedded.post_to_frame_ms(service, _WARM_UP)
        taken_ms = await _embedded.post_to_frame_ms(service, scale.seen)
        run = await _embedded.post_to_state(service, scale.posted)
    flushed = Rival("one flush to the disk", run.flush_s * 1000)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        report.figure(
            f"embedded.post_to_frame_{name}",
            _embedded.percentile(taken_ms, share),
            "ms",
            target="< 5" if name == "p50" else None,
            bound=flushed,
            conditions={"events": scale.seen, "per_s": 50},
        )
    twice = Rival("parsing the JSON twice", 0.5 / _parse_s(100))
    conditions = {"events": run.events, "events_per_post": 100, "connections": 4}
    report.figure(
        "embedded.post_to_state",
        run.events / run.wall_s,
        "events per second",
        target=">= 15000",
        conditions=conditions,
    )
    report.figure(
        "embedded.post_to_state.cpu",
        run.events / run.server_cpu_s,
        "events per CPU second",
        bound=twice,
        conditions=conditions,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/bench pipeline", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run of less than 90 seconds")
    configure_logs("console")
    is_quick = parser.parse_args().quick
    asyncio.run(main(Report("pipeline", is_quick), QUICK if is_quick else FULL))
