"""Webhooks: deliveries per CPU second beside aiohttp alone, latency, isolation, a dead endpoint's backlog, memory.

Run by `scripts/bench webhooks [--quick]`. Senders run on one core; one program in C on the other publishes the events,
receives the deliveries, and checks that each came once. What is compared is measured in turns; of several turns the
median counts. CPU is that of the sender's whole process: for the product from the POST of an event to the last record
of its deliveries.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from tests.perf import _machine, _webhooks_faults
from tests.perf._programs import CannotMeasure, allow_descriptors, compiled
from tests.perf._report import Report, Rival
from tests.perf._webhooks_load import Seen
from tests.perf._webhooks_senders import FirstAttempts, Party, Scene, Wish, register, scene


class Scale(NamedTuple):
    """How much of everything."""

    endpoints: tuple[int, ...]
    # Turns of the same phase, and what each takes.
    turns: int
    window_s: float
    # Deliveries of those that know of nothing.
    floor: int
    # Endpoints, and events a second to all of them: far below what saturates.
    paces: tuple[tuple[int, int], ...]
    paced_s: float
    pairs: int
    hanging_s: float
    # How long is waited for what the pool owes to others than who hangs.
    patience_s: float
    owed: int
    registered: int


_PACES: Final = ((1, 50), (10, 50), (100, 10))

FULL = Scale((1, 10, 100, 1000), 3, 3.0, 10_000, _PACES, 20.0, 5, 20.0, 30.0, 200_000, 10_000)
QUICK = Scale((1, 100), 2, 0.5, 2_000, _PACES[1:2], 2.0, 3, 2.0, 2.0, 10_000, 1_000)

_BATCH_DELIVERIES: Final = 200
"""Events go together in a POST until they owe so many: with one endpoint, a POST for each would be most of the work."""

_OUTSTANDING: Final = 2000
"""Enough to keep every lane busy, or one event where it goes to more endpoints."""

_POOL: Final = "a pool of 256 tasks over one queue, aiohttp, a commit per delivery"
_AIOHTTP: Final = "aiohttp alone: session.post in 64 tasks"
_SOCKETS: Final = "a write and a read on 64 sockets in turn, nothing else"

_OTHER_DESCRIPTORS: Final = 2000


def main(report: Report, scale: Scale) -> None:
    """Measure everything and print it."""
    allow_descriptors(_OTHER_DESCRIPTORS)
    _machine.move_to(_machine.SECOND_CORE)
    with compiled("webhooks_load") as [program]:
        for endpoints in scale.endpoints:
            with scene(program) as here:
                _measure_deliveries(report, scale, here, endpoints)
        for endpoints, per_s in scale.paces:
            with scene(program) as here:
                _measure_latency(report, scale, here, endpoints, per_s)
        _measure_isolation(report, scale, program)
        with scene(program) as here:
            _measure_backlog(report, scale, here)
        with scene(program) as here:
            _measure_memory(report, scale, here)


# --- deliveries ------------------------------------------------------------------------------------------------------


def _measure_deliveries(report: Report, scale: Scale, here: Scene, endpoints: int) -> None:
    report.progress(f"{endpoints} endpoints, saturated")
    batch = max(1, _BATCH_DELIVERIES // endpoints)
    outstanding = max(_OUTSTANDING, endpoints)
    ours, pool = here.ours(), here.pool()
    for party in (ours, pool):
        _register_all(party, endpoints)
        party.load.window(batch, outstanding, scale.window_s / 2)  # what every process pays once
    aiohttp, sockets = (here.floor(kind, ours.load, endpoints) for kind in ("aiohttp", "sockets"))
    turns = []
    for _ in range(scale.turns):
        seen = [party.load.window(batch, outstanding, scale.window_s) for party in (ours, pool)]
        turns.append((*seen, aiohttp.send(scale.floor, endpoints), sockets.send(scale.floor, endpoints)))
        ours.load.rest()
    seen, of_pool, of_aiohttp, of_sockets = ([turn[party] for turn in turns] for party in range(4))
    conditions = {
        "endpoints": endpoints,
        "events_per_post": batch,
        "outstanding": outstanding,
        "turns": scale.turns,
        "others": round(_median(seen, lambda one: one.others), 2),
    }
    per_cpu_s = _median(seen, lambda one: one.per_cpu_s)
    bound = Rival(_SOCKETS, _median(of_sockets, lambda one: one.per_cpu_s))
    for suffix, target, rival in (
        ("", ">= 0.6 times the baseline", Rival(_AIOHTTP, _median(of_aiohttp, lambda one: one.per_cpu_s))),
        (".pool", None, Rival(_POOL, _median(of_pool, lambda one: one.per_cpu_s))),
    ):
        report.figure(
            f"deliveries.{endpoints}{suffix}",
            per_cpu_s,
            "deliveries per CPU second",
            target=target,
            baseline=rival,
            bound=bound,
            conditions=conditions | {"us": round(1e6 / per_cpu_s, 1)},
        )
    report.figure(
        f"deliveries.{endpoints}.per_s",
        _median(seen, lambda one: one.per_s),
        "deliveries per second",
        target=">= 5000",
        baseline=Rival(_POOL, _median(of_pool, lambda one: one.per_s)),
        conditions=conditions,
    )


def _measure_latency(report: Report, scale: Scale, here: Scene, endpoints: int, per_s: int) -> None:
    report.progress(f"{endpoints} endpoints, {per_s} events a second to all")
    ours, pool = here.ours(), here.pool()
    for party in (ours, pool):
        _register_all(party, endpoints)
        party.load.rate(per_s, 1.0)  # what every process pays once
    first_attempts = FirstAttempts(ours.sender)
    seen, of_pool = (party.load.rate(per_s, scale.paced_s) for party in (ours, pool))
    ours.load.rest()
    conditions = {
        "endpoints": endpoints,
        "per_s": per_s,
        "deliveries": seen.deliveries,
        "others": round(seen.others, 2),
    }
    for what, target, took_us, pool_us in (
        ("p50", None, seen.p50_us, of_pool.p50_us),
        ("p99", "< 30", seen.p99_us, of_pool.p99_us),
    ):
        report.figure(
            f"latency.{endpoints}.{what}",
            took_us / 1000,
            "ms from publishing an event to its arrival",
            target=target,
            baseline=Rival(_POOL, pool_us / 1000),
            conditions=conditions,
        )
    for what, share in (("p50", 0.5), ("p99", 0.99)):
        report.figure(
            f"latency.{endpoints}.first_attempt_{what}",
            first_attempts.percentile_ms(share),
            "ms from commit to first attempt, by the service's own histogram",
            conditions=conditions,
        )


def _register_all(party: Party, endpoints: int) -> None:
    party.load.endpoints(endpoints, "all")
    register(party.sender, (Wish(party.load.url(endpoint)) for endpoint in range(endpoints)))


# --- what must not matter --------------------------------------------------------------------------------------------


def _measure_isolation(report: Report, scale: Scale, program: Path) -> None:
    pairs = []
    for number in range(scale.pairs):
        report.progress(f"one of 100 endpoints hangs with half of the traffic, pair {number + 1}")
        pairs.append(_webhooks_faults.hanging(program, Scene.ours, scale.hanging_s))
    report.progress("the same of the pool")
    of_pool = _webhooks_faults.hanging(program, Scene.pool, scale.hanging_s, patience_s=scale.patience_s)
    conditions = {
        "endpoints": _webhooks_faults.ENDPOINTS,
        "per_s": _webhooks_faults.PER_S,
        "seconds": scale.hanging_s,
        "pairs": scale.pairs,
        "p99_ms": [pair.hanging.p99_us / 1000 for pair in pairs],
        "p99_ms_without": [pair.without.p99_us / 1000 for pair in pairs],
        "late_of_pool": of_pool.hanging.missing,
    }
    report.figure(
        "isolation.p99_times",
        median(pair.p99_times for pair in pairs),
        "times the p99 of the same run without",
        target="< 1.5",
        baseline=Rival(f"{_POOL}; what is late counts as long as it was waited for", of_pool.p99_times),
        conditions=conditions,
    )
    report.figure(
        "isolation.p99",
        median(pair.hanging.p99_us for pair in pairs) / 1000,
        "ms from publishing an event to its arrival at one of the others",
        baseline=Rival(_POOL, of_pool.hanging.p99_us / 1000),
        conditions=conditions,
    )


def _measure_backlog(report: Report, scale: Scale, here: Scene) -> None:
    report.progress(f"{scale.owed} deliveries are owed to a dead endpoint")
    took = _webhooks_faults.first_beside_backlog_s(here.ours(), scale.owed)
    report.figure(
        "backlog.first_delivery",
        max(took),
        "s from asking for an endpoint to its first delivery, the longest",
        target="< 1",
        conditions={"owed": scale.owed, "times": len(took), "median_s": round(median(took), 4)},
    )


def _measure_memory(report: Report, scale: Scale, here: Scene) -> None:
    report.progress(f"{scale.registered} endpoints are registered, and get one event")
    used = _webhooks_faults.memory(here.ours(), scale.registered)
    report.figure(
        "memory.idle",
        used.idle_mb,
        "MB resident",
        target="<= 100",
        baseline=Rival("the service before", used.before_mb),
        conditions={
            "endpoints": scale.registered,
            "registered_mb": round(used.registered_mb, 1),
            "register_ms": round(used.register_s / scale.registered * 1000, 2),
        },
    )


def _median(seen: Sequence[Seen], read: Callable[[Seen], float]) -> float:
    return median(read(each) for each in seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/bench webhooks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run of a minute")
    is_quick = parser.parse_args().quick
    try:
        main(Report("webhooks", is_quick), QUICK if is_quick else FULL)
    except CannotMeasure as error:
        sys.exit(f"webhooks: {error}")
