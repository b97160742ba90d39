"""The page on capacity: its lines are what its costs amount to, and its costs are those of the README."""

import re

import pytest

from tests.architecture.source import TOP
from tests.perf.capacity import (
    BUSY,
    LOADS,
    PAGE,
    Cost,
    Load,
    costs_of,
    limit_events_per_s,
    lines_of,
    need_of,
    rewritten,
)

README = (TOP / "README.md").read_text()
TEXT = PAGE.read_text()


def test_lines_are_what_the_costs_amount_to() -> None:
    """`scripts/bench capacity --write` would change nothing."""
    assert rewritten(TEXT) == TEXT, "run scripts/bench capacity --write"
    assert len(lines_of(costs_of(TEXT)).splitlines()) == len(LOADS) + 2


def test_every_line_and_every_cost_says_where_it_comes_from() -> None:
    """Measured, or extrapolated from what."""
    for line in lines_of(costs_of(TEXT)).splitlines()[2:]:
        assert re.search(r"\| (measured: `scripts/bench \w+`|extrapolated from \*event, folded\*)", line), line
    assert len(costs_of(TEXT)) == len(re.findall(r"(?m)^\| [^|]+ \| [\d.,]+ \S+ \| ", TEXT)) >= 10


@pytest.mark.parametrize("name", costs_of(TEXT))
def test_costs_are_those_of_the_readme(name: str) -> None:
    """Each figure that a measured one is derived from stands there."""
    cost = costs_of(TEXT)[name]
    figures = re.findall(r"\d[\d,]*\.?\d+", cost.source)
    assert [figure for figure in figures if figure not in README] == []


@pytest.mark.parametrize(
    ("name", "per_core_s"),
    [
        ("event, folded", 16_500),
        ("frame, alone", 133_000),
        ("frame, 16 in a flush", 1_900_000),
        ("webhook, sent", 3_290),
    ],
)
def test_costs_fit_the_rates_that_they_come_from(name: str, per_core_s: int) -> None:
    """A rate of a core in a second, turned round."""
    cost = costs_of(TEXT)[name]
    assert f"{per_core_s:,}" in cost.source
    assert cost.value == pytest.approx(1e6 / per_core_s, rel=0.01)


COSTS = {
    "event, folded": Cost(60, "us", "measured", ""),
    "event, followed": Cost(10, "us", "measured", ""),
    "event, on the wire": Cost(500, "B", "measured", ""),
    "frame": Cost(5, "us", "measured", ""),
    "memory, of a process": Cost(100, "MB", "measured", ""),
    "memory, of a subscriber": Cost(20, "KB", "measured", ""),
    "streams, of a gateway": Cost(10_000, "streams", "measured", ""),
}


def test_need_is_the_method_s_arithmetic() -> None:
    """By hand: 1000 events/s are 1 % of a gateway to read, and 1,000,000 frames/s are 5 cores to write."""
    need = need_of(Load(100_000, 1_000, 10, "frame"), COSTS)
    assert need.projector_cores == pytest.approx(0.1)
    assert need.gateways == 10
    assert [need.reading, need.busy] == pytest.approx([0.01, 0.51])
    assert need.gateway_mb == pytest.approx(100 + 10_000 * 0.02)
    assert need.kafka_mb_per_s == pytest.approx(11 * 0.5)


def test_frames_take_more_gateways_than_connections_do() -> None:
    """Whichever is more; each has what reading leaves of its core."""
    need = need_of(Load(10_000, 10_000, 100, "frame"), COSTS)
    assert need.gateways == 10
    assert need.busy <= BUSY
    assert need_of(Load(10_000, 10_000, 101, "frame"), COSTS).gateways == 11


def test_beyond_what_a_gateway_can_read_none_is_enough() -> None:
    """However few subscribers it has; the page says from where on."""
    assert need_of(Load(1, 60_000, 0, "frame"), COSTS).gateways is None
    assert need_of(Load(1, 59_000, 0, "frame"), COSTS).gateways == 1
    assert f"At {limit_events_per_s(costs_of(TEXT)):,} events/s" in TEXT
    assert "none is enough" in lines_of(costs_of(TEXT)).splitlines()[-1]
