"""Any order and any repetition of an execution's events folds to the same state, in whatever batches they come."""

import random
from collections import Counter
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from monitor.projections.execution import Execution
from monitor.projections.status import STATUSES
from monitor.projections.view import summary
from tests.support.folded import (
    HISTORIES,
    Kept,
    batch_sizes,
    decoded,
    defined_status,
    folded,
    is_order_proof,
    some_order,
)
from tests.support.histories import WireEvent

EXAMPLES = 2000
ORDERS = 6


def test_order_repetition_and_batches_change_nothing() -> None:
    """2,000 random histories, six orders each: one state, the status by definition, and every status occurs."""
    statuses: Counter[str] = Counter()

    @given(HISTORIES, st.integers(0, 1 << 32))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    def check(wire: list[WireEvent], seed: int) -> None:
        assert is_order_proof(wire, seed, ORDERS)
        statuses[defined_status(wire)] += 1

    check()
    print(f"{EXAMPLES} histories x {ORDERS} orders: {dict(statuses)}")
    assert set(statuses) == set(STATUSES)


@given(HISTORIES, st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_batches_tell_what_single_events_tell(wire: list[WireEvent], seed: int) -> None:
    """Versions, statuses and releases are those of folding event by event, wherever the batches are cut."""
    order = some_order(wire, random.Random(seed))
    one_by_one = folded(order, [1] * len(order))
    in_batches = folded(order, batch_sizes(random.Random(seed)))
    assert in_batches.told == one_by_one.told
    assert in_batches.execution == one_by_one.execution
    assert in_batches.state() == one_by_one.state()


@given(HISTORIES, st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_what_is_loaded_again_is_what_was_kept(wire: list[WireEvent], seed: int) -> None:
    """Registers and nodes are the whole truth: the members that are kept for speed follow from them at every step."""
    kept = Kept()
    for event in decoded(some_order(wire, random.Random(seed))):
        kept.take([event])
        loaded = msgspec.structs.replace(kept.execution)
        loaded.refresh()
        assert loaded == kept.execution


@given(HISTORIES, st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_whoever_sees_a_change_sees_a_higher_version(wire: list[WireEvent], seed: int) -> None:
    """The version grows whenever anything visible changes, above every offset that was folded, and never falls."""
    kept = Kept()
    for event in decoded(some_order(wire, random.Random(seed))):
        before, nodes = visible(kept.execution), dict(kept.nodes)
        version = kept.execution.version
        kept.take([event])
        assert kept.execution.version >= version
        if visible(kept.execution) != before or kept.nodes != nodes:
            assert kept.execution.version > max(version, event.record.offset)


@given(HISTORIES)
@settings(max_examples=300, deadline=None)
def test_statistics_count_each_execution_once(wire: list[WireEvent]) -> None:
    """Corrections move an execution between rows: their sum is one, none is negative, and a deletion removes only
    what was in flight.
    """
    kept = folded(wire, [1] * len(wire))
    counts = [count for (_, what), count in kept.statistics.items() if what == "count"]
    erased_in_flight = kept.execution.registers.deleted and kept.execution.ended_us is None
    assert sum(counts) == (0 if erased_in_flight else 1)
    assert min(counts, default=0) >= 0


@given(HISTORIES)
@settings(max_examples=300, deadline=None)
def test_a_view_is_always_sensible(wire: list[WireEvent]) -> None:
    """Durations are never negative, progress stays within its total and below 1 until success, nodes are counted."""
    view = summary(folded(wire, [1] * len(wire)).execution)
    assert view.status in STATUSES
    assert view.duration_us is None or view.duration_us >= 0
    assert 0 <= view.progress.completed <= view.progress.total
    assert (view.progress.ratio(view.status) == 1.0) is (view.status == "success")


def visible(execution: Execution) -> dict[str, Any]:
    """The view without what says when it changed."""
    return {
        **msgspec.structs.asdict(summary(execution)),
        "version": 0,
        "created_us": 0,
        "updated_us": 0,
        "at_us": 0,
    } | ({} if execution.registers.first_us is None else {"at_us": summary(execution).at_us})
