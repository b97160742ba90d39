"""Whatever happens on the way, what is owed arrives by the rules, or stands where everybody can see why it does not.

Schedules of accidents are drawn from seeds; a complaint names its seed, and `run_schedule` lives through it again. The
rules have teeth: each of many plausible mistakes is found out within a bounded number of schedules.
"""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import structlog

from monitor.deliverer import Deliverer
from monitor.store.base import Store
from monitor.store.memory import MemoryStore
from monitor.store.memory_ledger import MemoryLedger
from monitor.store.sqlite import open_sqlite_store
from monitor.webhooks import lane, notices, planner, schedule
from tests.support.deliveries.world import run_schedule
from tests.support.mistakes import Mistake

SCHEDULES: Final = 2000
ON_DISK: Final = 40
LONG_TIMES: Final = 20
"""The long form takes so many times more."""

FOUND_WITHIN: Final = 300
"""Schedules that a mistake may survive."""


@pytest.fixture(autouse=True)
def silence() -> Iterable[None]:
    """Thousands of accidents are logged as they should be; nobody reads it."""
    with structlog.testing.capture_logs():
        yield


async def in_memory() -> Store:
    """A store of this schedule's own."""
    return MemoryStore()


def complaints_of(
    seeds: Iterable[int], open_store: Callable[[int], Callable[[], Awaitable[Store]]]
) -> tuple[list[str], Counter[str]]:
    """What was against the rules in the first schedule where something was, and what happened in all so far."""
    happened = Counter[str]()
    for seed in seeds:
        tally = run_schedule(seed, open_store(seed))
        happened += tally.happened
        if tally.complaints:
            return [f"schedule {seed}:", *tally.complaints[:5]], happened
    return [], happened


@pytest.mark.timeout(1800)
def test_case_56_every_schedule_keeps_the_rules(long_form: bool) -> None:
    """Case 56: kills, stalls, doubles, outages, clocks, owners and receivers, in any order; each happened often."""
    schedules = SCHEDULES * (LONG_TIMES if long_form else 1)
    complaints, happened = complaints_of(range(schedules), lambda _: in_memory)
    assert complaints == []
    rare = ("interrupted", "late ends", "probes", "opened", "closed", "disabled", "operator events")
    ends = ("delivered", "exhausted", "expired", "aborted", "given_up", "halted", "removed", "asked", "pending")
    assert min(happened[name] for name in (*rare, *(f"ends {end}" for end in ends))) >= SCHEDULES // 100
    print(f"{schedules} schedules: {', '.join(f'{count} {name}' for name, count in happened.most_common())}")


@pytest.mark.timeout(1800)
def test_sqlite_keeps_the_rules_too(tmp_path: Path, long_form: bool) -> None:
    """The same schedules on disk."""
    schedules = ON_DISK * (LONG_TIMES if long_form else 1)
    complaints, happened = complaints_of(
        range(schedules), lambda seed: partial(open_sqlite_store, tmp_path / f"{seed}.db")
    )
    assert complaints == []
    assert happened["ends delivered"] > schedules


def test_schedule_can_be_lived_through_again() -> None:
    """Its seed decides everything."""
    assert run_schedule(7, in_memory) == run_schedule(7, in_memory)


MISTAKES: Final = {
    "an attempt is recorded when it ends": Mistake(MemoryLedger._lease, "self._ledger.attempts[row.key, n] =", "_ ="),
    "a probe is charged": Mistake(
        schedule._again, "claimed.step if claimed.is_probe else claimed.step + 1", "claimed.step + 1"
    ),
    "an interruption is charged": Mistake(
        MemoryLedger._take_back, '{"state": "pending"}', '{"state": "pending", "step": it.row.step + 1}'
    ),
    "an order is ignored": Mistake(MemoryLedger._owe, "None if waits else it.due_us", "it.due_us"),
    "the next of an order is not woken": Mistake(MemoryLedger.finish, "self._wake(held.values(), latest_us)", "pass"),
    "a cap is ignored": Mistake(lane.room, "- in_flight)\n    free = ", ")\n    free = "),
    "a rate is ignored": Mistake(lane.room, "if endpoint.rate is None or not free", "if True"),
    "leases are not fenced": Mistake(MemoryLedger.finish, "and found.lease == it.lease", ""),
    "an ended lease is not taken back": Mistake(MemoryLedger.claim, "it.lease_until_us <= now_us", "False"),
    "Retry-After is ignored": Mistake(schedule._again, "retry_after_s(answer.retry_after, ended_us) or", ""),
    "Retry-After holds for one delivery only": Mistake(
        lane.after,
        "blocked_until_us = max(lane.blocked_until_us, until_us)",
        "blocked_until_us = lane.blocked_until_us",
    ),
    "a breaker never closes": Mistake(lane._succeeded, 'breaker="closed",', "breaker=lane.breaker,"),
    "a breaker never opens": Mistake(lane._is_broken, "return True", "return False"),
    "a breaker's pause is never longer": Mistake(lane._broken, "<< min(probes, 10)", ""),
    "a lane starts at full speed": Mistake(
        lane._succeeded, "ramp=ramp if ramp < endpoint.max_in_flight else 0", "ramp=0"
    ),
    "a disabled endpoint is served": Mistake(lane.room, 'endpoint.status != "active"', 'endpoint.status == "paused"'),
    "a lane with a full cap is forgotten": Mistake(
        MemoryLedger.finish, "self._look({it.endpoint_key for it in outcomes}, latest_us)", "pass"
    ),
    "a lane with a later retry is forgotten": Mistake(
        MemoryLedger._note_visit, "if left_us else None", "if left_us and min(left_us) <= now_us else None"
    ),
    "planning again owes again": Mistake(
        planner.delivery_id, "{event.id}", "{event.id}{__import__('random').random()}"
    ),
    "an interrupted delivery is sent under another name": Mistake(
        MemoryLedger._lease, "(row.key, row.id,", '(row.key, f"{row.id}{n}" if n > 1 else row.id,'
    ),
    "who is overtaken by an earlier one goes on": Mistake(
        MemoryLedger._stand_back, "earlier and earlier[0].row.key < it.row.key", "False"
    ),
    "a cancelled delivery goes on": Mistake(MemoryLedger.cancel, 'state="cancelled"', "state=it.row.state"),
    "a retry keeps what was used of the schedule": Mistake(MemoryLedger.redeliver, '"step": 0, ', ""),
    "410 does not disable": Mistake(schedule.decide, '"gone" if rule.error == "gone" else', ""),
    "a stop keeps its leases": Mistake(
        Deliverer._hand_back, "writer.release_leases(self._name, self._clock.now_us())", "pass"
    ),
    "what ended before the store failed is forgotten": Mistake(
        Deliverer._write, "await self._clock.sleep(RECHECK_S)", "return [], None"
    ),
    "what was there before is believed of a new address": Mistake(
        Deliverer._move_lane, "if it.claimed.endpoint.url != endpoint.url:", "if False:"
    ),
    "nobody hears of a disabled endpoint": Mistake(
        Deliverer._move_lane, 'notices.append(Notice("endpoint.disabled"', '(Notice("endpoint.disabled"'
    ),
    "an operator endpoint's troubles are told": Mistake(
        notices.plan_notices, "if not notice.about.is_operator", "if True"
    ),
    "several deliverers make up for one step of the clock": Mistake(
        Deliverer._settle_anew, "if self._is_first(now_us, writer):", "if True:"
    ),
    "hundreds are sent at once": Mistake(Deliverer._room, "self._concurrency - len(self._sends)", "self._concurrency"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some schedule is against the rules."""
    MISTAKES[name].make(monkeypatch)
    seeds = itertools.islice(itertools.count(), FOUND_WITHIN)
    complaints, _ = complaints_of(seeds, lambda _: in_memory)
    assert complaints != []
    print(f"{name}: {' '.join(complaints[:2])}")
