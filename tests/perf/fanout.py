"""Fan-out: deliveries per CPU second beside a server in C and what one would write first; latency, memory, stalls.

Run by `scripts/bench fanout [--quick]`. Servers run on one core, subscribers on another, in processes of their own that
check every event of every subscriber. What is compared is measured in turns; of several turns the median counts.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final, NamedTuple

from tests.perf import _fanout_service, _fanout_stalled, _machine
from tests.perf._fanout_load import KINDS, Kind, Load, Seen
from tests.perf._fanout_servers import Scene, Server, compiled, frame_of, scene
from tests.perf._programs import CannotMeasure, allow_descriptors
from tests.perf._report import Report, Rival


class Scale(NamedTuple):
    """How much of everything."""

    # Of the product and the bound at a time. The first is the largest: memory is that of a server that was never used.
    subscribers: tuple[int, ...]
    # Turns of the same phase, and what each takes.
    turns: int
    burst_s: float
    busy_s: float
    filters_s: float
    stalled_s: float


FULL = Scale((5000, 100, 1000), 3, 0.8, 5.0, 5.0, 60.0)
QUICK = Scale((1000,), 2, 0.2, 1.0, 1.0, 10.0)

_CROWD: Final = 1000
"""Subscribers wherever their number is not what is looked at."""

_AIMS: Final = {
    # Of a crowd, by kind and events at once.
    ("sse", 1): ">= 0.4 of the bound, >= 3 times the baseline",
    ("sse", 16): ">= 0.6 of the bound, >= 10 times the baseline",
    ("ws", 1): ">= 0.4 of the bound",
    ("ws", 16): ">= 0.6 of the bound",
}
_TOGETHER: Final = (1, 16, 64)
_TOGETHER_RIVAL: Final = (1, 16)
_BUSY_PER_S: Final = 200
_EXECUTIONS: Final = 20_000
_MIXED_PER_S: Final = 20_000

_BOUND: Final = "a server in C, one send per subscriber"
_RIVALS: Final = {"sse": "sse-starlette, a queue per client", "ws": "websockets, broadcast() per event"}

_OTHER_DESCRIPTORS: Final = 500
"""Of a process, beside those of subscribers."""


def main(report: Report, scale: Scale) -> None:
    """Measure everything and print it."""
    allow_descriptors(max(scale.subscribers) + _OTHER_DESCRIPTORS)
    _machine.move_to(_machine.SECOND_CORE)
    with compiled() as programs:
        for kind in KINDS:
            with scene(programs) as here:
                _measure_deliveries(report, scale, here, kind)
        with scene(programs) as here:
            _measure_filters(report, scale, here)
        with scene(programs) as here:
            _fanout_service.measure_whole_path(report, here, _CROWD, _BUSY_PER_S, scale.busy_s)
        for kind in KINDS:
            with scene(programs) as here:
                _fanout_service.measure_return(report, here, kind, _CROWD)
        with scene(programs) as here:
            _fanout_stalled.measure(report, here, scale.stalled_s)


# --- deliveries ------------------------------------------------------------------------------------------------------


class Party(NamedTuple):
    """A server and those who read it."""

    server: Server
    load: Load


def _measure_deliveries(report: Report, scale: Scale, here: Scene, kind: Kind) -> None:
    report.progress(f"{kind}: starting")
    server = here.ours()
    frame = frame_of(server)
    ours, bound, rival = (
        Party(each, here.load(kind, each)) for each in (server, here.bound(kind, frame), here.rival(kind, frame))
    )
    resident_kb: dict[str, float] = {}
    for count in scale.subscribers:
        report.progress(f"{kind}: {count} subscribers")
        with _connected(ours, count) as ours_kb, _connected(bound, count):
            resident_kb.setdefault("ours", ours_kb)
            if count != _CROWD:
                _report_deliveries(report, scale, kind, count, _turns(scale, [ours, bound]))
                continue
            with _connected(rival, count) as rival_kb:
                resident_kb["rival"] = rival_kb
                _report_deliveries(report, scale, kind, count, _turns(scale, [ours, bound, rival]))
            _measure_busy(report, scale, kind, ours, bound)
    report.figure(
        f"idle_memory.{kind}",
        resident_kb["ours"],
        "KB resident per connection",
        target="<= 20" if kind == "sse" else "<= 30",
        baseline=Rival(f"{_RIVALS[kind]}, {_CROWD} connections", resident_kb["rival"]),
        conditions={"subscribers": scale.subscribers[0]},
    )


@contextmanager
def _connected(party: Party, count: int) -> Iterator[float]:
    """Subscribers, as long as the block runs; gives the kilobytes that each took of the server's memory."""
    server, load = party
    descriptors, resident_bytes = server.descriptors(), server.resident_bytes()
    load.connect(count, server.path)
    yield (server.resident_bytes() - resident_bytes) / count / 1000
    load.disconnect()
    server.settled(descriptors)


Turns = dict[int, list[tuple[Seen, ...]]]
"""By the number of events at once, what the subscribers of each party saw, turn by turn."""


def _turns(scale: Scale, parties: Sequence[Party]) -> Turns:
    turns: Turns = {together: [] for together in _TOGETHER}
    for _ in range(scale.turns):
        for together, seen in turns.items():
            taking_part = parties if together in _TOGETHER_RIVAL else parties[:2]
            seen.append(tuple(load.burst(together, scale.burst_s) for _, load in taking_part))
    return turns


def _report_deliveries(report: Report, scale: Scale, kind: Kind, count: int, turns: Turns) -> None:
    for together, seen in turns.items():
        ours, bound, *rivals = (list(of_one) for of_one in zip(*seen, strict=True))
        per_cpu_s = _median(ours, lambda each: each.per_cpu_s)
        rival = [Rival(_RIVALS[kind], _median(each, lambda one: one.per_cpu_s)) for each in rivals]
        report.figure(
            f"deliveries.{kind}.{count}.{together}",
            per_cpu_s,
            "deliveries per CPU second",
            target=_AIMS.get((kind, together)) if count == _CROWD else None,
            baseline=rival[0] if rival else None,
            bound=Rival(_BOUND, _median(bound, lambda each: each.per_cpu_s)),
            conditions={
                "subscribers": count,
                "events_together": together,
                "of_bound": round(median(one.per_cpu_s / c.per_cpu_s for one, c in zip(ours, bound, strict=True)), 3),
                "us": round(1e6 / per_cpu_s, 3),
                "user_us": round(_median(ours, lambda each: each.user_s / each.deliveries * 1e6), 3),
                "bound_us": round(_median(bound, lambda each: 1e6 / each.per_cpu_s), 3),
                "bytes": round(_median(ours, lambda each: each.bytes / each.deliveries)),
                "turns": scale.turns,
                "foreign": _foreign(ours),
            },
        )


def _measure_busy(report: Report, scale: Scale, kind: Kind, ours: Party, bound: Party) -> None:
    """Open loop: events come one by one, whatever the server has not done yet."""
    report.progress(f"{kind}: {_CROWD} subscribers, {_BUSY_PER_S} events a second")
    seen: list[Seen] = []
    stalls: list[dict[str, float]] = []
    seen_bound: list[Seen] = []
    for _ in range(scale.turns):
        ours.server.ask("watch")
        seen.append(ours.load.rate(_BUSY_PER_S, scale.busy_s))
        stalls.append(ours.server.ask("stalls"))
        seen_bound.append(bound.load.rate(_BUSY_PER_S, scale.busy_s))
    conditions = {
        "subscribers": _CROWD,
        "per_s": _BUSY_PER_S,
        "seconds": scale.busy_s,
        "turns": scale.turns,
        "foreign": _foreign(seen),
    }

    def tell(what: str, unit: str, read: Callable[[Seen], float], target: str | None = None) -> None:
        beside = Rival(_BOUND, _median(seen_bound, read))
        figure = _median(seen, read)
        report.figure(f"busy.{kind}.{what}", figure, unit, target=target, bound=beside, conditions=conditions)

    tell("p50", "ms", lambda each: each.p50_us / 1000)
    tell("p99", "ms", lambda each: each.p99_us / 1000, "< 150")
    tell("core", "of a core", lambda each: each.cores, "<= 0.6")
    for share, target in (("p50", None), ("p99", "< 20")):
        late_ms = median(each[f"{share}_ms"] for each in stalls)
        report.figure(f"busy.{kind}.stall_{share}", late_ms, "ms", target=target, conditions=conditions)


def _measure_filters(report: Report, scale: Scale, here: Scene) -> None:
    """Everybody wants something else, and most events are nobody's."""
    report.progress(f"{_CROWD} different filters, {_MIXED_PER_S} events a second")
    ours = here.ours(executions=_EXECUTIONS)
    load = here.load("sse", ours)
    load.connect(0, ours.path)
    alone = load.rate(_MIXED_PER_S, scale.filters_s)
    for what, path in (
        ("execution", "/v1/executions/stream?channels=execution:exec_%d"),
        ("workflow", "/v1/executions/stream?filter[workflowId]=wf_%d"),
    ):
        descriptors = ours.descriptors()
        load.connect(_CROWD, path, every=_EXECUTIONS)
        seen = load.rate(_MIXED_PER_S, scale.filters_s)
        load.disconnect()
        ours.settled(descriptors)
        report.figure(
            f"filters.{what}",
            seen.cores,
            "of a core",
            target="<= 0.5",
            bound=Rival("publishing the same to nobody", alone.cores),
            conditions={
                "subscribers": _CROWD,
                "per_s": _MIXED_PER_S,
                "matching": round(seen.deliveries / seen.events, 3),
                "p50_ms": seen.p50_us / 1000,
                "p99_ms": seen.p99_us / 1000,
                "foreign": _foreign([seen]),
            },
        )


def _median(seen: Sequence[Seen], read: Callable[[Seen], float]) -> float:
    return median(read(each) for each in seen)


def _foreign(seen: Sequence[Seen]) -> float:
    """Share of the core that others took from the product."""
    return round(_median(seen, lambda each: each.foreign), 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/bench fanout", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run of less than a minute")
    is_quick = parser.parse_args().quick
    try:
        main(Report("fanout", is_quick), QUICK if is_quick else FULL)
    except CannotMeasure as error:
        sys.exit(f"fanout: {error}")
