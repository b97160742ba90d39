"""Beyond one machine: what projectors cost over Kafka and PostgreSQL, how changes among them are felt, and restarts.

Run by `scripts/bench scale [--quick]`. Brokers, database, processes by role and the load all share this machine's
cores, so that what counts is CPU per event; wall time tells what this machine can, not what the design can.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from monitor.telemetry.logs import configure_logs
from tests.perf._projection import chunks, endless
from tests.perf._report import Report
from tests.perf._scale_load import Cost, Watcher, cpu_s, entry, share, tell_steadily, telling, watching
from tests.perf._scale_store import SAFE, report_merge_costs
from tests.support.deployment import Deployment, deployed
from tests.support.kafka import Broker, prepare
from tests.support.postgres import Server
from tests.support.postgres import prepare as prepare_postgres
from tests.support.service import Service, eventually

PARTITIONS: Final = 12
WITHIN_S: Final = 600.0

Fault = Callable[[Deployment], Awaitable[None]]


class Scale(NamedTuple):
    """How much of everything."""

    # Folded by one projector, and by two.
    events: int
    # Executions that run while a gateway starts.
    live: int
    # Of the load under which projectors come and go, and for how long it is watched after each change.
    per_s: float
    watched_s: float


FULL = Scale(100_000, 100_000, 500.0, 20.0)
QUICK = Scale(20_000, 10_000, 200.0, 20.0)


class Ground(NamedTuple):
    """What deployments stand on."""

    broker: Broker
    database: Server
    folder: Path


async def main(report: Report, scale: Scale) -> None:
    """Measure everything and print it."""
    prepare_postgres()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="monitor-bench-")))
        broker = Broker(prepare())
        broker.start()
        stack.callback(broker.close)
        ground = Ground(broker, stack.enter_context(Server(SAFE)), folder)
        fastest = 0.0
        for projectors in (1, 2):
            fastest = max(fastest, await _measure_folding(report, scale, ground, projectors))
        await _measure_changes(report, scale, ground)
        await _measure_half_load(report, scale, ground, fastest / 2)
        await _measure_restart(report, scale, ground)


@asynccontextmanager
async def _deployment(ground: Ground, name: str, roles: Mapping[str, int]) -> AsyncIterator[tuple[Deployment, str]]:
    """So many processes, ready, on a topic and a database of their own; with the topic's name."""
    topic = await ground.broker.create_topic(partitions=PARTITIONS)
    folder = ground.folder / name
    folder.mkdir()
    with ground.database.database() as address:
        async with deployed(folder, ground.broker, topic, address, roles) as house:
            yield house, topic


# --- folding ---------------------------------------------------------------------------------------------------------


async def _measure_folding(report: Report, scale: Scale, ground: Ground, projectors: int) -> float:
    """Events per second of a backlog, and what each cost."""
    report.progress(f"{projectors} projector(s): a backlog of {scale.events} events")
    async with _deployment(ground, f"fold-{projectors}", {"projector": projectors}) as (house, topic):
        services = house.services["projector"]
        for service in services:
            service.pause()
        async with telling(ground.broker.bootstrap, topic) as journal:
            for chunk in chunks(endless(active=4000), scale.events):
                await journal.append(chunk)
        before, began_s = _cost(ground, services), time.monotonic()
        for service in services:
            service.resume()
        await _caught_up(services[0])
        took_s, spent = time.monotonic() - began_s, _cost(ground, services).since(before)
        folded = [await _metric(service, "monitor_events_applied_total") for service in services]
    conditions: dict[str, object] = {
        "projectors": projectors,
        "events": scale.events,
        "partitions": PARTITIONS,
        "folded_by_each": [round(it) for it in folded],
    }
    name = f"fold.{projectors}"
    report.figure(f"{name}.wall", scale.events / took_s, "events per second", conditions=conditions)
    for part, seconds in spent._asdict().items():
        unit = "us of CPU per event"
        report.figure(f"{name}.cpu.{part}", seconds / scale.events * 1e6, unit, conditions=conditions)
    return scale.events / took_s


def _cost(ground: Ground, services: list[Service]) -> Cost:
    database, broker = ground.database.pid, ground.broker.pid
    assert database is not None
    assert broker is not None
    return Cost(cpu_s(*(service.pid for service in services)), cpu_s(database), cpu_s(broker))


async def _caught_up(service: Service) -> None:
    lag: list[float] = []

    async def is_caught_up() -> bool:
        nonlocal lag
        lag = await service.lag()
        return len(lag) == PARTITIONS and not any(lag)

    await eventually(is_caught_up, within_s=WITHIN_S, what=lambda: f"lag {lag}")


async def _metric(service: Service, name: str) -> float:
    async with service.client() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


# --- projectors come and go ------------------------------------------------------------------------------------------


async def _measure_changes(report: Report, scale: Scale, ground: Ground) -> None:
    """How old events are when they are seen while a projector joins, leaves or dies, and while nothing happens."""
    changes: dict[str, Fault] = {"none": _nothing, "joins": _join, "leaves": _leave, "dies": _die}
    roles = {"projector": 2, "gateway": 1}
    async with _deployment(ground, "changes", roles) as (house, topic), watching(house.gateways[0].port) as watcher:
        load = asyncio.create_task(_load(ground, topic, scale.per_s))
        for name, change in changes.items():
            report.progress(f"under {scale.per_s:g} events/s: {name}")
            # From rest: the change before has passed.
            await asyncio.sleep(scale.watched_s / 4)
            began_s = time.monotonic()
            await change(house)
            await asyncio.sleep(scale.watched_s)
            _tell_ages(report, f"change.{name}", watcher, began_s, {"per_s": scale.per_s})
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)


async def _load(ground: Ground, topic: str, per_s: float) -> None:
    async with telling(ground.broker.bootstrap, topic) as journal:
        await tell_steadily(journal, per_s, WITHIN_S)


async def _nothing(house: Deployment) -> None:
    """As it is."""


async def _join(house: Deployment) -> None:
    house.add("projector").launch()


async def _leave(house: Deployment) -> None:
    await house.services["projector"].pop().stop()


async def _die(house: Deployment) -> None:
    house.services["projector"].pop().kill()


def _tell_ages(report: Report, metric: str, watcher: Watcher, from_s: float, conditions: Mapping[str, object]) -> None:
    ages_s = watcher.ages_s(from_s, time.monotonic())
    for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        report.figure(
            f"{metric}.{name}",
            share(ages_s, part) * 1000,
            "ms from event to frame",
            conditions={**conditions, "frames": len(ages_s)},
        )


# --- at half load, and after a restart -------------------------------------------------------------------------------


async def _measure_half_load(report: Report, scale: Scale, ground: Ground, per_s: float) -> None:
    report.progress(f"half load: {per_s:.0f} events/s")
    roles = {"projector": 1, "gateway": 1}
    async with _deployment(ground, "half", roles) as (house, topic), watching(house.gateways[0].port) as watcher:
        began_s = time.monotonic()
        async with telling(ground.broker.bootstrap, topic) as journal:
            told = await tell_steadily(journal, per_s, scale.watched_s)
        services = [*house.services["projector"], *house.gateways]
        await _caught_up(house.projector)
        conditions = {"asked_per_s": round(per_s), "told": told}
        _tell_ages(report, "half_load", watcher, began_s, conditions)
        spent = cpu_s(house.gateways[0].pid)
        report.figure(
            "half_load.gateway", spent / told * 1e6, "us of CPU per event", conditions={"processes": len(services)}
        )


async def _measure_restart(report: Report, scale: Scale, ground: Ground) -> None:
    report.progress(f"restart of a gateway beside {scale.live} live executions")
    async with _deployment(ground, "restart", {"projector": 1, "gateway": 1}) as (house, topic):
        async with telling(ground.broker.bootstrap, topic) as journal:
            for start in range(0, scale.live, 1000):
                ids = range(start, min(start + 1000, scale.live))
                await journal.append([entry("execution.started", f"live-{number}") for number in ids])
        await _caught_up(house.projector)
        gateway = house.gateways[0]
        for how, end in (("stopped", gateway.stop), ("killed", gateway.kill)):
            ended = end()
            if ended is not None:
                await ended
            began_s = time.monotonic()
            gateway.launch()
            await gateway.ready()
            report.figure(
                f"restart.{how}", time.monotonic() - began_s, "s to ready", conditions={"live_executions": scale.live}
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/bench scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run of about four minutes")
    configure_logs("console")
    is_quick = parser.parse_args().quick
    asyncio.run(main(Report("scale", is_quick), scale := QUICK if is_quick else FULL))
    report_merge_costs(Report("scale", is_quick), events=scale.events // 2)
