"""The ledger in SQLite costs what it does, not what it holds: long queues and idle lanes beside it are free.

Cost is counted in steps of SQLite's virtual machine, which are the same on every machine and in every run.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert

from monitor.store.base import Writer
from monitor.store.delivery_port import DeliveryQuery
from monitor.store.sqlite_write import SQLiteWriter
from monitor.store.tables import make_tables, meta
from monitor.webhooks.lane import Lane
from tests.contracts.ledger_contract import NOW_US, SECOND_US, endpoint, outcome, planned

MANY = 200_000
IDLE = 10_000
DAY_US = 86_400 * SECOND_US

# Deliveries of one lane in one statement: what a year of neglect leaves.
_FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :many)
INSERT INTO deliveries (
    key, id, endpoint_key, body_key, event_id, event_type, team, execution_id, state, "trigger", attempts, step, rank,
    due_us, planned_us, order_key
)
SELECT 1000000 + n, 'old_' || n, :endpoint, 1, 'e', 'execution.failed', 'default', 'x', :state, 'event', 0, 0, 0,
    CASE WHEN n = 1 OR :order_key IS NULL THEN :due END, :due, :order_key
FROM numbers
"""


@pytest.fixture
def connection() -> Iterator[Connection]:
    """An empty store in memory, inside a transaction."""
    engine = create_engine("sqlite://")
    with engine.begin() as opened:
        make_tables(opened)
        opened.execute(
            insert(meta).values(id=1, schema_version=0, fold_version=0, endpoints_version=0, tokens_version=0)
        )
        opened.exec_driver_sql("INSERT INTO delivery_bodies (key, body) VALUES (1, x'7b7d')")
        yield opened
    engine.dispose()


def driver_of(connection: Connection) -> Any:
    """The driver's own connection."""
    return connection.connection.driver_connection


def fill(
    connection: Connection, key: int, *, due_us: int, order_key: str | None = None, state: str = "pending"
) -> None:
    """MANY deliveries of a lane."""
    values = {"many": MANY, "endpoint": key, "due": due_us, "order_key": order_key, "state": state}
    driver_of(connection).execute(_FILL, values)


def steps_of(connection: Connection, work: Callable[[], None]) -> int:
    """How many tens of steps the work takes."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    driver_of(connection).set_progress_handler(tick, 10)
    work()
    driver_of(connection).set_progress_handler(None, 0)
    return ticks


def statements_of(connection: Connection, work: Callable[[], None]) -> list[str]:
    """What the work says to SQLite, with its values."""
    said: list[str] = []
    driver_of(connection).set_trace_callback(said.append)
    work()
    driver_of(connection).set_trace_callback(None)
    return list(dict.fromkeys(it for it in said if it.strip().split()[0] in {"SELECT", "UPDATE", "DELETE"}))


def round_trip(writer: Writer, key: int, at_us: int) -> Callable[[], None]:
    """What a deliverer does for three deliveries of a lane: two of an order, one retried, one more."""

    def work() -> None:
        names = [f"{at_us}_{n}" for n in range(3)]
        ordered = [planned(name, key, due_us=at_us, order_key=f"o{at_us}") for name in names[:2]]
        writer.owe([*ordered, planned(names[2], key, due_us=at_us)])
        for n, count in enumerate((2, 2, 0)):
            now_us = at_us + n
            claimed = writer.claim(now_us=now_us, lease=f"l{now_us}", until_us=now_us + SECOND_US, limit=100)
            assert ([it.endpoint.key for it in claimed], now_us) == ([key] * count, now_us)
            retried: dict[str, Any] = {"state": "pending", "due_us": now_us + 1} if n == 0 else {}
            follows = [retried if it.id == names[2] else {} for it in claimed]
            ends = zip(claimed, follows, strict=True)
            writer.finish([outcome(it, finished_us=now_us + 1, **more) for it, more in ends])
            for it in claimed:
                assert writer.endpoint_of(it.endpoint.key) is not None
                writer.put_lane(key, writer.lane(key))
        writer.release_leases("l", at_us + 9)
        writer.next_look_us()

    return work


def lanes(connection: Connection, count: int = 1) -> list[int]:
    """Keys of new endpoints."""
    writer = SQLiteWriter(connection)
    return [writer.add_endpoint(endpoint(f"wh_{n}")).key for n in range(count)]


OTHERS: dict[str, dict[str, Any]] = {
    "dead": {"due_us": NOW_US - DAY_US},
    "waiting": {"due_us": NOW_US + DAY_US},
    "strict": {"due_us": NOW_US + DAY_US, "order_key": ""},
    "delivered": {"due_us": NOW_US - DAY_US, "state": "delivered"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_case_13_long_queue_costs_other_lanes_nothing(connection: Connection, other: str) -> None:
    """Beside 200,000 rows of a lane that is dead, waits, is strict, or has long ended."""
    live, beside = lanes(connection, 2)
    writer = SQLiteWriter(connection)
    round_trip(SQLiteWriter(connection), live, NOW_US)()
    alone = steps_of(connection, round_trip(SQLiteWriter(connection), live, NOW_US + SECOND_US))
    fill(connection, beside, **OTHERS[other])
    if other == "dead":
        writer.put_lane(beside, Lane(breaker="open", blocked_until_us=NOW_US + DAY_US))
    writer.update_endpoint(writer.endpoints(None)[1])
    first = steps_of(connection, round_trip(SQLiteWriter(connection), live, NOW_US + 2 * SECOND_US))
    later = steps_of(connection, round_trip(SQLiteWriter(connection), live, NOW_US + 3 * SECOND_US))
    # Once it is looked at, and found to have nothing to do.
    assert first <= 1.2 * alone
    assert later <= 1.02 * alone


@pytest.mark.parametrize("own", ["waiting", "strict", "delivered"])
def test_long_queue_costs_its_own_lane_nothing(connection: Connection, own: str) -> None:
    """Whatever waits for its time or its turn, or has ended, is not gone through for what is due."""
    (key,) = lanes(connection)
    round_trip(SQLiteWriter(connection), key, NOW_US)()
    alone = steps_of(connection, round_trip(SQLiteWriter(connection), key, NOW_US + SECOND_US))
    fill(connection, key, **OTHERS[own])
    assert steps_of(connection, round_trip(SQLiteWriter(connection), key, NOW_US + 2 * SECOND_US)) <= 1.1 * alone


def test_case_15_idle_lanes_cost_nothing(connection: Connection) -> None:
    """Ten thousand of them that have had one event each are not gone through by anything that runs often."""
    (live,) = lanes(connection)
    round_trip(SQLiteWriter(connection), live, NOW_US)()
    alone = steps_of(connection, round_trip(SQLiteWriter(connection), live, NOW_US + SECOND_US))
    writer = SQLiteWriter(connection)
    idle = [writer.add_endpoint(endpoint(f"idle_{n}")).key for n in range(IDLE)]
    at_us = NOW_US + 2 * SECOND_US
    writer.owe([planned(f"one_{key}", key, due_us=at_us) for key in idle])
    claimed = writer.claim(now_us=at_us, lease="x", until_us=at_us + DAY_US, limit=2 * IDLE)
    writer.finish([outcome(it, finished_us=at_us) for it in claimed])
    assert len(claimed) == IDLE
    assert writer.claim(now_us=at_us, lease="y", until_us=at_us + DAY_US, limit=2 * IDLE) == []
    assert steps_of(connection, round_trip(SQLiteWriter(connection), live, NOW_US + 3 * SECOND_US)) <= 1.02 * alone


def test_nothing_that_runs_often_goes_through_a_table(connection: Connection) -> None:
    """Every statement of the hot path finds its rows by the index that was made for it."""
    live, dead = lanes(connection, 2)
    fill(connection, dead, due_us=NOW_US)
    SQLiteWriter(connection).put_lane(dead, Lane(breaker="open", blocked_until_us=NOW_US + DAY_US))
    said = statements_of(connection, round_trip(SQLiteWriter(connection), live, NOW_US))
    plans = [row[3] for it in said for row in driver_of(connection).execute(f"EXPLAIN QUERY PLAN {it}")]
    scanned = {it for it in plans if it.startswith("SCAN") and "INDEX" not in it}
    assert scanned <= {"SCAN CONSTANT ROW", "SCAN (subquery-1)", "SCAN (subquery-3)"}
    used = {word for it in plans for word in it.split() if word.startswith(("deliveries_", "lanes_"))}
    assert used == {
        *("deliveries_due", "deliveries_leased", "deliveries_by_lease_end", "deliveries_in_order", "deliveries_by_id"),
        "lanes_to_look_at",
    }


def test_indexes_of_some_rows_are_made_last(connection: Connection) -> None:
    """SQLite takes the latest of those that look equally good: which one serves is not left to chance."""
    made = driver_of(connection).execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    are_partial = [" WHERE " in sql for (sql,) in made]
    assert (len(set(are_partial)), are_partial) == (2, sorted(are_partial))


def test_few_are_found_past_the_many_that_have_ended(connection: Connection) -> None:
    """What a webhook is owed is counted, listed and cancelled without looking at what has long been delivered."""
    (key,) = lanes(connection)
    fill(connection, key, due_us=NOW_US, state="delivered")
    writer = SQLiteWriter(connection)

    def ask() -> None:
        assert writer.backlog(key).counts == {"pending": 0, "leased": 0, "held": 0}
        assert writer.keys_of(DeliveryQuery(key, ("held",)), 0, 1000) == []
        assert writer.delivery_count(DeliveryQuery(key, ("leased",))) == 0
        assert writer.remove_endpoint("default", "wh_0") == 0

    assert steps_of(connection, ask) < 200
