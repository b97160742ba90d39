"""Projectors and deliverers that share PostgreSQL keep every promise of the ledger, whatever is cut and forgotten.

The locks have teeth: without any one of them a story goes wrong within a bounded number of tries.
"""

import pytest

from monitor.store import postgres_claims, postgres_lanes
from monitor.store.postgres_claims import PostgresClaims
from monitor.store.postgres_ledger import PostgresLedger
from tests.support.deliveries.side_by_side import Story
from tests.support.mistakes import Mistake
from tests.support.postgres import Postgres

STORIES, LONG_TIMES = 2, 20
LIVES_S = 6.0
LIMIT_S = 60.0

FOUND_WITHIN = 6
"""Stories that a mistake may survive."""


async def story_of(postgres: Postgres, seed: int, *, for_s: float = LIVES_S, limit_s: float = LIMIT_S) -> Story:
    """What became of it, in a database of its own."""
    with postgres.database() as address:
        story = Story(address, seed)
        await story.live(for_s=for_s, limit_s=limit_s)
    return story


@pytest.mark.timeout(3600)
async def test_every_story_keeps_the_rules(postgres: Postgres, long_form: bool) -> None:
    """Delivered, once at a time, in order where asked, recorded, within the cap; nobody is stuck, nothing deadlocks."""
    for seed in range(STORIES * (LONG_TIMES if long_form else 1)):
        story = await story_of(postgres, seed)
        assert story.complaints[:5] == []
        assert story.happened["deliveries"] > 200
        assert min(story.happened[name] for name in ("cut", "answers lost", "forgotten", "notices")) > 0
        print(f"story {seed}: {dict(story.happened)}")


NO_SKIPPING = "FOR UPDATE SKIP LOCKED", "FOR UPDATE"

_READ_AFTER = """keys = [key for (key,) in self._driver.execute(_LOCK_DUE, (now_us, limit))]
    self._locked |= set(keys)
    rows = self._driver.execute(_LANES, (keys,)).fetchall() if keys else []"""
_READ_BEFORE = """due = "SELECT endpoint_key FROM lanes WHERE look_us <= %s ORDER BY look_us, endpoint_key LIMIT %s"
    keys = [key for (key,) in self._driver.execute(due, (now_us, limit))]
    rows = self._driver.execute(_LANES, (keys,)).fetchall() if keys else []
    self._lock_free(keys)
    rows = [row for row in rows if row[0] in self._locked]"""

MISTAKES = {
    "owed without a lock": Mistake(PostgresLedger._owe, "self._lock(lanes)", "self._locked |= lanes"),
    "ended without a lock": Mistake(PostgresLedger.finish, "self._lock(lanes)", "self._locked |= lanes"),
    "read before the lock": Mistake(PostgresClaims._visit, _READ_AFTER, _READ_BEFORE),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_mistake_is_found_out(postgres: Postgres, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some story is against the rules."""
    MISTAKES[name].make(monkeypatch)
    await _is_found(postgres)


async def test_claim_that_locks_nothing_is_found_out(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two have the same in their hands."""
    without = postgres_claims._LOCK_DUE.replace("FOR UPDATE SKIP LOCKED", "")
    monkeypatch.setattr(postgres_claims, "_LOCK_DUE", without)
    await _is_found(postgres)


async def test_claim_that_waits_is_found_out(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliverers wait for one another in a circle."""
    monkeypatch.setattr(postgres_claims, "_LOCK_DUE", postgres_claims._LOCK_DUE.replace(*NO_SKIPPING))
    monkeypatch.setattr(postgres_lanes, "_LOCK_FREE", postgres_lanes._LOCK_FREE.replace(*NO_SKIPPING))
    await _is_found(postgres)


async def _is_found(postgres: Postgres) -> None:
    for seed in range(FOUND_WITHIN):
        story = await story_of(postgres, seed, for_s=2.0, limit_s=10.0)
        if story.complaints:
            print(story.complaints[0], dict(story.happened))
            return
    pytest.fail("nobody noticed")
