"""What a deployment needs: lines of .github/CAPACITY.md, from the costs that stand in a table of the same page.

    scripts/bench capacity [--write]

It measures nothing. The costs are those that other benchmarks printed: correct them on the page, and `--write` lines.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

PAGE: Final = Path(__file__).parents[2] / ".github" / "CAPACITY.md"

BUSY: Final = 0.6
"""Of a core: beyond it queues grow faster than the load does."""

_BEGIN: Final = "<!-- lines: scripts/bench capacity --write -->\n"
_END: Final = "<!-- end of lines -->\n"

Kind = Literal["measured", "extrapolated", "set"]


class Cost(NamedTuple):
    """A figure of the page's table."""

    value: float
    unit: str
    kind: Kind
    source: str


class Load(NamedTuple):
    """What is asked of a deployment."""

    subscribers: int
    events_per_s: int
    # Of each subscriber.
    frames_per_s: float
    # What a frame costs: the name of its row, which depends on how many events a flush holds.
    frame: str
    # Where this very load was run, with what it showed there; empty where it was not.
    measured: str = ""


class Need(NamedTuple):
    """What carries it."""

    projector_cores: float
    # None: no number of them is enough.
    gateways: int | None
    # Of each gateway: the share of a core that reading every event takes, and all of it.
    reading: float
    busy: float
    gateway_mb: float
    # That Kafka sends to projectors and gateways together.
    kafka_mb_per_s: float


LOADS: Final = (
    Load(1_000, 200, 200, "frame, 200 events/s to all", "`scripts/bench fanout`, 0.50 to 0.53 of a core"),
    Load(5_000, 0, 0, "frame, alone", "`scripts/bench fanout`, memory of 5000 idle connections"),
    Load(10_000, 1_000, 1, "frame, alone"),
    Load(10_000, 1_000, 100, "frame, 16 in a flush"),
    Load(100_000, 5_000, 1, "frame, alone"),
    Load(1_000_000, 10_000, 1, "frame, alone"),
    Load(1_000_000, 40_000, 1, "frame, alone"),
    Load(1_000_000, 80_000, 1, "frame, alone"),
)


def costs_of(page: str) -> Mapping[str, Cost]:
    """The table of costs."""
    kinds = "|".join(get_args(Kind))
    rows = re.findall(rf"^\| ([^|]+) \| ([\d.,]+) (\S+) \| ({kinds}) \| ([^|]+) \|$", page, re.MULTILINE)
    return {
        name.strip(): Cost(float(value.replace(",", "")), unit, kind, said) for name, value, unit, kind, said in rows
    }


def need_of(load: Load, costs: Mapping[str, Cost]) -> Need:
    """The arithmetic of the page's section "Method"."""
    fold_s, follow_s = costs["event, folded"].value / 1e6, costs["event, followed"].value / 1e6
    frame_s = costs[load.frame].value / 1e6
    reading = load.events_per_s * follow_s
    by_frames = load.subscribers * load.frames_per_s * frame_s
    by_streams = math.ceil(load.subscribers / costs["streams, of a gateway"].value)
    gateways = max(by_streams, math.ceil(by_frames / (BUSY - reading))) if reading < BUSY else None
    each = load.subscribers / gateways if gateways else 0
    readers = (gateways or 0) + 1
    return Need(
        projector_cores=load.events_per_s * fold_s / BUSY,
        gateways=gateways,
        reading=reading,
        busy=reading + (by_frames / gateways if gateways else 0),
        gateway_mb=costs["memory, of a process"].value + each * costs["memory, of a subscriber"].value / 1000,
        kafka_mb_per_s=readers * load.events_per_s * costs["event, on the wire"].value / 1e6,
    )


def lines_of(costs: Mapping[str, Cost]) -> str:
    """The page's table of deployments."""
    head = (
        "| subscribers | events/s | frames/s each | projector cores | gateways | a gateway's core: reading, all "
        "| its memory | from Kafka | |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(_line(load, need_of(load, costs)) for load in LOADS)


def _line(load: Load, need: Need) -> str:
    rates = f"| {load.subscribers:,} | {load.events_per_s:,} | {load.frames_per_s:g} "
    cores = f"| {max(0.1, math.ceil(need.projector_cores * 10) / 10):.1f} " if load.events_per_s else "| - "
    if need.gateways is None:
        rest = f"| **none is enough** | {need.reading:.0%}, - | - | - "
    else:
        shares = f"{need.reading:.0%}, {need.busy:.0%}"
        rest = f"| {need.gateways:,} | {shares} | {need.gateway_mb:,.0f} MB | {need.kafka_mb_per_s:,.1f} MB/s "
    return f"{rates}{cores}{rest}| {_origin(load)} |\n"


def _origin(load: Load) -> str:
    if load.measured:
        return f"measured: {load.measured}; the rest from the costs"
    used = ["event, folded", "event, followed", load.frame, "memory, of a subscriber"]
    return f"extrapolated from {'; '.join(f'*{name}*' for name in used)}"


def limit_events_per_s(costs: Mapping[str, Cost]) -> int:
    """How many events a second fill a gateway by being read alone, in whole thousands."""
    return int(BUSY / costs["event, followed"].value * 1e6) // 1000 * 1000


def rewritten(page: str) -> str:
    """The page with lines that fit its costs."""
    begin, rest = page.split(_BEGIN)
    _, end = rest.split(_END)
    return begin + _BEGIN + lines_of(costs_of(page)) + _END + end


def main(arguments: Sequence[str]) -> None:
    """Print the lines, or write them."""
    page = PAGE.read_text()
    if "--write" in arguments:
        PAGE.write_text(rewritten(page))
    print(lines_of(costs_of(page)))
    print(f"reading alone fills a gateway at {limit_events_per_s(costs_of(page)):,} events/s")


if __name__ == "__main__":
    main(sys.argv[1:])
