"""The ledger in PostgreSQL costs what it does, not what it holds: long queues and idle lanes beside it are free.

Cost is counted in rows that are read, which are the same on every machine; the planner decides by the statistics that
it has, or by none.
"""

from functools import partial

import psycopg
import pytest

from monitor.store.base import Store, Writer
from monitor.store.delivery_port import DeliveryQuery
from monitor.store.postgres import open_postgres_store
from monitor.store.postgres_write import PostgresWriter
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import Lane
from tests.contracts.ledger_contract import NOW_US, SECOND_US, endpoint, outcome, planned
from tests.contracts.test_ledger_cost import DAY_US, OTHERS, round_trip

MANY = 100_000
IDLE = 2_000

MOST_READ = 400
"""By a round trip; in an empty store it is half of that."""

_FILL = """
INSERT INTO deliveries (
    key, id, endpoint_key, body_key, event_id, event_type, team, execution_id, state, "trigger", attempts, step, rank,
    due_us, planned_us, order_key
)
SELECT -n, 'old_' || n, %(endpoint)s, 1, 'e', 'execution.failed', 'default', 'x', %(state)s, 'event', 0, 0, 0,
    CASE WHEN n = %(many)s OR %(order_key)s::text IS NULL THEN %(due_us)s END, %(due_us)s, %(order_key)s
FROM generate_series(1, %(many)s) AS n
"""
_READ = """
SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables
WHERE relname IN ('deliveries', 'attempts', 'lanes', 'endpoints', 'delivery_bodies')
"""


def reads(writer: Writer, key: int, at_us: int) -> int:
    """How many rows a round trip reads."""
    assert isinstance(writer, PostgresWriter)
    [(before,)] = writer._driver.execute(_READ)
    round_trip(writer, key, at_us)()
    [(after,)] = writer._driver.execute(_READ)
    return int(after - before)


async def cost(store: Store, key: int, after_s: int) -> int:
    """Of the dearest of some round trips: a plan is chosen anew now and then."""
    counted = [
        await store.write(partial(reads, key=key, at_us=NOW_US + (after_s + n) * SECOND_US)) for n in range(0, 80, 10)
    ]
    return max(counted)


def fill(address: str, key: int, *, due_us: int, order_key: str | None = None, state: str = "pending") -> None:
    """MANY deliveries of a lane."""
    values = {"many": MANY, "endpoint": key, "due_us": due_us, "order_key": order_key, "state": state}
    with psycopg.connect(address) as connection:
        connection.execute(_FILL, values)


def analyze(address: str) -> None:
    """Have the planner know what there is."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(
    ("other", "where"),
    [("dead", "beside"), *((other, where) for other in OTHERS if other != "dead" for where in ("beside", "own"))],
)
async def test_long_queue_costs_nothing(postgres_url: str, other: str, where: str, is_known: bool) -> None:
    """100,000 rows of a lane that is dead, waits, is strict or has long ended, whether one looks beside it or in it."""
    store = await open_postgres_store(postgres_url)
    live, beside = [(await store.write(partial(_add, name=f"wh_{n}"))).key for n in range(2)]
    filled = live if where == "own" else beside
    fill(postgres_url, filled, **OTHERS[other])
    if is_known:
        analyze(postgres_url)
    if other == "dead":
        dead = Lane(breaker="open", blocked_until_us=NOW_US + DAY_US)
        await store.write(lambda writer: writer.put_lane(beside, dead))
    await store.write(lambda writer: writer.look([live, beside], 0))  # type: ignore[attr-defined]
    assert await cost(store, live, 1) <= MOST_READ
    await store.close()


async def test_case_15_idle_lanes_cost_nothing(postgres_url: str) -> None:
    """Thousands of them that have had one event each are not gone through by anything that runs often."""
    store = await open_postgres_store(postgres_url)
    keys = await store.write(lambda writer: [_add(writer, name=f"wh_{n}").key for n in range(IDLE + 1)])
    live, idle = keys[0], keys[1:]
    await store.write(lambda writer: writer.owe([planned(f"one_{key}", key) for key in idle]))
    until_us = NOW_US + DAY_US
    claimed = await store.write(lambda it: it.claim(now_us=NOW_US, lease="x", until_us=until_us, limit=2 * IDLE))
    await store.write(lambda writer: writer.finish([outcome(it, finished_us=NOW_US) for it in claimed]))
    assert len(claimed) == IDLE
    assert await store.write(lambda it: it.claim(now_us=NOW_US, lease="y", until_us=until_us, limit=2 * IDLE)) == []
    analyze(postgres_url)
    assert await cost(store, live, 1) <= MOST_READ
    await store.close()


async def test_few_are_found_past_the_many_that_have_ended(postgres_url: str) -> None:
    """What a webhook is owed is counted, listed and cancelled without looking at what has long been delivered."""
    store = await open_postgres_store(postgres_url)
    key = (await store.write(partial(_add, name="wh_0"))).key
    fill(postgres_url, key, due_us=NOW_US, state="delivered")
    analyze(postgres_url)

    def ask(writer: Writer) -> int:
        assert isinstance(writer, PostgresWriter)
        assert writer.backlog(key).counts == {"pending": 0, "leased": 0, "held": 0}
        assert writer.keys_of(DeliveryQuery(key, ("held",)), 0, 1000) == []
        assert writer.delivery_count(DeliveryQuery(key, ("leased",))) == 0
        assert writer.remove_endpoint("default", "wh_0") == 0
        return int(writer._driver.execute(_READ).fetchone()[0])  # type: ignore[index]

    assert await store.write(ask) <= 50
    await store.close()


def _add(writer: Writer, name: str) -> Endpoint:
    return writer.add_endpoint(endpoint(name))
