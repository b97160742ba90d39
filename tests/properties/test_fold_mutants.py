"""The property of the fold has teeth: wrong rules, each a plausible one, are found out within a thousand histories.

The control, that the right rules are not, is `test_fold.py`.
"""

import functools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from monitor.projections import execution, fold, lifecycle
from monitor.projections.changes import Touched
from monitor.projections.execution import Execution, Fact, Registers
from tests.support.folded import HISTORIES, is_order_proof

EXAMPLES = 1000


def is_found_out() -> bool:
    """Whether some history tells the fold as it is now from an order-proof one."""
    try:
        find(
            st.tuples(HISTORIES, st.integers(0, 1 << 32)),
            lambda drawn: not is_order_proof(*drawn),
            random=random.Random(1),
            settings=settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        return False
    return True


@functools.total_ordering
class Mixed:
    """Sequences where both facts have one, else times: not transitive."""

    def __init__(self, fact: Fact) -> None:
        self.fact = fact

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mixed) and self.fact == other.fact

    def __hash__(self) -> int:
        return 0

    def __lt__(self, other: "Mixed") -> bool:
        mine, theirs = self.fact, other.fact
        if mine.sequence and theirs.sequence:
            return mine.sequence < theirs.sequence
        return (mine.time_us, mine.rank, mine.tie) < (theirs.time_us, theirs.rank, theirs.tie)


def forget(releases: Any, touched: Touched, event: Any, original: Callable[..., None] = fold._fold_one) -> None:
    """Fold an event without remembering its id."""
    original(releases, touched, event)
    del touched.execution.seen[event.digest]


def overwrite(touched: Touched, slot: str, event: Any, tie: int, value: Any) -> bool:
    """Take any payload as the newest."""
    touched.execution.registers.slots[slot] = (event.time_us, tie)
    touched.payloads[slot] = repr(value).encode()
    return True


def erase_softly(registers: Registers, original: Callable[[Registers], None] = lifecycle.erase) -> None:
    """Delete what is there, and take what comes."""
    original(registers)
    registers.deleted = False


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "the first report to arrive holds": (lifecycle, "_late_order", lambda _fact: 0),
    "the first end to arrive holds": (lifecycle, "_end_order", lambda _fact: 0),
    "times order reports, whatever is counted": (
        lifecycle,
        "_late_order",
        lambda fact: (fact.time_us, fact.rank, fact.tie),
    ),
    "counts are compared where both have one, else times": (lifecycle, "_late_order", Mixed),
    "uncounted ends outrank counted ones": (
        lifecycle,
        "_end_order",
        lambda fact: (fact.status == "crashed", fact.sequence, fact.time_us, -fact.rank, fact.tie),
    ),
    "a crash is an end like others": (
        lifecycle,
        "_end_order",
        lambda fact: (fact.sequence == 0, fact.sequence, fact.time_us, -fact.rank, fact.tie),
    ),
    "the latest of the sources' ends wins": (
        execution,
        "_end_order",
        lambda end: (end[1].status == "crashed", -end[1].time_us, -end[1].rank, end[0]),
    ),
    "a verdict is never revoked": (execution, "holds", lambda registers: registers.verdict is not None),
    "repeats count again": (fold, "_fold_one", forget),
    "a restart keeps the nodes": (Touched, "clear", lambda _touched: None),
    "the last payload to arrive holds": (Touched, "fill_slot", overwrite),
    "a deletion can be outlived": (fold, "erase", erase_softly),
    "the view is made once": (Execution, "refresh_view", lambda _execution: None),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_rule_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant gives some history a state that depends on arrival, or a status that the rules do not define."""
    monkeypatch.setattr(*MUTANTS[name])
    assert is_found_out()
