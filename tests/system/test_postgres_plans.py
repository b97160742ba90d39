"""Over a hundred thousand executions PostgreSQL answers by the indexes that were made for it, and looks at few rows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg
import pytest
from sqlalchemy import event as events_of

from monitor.events.model import Event
from monitor.projections.execution import Execution
from monitor.projections.filter import Filter, parse_json
from monitor.projections.fold import fold
from monitor.store import Commit, ListQuery, Moved, Reader, Writer, open_postgres_store
from monitor.store.counting import Sought
from monitor.store.expiry import Sweep
from monitor.store.postgres import PostgresStore
from monitor.store.postgres_connections import connect
from tests.contracts.store_contract import event, read_event
from tests.support.postgres import Postgres

STORED: Final = 100_000
HOUR_US: Final = 3_600_000_000
SECOND_US: Final = 1_000_000

MOST_ROWS: Final = 25_000
"""That one question looks at: lists are counted up to ten thousand. Tags and texts, which no index tells, are walked
through in both databases."""

_FILL: Final = (
    """
    INSERT INTO executions (
        key, team, id, created_us, workflow_id, workflow_name, mode, status, at_us, started_us, duration_us,
        stopped_us, retry_of, parent_id, error_type, deleted, ended_us, "trigger", error
    )
    SELECT 1000 + n, CASE n % 5 WHEN 0 THEN 'other' ELSE team END, 'exec_' || n, created_us + n * 1000000,
        'wf_' || n % 50, workflow_name, mode,
        CASE WHEN n % 10 = 1 THEN 'failed' WHEN n % 100 = 2 THEN 'running' ELSE 'success' END,
        at_us + n * 1000000, started_us + n * 1000000, (n * 7919) % 60000000,
        stopped_us + n * 1000000, CASE WHEN n % 1000 = 7 THEN 'exec_' || n - 1 END,
        CASE WHEN n % 1000 = 8 THEN 'exec_' || n % 3000 END, CASE WHEN n % 10 = 1 THEN 'Error' || n % 3 END,
        CASE WHEN n % 97 = 0 THEN 1 ELSE 0 END, ended_us + n * 1000000, 'manual', ''
    FROM executions, generate_series(1::bigint, {stored}) AS n
    """,
    """
    INSERT INTO progress (key, version, updated_us, events, completed, total, heard_us, registers, tail)
    SELECT 1000 + n, version, updated_us, events, completed, total, heard_us, registers, tail
    FROM progress, generate_series(1::bigint, {stored}) AS n
    """,
    "INSERT INTO tags (key, tag) SELECT 1000 + n, 't' || n % 20 FROM generate_series(1::bigint, {stored}, 3) AS n",
    """
    INSERT INTO nodes (key, node_id, iteration, attempt, body)
    SELECT 1000 + n, node_id || '_' || n % 30, iteration, attempt, body
    FROM nodes, generate_series(1::bigint, {stored}) AS n
    """,
    """
    INSERT INTO error_texts (team, key, text)
    SELECT team, key, lower(error_type) || ': it broke at ' || key FROM executions WHERE error_type IS NOT NULL
    """,
    """
    INSERT INTO totals (team, workflow_id, status, count)
    SELECT team, workflow_id, status, count(*) FROM executions WHERE deleted = 0 AND key > 1000
    GROUP BY team, workflow_id, status
    """,
    """
    INSERT INTO statistics (team, hour, workflow_id, status, "trigger", error, bucket, count, total_us)
    SELECT 'default', {hour} - n / 100, 'wf_' || n % 50, 'success', 'manual', '', n % 4, 10, 5000
    FROM generate_series(0::bigint, {stored} - 1) AS n ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO rollups (team, facet, grain, at, key, status, bucket, count, total_us)
    SELECT 'default', n % 4, 0, {hour} - n / 100, 'wf_' || n % 50, 'success', n % 7, 10, 5000
    FROM generate_series(0::bigint, {stored} - 1) AS n ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO run_statistics (team, hour, workflow_id, node_id, status, error, bucket, count, total_us)
    SELECT 'default', {hour} - n / 100, 'wf_' || n % 50, 'n_' || n % 10, 'success', '', n % 4, 10, 5000
    FROM generate_series(0::bigint, {stored} - 1) AS n ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO releases (key, partition, first, next, body)
    SELECT nextval('releases_keys'), n % 4, n * 10, n * 10 + 10, '\\x90' FROM generate_series(1::bigint, {stored}) AS n
    """,
    "INSERT INTO watches (key, due_us) SELECT 1000 + n, n FROM generate_series(1::bigint, {stored}, 2) AS n",
    """
    INSERT INTO commands (key, command_id, state, since_us, body)
    SELECT 1000 + n, 'cmd_' || n, CASE WHEN n % 5000 = 0 THEN 'requested' ELSE 'completed' END, n, '\\x90'
    FROM generate_series(1::bigint, {stored}, 4) AS n
    """,
    "ANALYZE",
)


class Place(NamedTuple):
    """Where the filled store is."""

    url: str
    hour: int
    at_us: int


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[Place]:
    """A store as years leave it behind."""
    with postgres.database() as url:
        asyncio.run(_begin(url))
        with psycopg.connect(url) as connection:
            [(at_us,)] = connection.execute("SELECT at_us FROM executions")
            hour = at_us // HOUR_US
            for statement in _FILL:
                connection.execute(statement.format(stored=STORED, hour=hour).encode())
        yield Place(url, hour, at_us)


async def _begin(url: str) -> None:
    """One execution, of which the others are copies."""
    told = [event("execution.started", "seed"), event("node.completed", "seed", 1, data={"nodeId": "n"})]
    told.append(event("execution.completed", "seed", 2, data={"duration": 2}))
    found = [read_event(it, 0, at) for at, it in enumerate(told)]

    def work(writer: Writer) -> None:
        writer.bind("aabbccddeeff", [0] * 4)
        changes = fold(
            [it for it in found if isinstance(it, Event)], {("default", "seed"): Execution("default", "seed")}
        )
        writer.commit(Commit(changes, {0: Moved(0, 3, b"anchor")}, []))

    store = await open_postgres_store(url)
    await store.write(work)
    await store.close()


@pytest.fixture
async def store(filled: Place) -> AsyncIterator[PostgresStore]:
    """The filled store, open."""
    store = await open_postgres_store(filled.url)
    yield store
    await store.close()


class Look(NamedTuple):
    """What a plan did in one table."""

    table: str
    node: str
    rows: int


@contextmanager
def overheard(store: PostgresStore) -> Iterator[list[tuple[str, Any]]]:
    """The statements that readers run inside."""
    said: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        said.append((statement, values))

    events_of.listen(store._readers, "before_cursor_execute", hear)
    yield said
    events_of.remove(store._readers, "before_cursor_execute", hear)


def looks(url: str, said: Sequence[tuple[str, Any]], *, generic: bool) -> list[Look]:
    """What the database looked at for these statements."""
    found: list[Look] = []
    with connect(url) as connection:
        if generic:
            connection.execute("SET plan_cache_mode = force_generic_plan")
        for statement, values in said:
            cursor = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}".encode(), values, prepare=generic)
            row = cursor.fetchone()
            assert row is not None
            found += _walk(row[0][0]["Plan"])
    return found


def _walk(plan: Mapping[str, Any]) -> Iterator[Look]:
    if "Scan" in plan["Node Type"] and "Relation Name" in plan:
        dropped = sum(plan.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
        rows = (plan["Actual Rows"] + dropped) * plan["Actual Loops"]
        yield Look(plan["Relation Name"], plan["Node Type"], round(rows))
    for part in plan.get("Plans", ()):
        yield from _walk(part)


def listing(document: dict[str, Any], sort: Any = "-startedAt", **members: Any) -> Callable[[Reader, Place], Any]:
    """A page of a list."""
    found: Filter = parse_json(document)
    return lambda reader, _: reader.executions(ListQuery("default", found, sort, 50)._replace(**members))


def counting(hours: int, **tests: Any) -> Callable[[Reader, Place], Any]:
    """Statistics of the latest hours."""
    return lambda reader, at: reader.counted(Sought("default", "hour", at.hour - hours, at.hour + 1, **tests))


QUESTIONS: Final[Mapping[str, Callable[[Reader, Place], Any]]] = {
    "latest": listing({}),
    "oldest": listing({}, "startedAt"),
    "far away": lambda reader, at: listing({}, after=(at.at_us + 50_000 * SECOND_US, 51_000))(reader, at),
    "failed": listing({"status": "failed"}),
    "failed or running": listing({"status": ["failed", "running"]}),
    "of a workflow": listing({"workflowId": "wf_7"}),
    "running of a workflow": listing({"workflowId": "wf_2", "status": "running"}),
    "all but one": listing({"id": {"ne": "exec_9"}}),
    "longest": listing({}, "-duration"),
    "longest of a workflow": listing({"workflowId": "wf_7"}, "-duration"),
    "retries": listing({"retryOf": "exec_1006"}),
    "children": listing({"parent": "exec_8"}),
    "of a kind of error": listing({"errorType": "Error1"}),
    "one": lambda reader, _: reader.execution("default", "exec_4711"),
    "its nodes": lambda reader, _: reader.nodes(5711),
    "its log": lambda reader, _: reader.log_lines(5711, levels=None, node_id=None, limit=100),
    "its payloads": lambda reader, _: reader.payloads(5711),
    "a day": counting(24),
    "a month": counting(720),
    "a month of a workflow": counting(720, workflow_id="wf_7"),
    "nodes of a day": lambda reader, at: reader.nodes_counted(Sought("default", "hour", at.hour - 24, at.hour + 1)),
    "in flight": lambda reader, at: reader.in_flight(Sought("default", "hour", at.hour - 24, at.hour)),
    "minutes": lambda reader, at: reader.counted(
        Sought("default", "minute", at.at_us // (60 * SECOND_US), at.at_us // (60 * SECOND_US) + 60)
    ),
    "releases": lambda reader, _: reader.releases(2, 500_000, 500_100),
    "next watch": lambda reader, _: reader.next_watch_us(),
    "due watches": lambda reader, _: reader.due_watches(500, 100),
    "unanswered": lambda reader, _: reader.open_commands(1 << 50, 10),
    "erasures": lambda reader, _: reader.erasures(100),
    "old ones": lambda reader, at: reader.ended_before(
        ("default", "wf_7", "success"), at.at_us + 1000 * SECOND_US, "keep", Sweep(100, 200)
    ),
}


@pytest.mark.parametrize("generic", [False, True], ids=["planned", "prepared"])
@pytest.mark.parametrize("name", QUESTIONS)
async def test_questions_are_answered_by_indexes(store: PostgresStore, filled: Place, name: str, generic: bool) -> None:
    """Nothing that grows is read as a whole, whether the statement is planned for its values or once for all."""
    with overheard(store) as said:
        await store.read(lambda reader: QUESTIONS[name](reader, filled))
    found = await asyncio.to_thread(looks, filled.url, said, generic=generic)
    assert sum(it.rows for it in found) <= MOST_ROWS, found
