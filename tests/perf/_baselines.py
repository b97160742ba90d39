"""What one would write first: upserts for each event, committed one by one or in batches, with none of the promises.

`same rows` keeps what the service keeps of an event as rows: its id against repeats, the execution, the node run with
its payloads, log lines, and where to read on. `lean` keeps one row per execution and nothing else. Neither orders late
events, counts statistics, plans webhooks, or says what it changed.
"""

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from monitor.journal.kafka.address import Address
from tests.perf._projection import PARTITIONS

_TABLE: Final = """
CREATE TABLE executions (
    id TEXT PRIMARY KEY, workflow_id TEXT, workflow_name TEXT, team TEXT, status TEXT, mode TEXT, trigger TEXT,
    started_at TEXT, stopped_at TEXT, duration REAL, current_node TEXT, nodes_completed INTEGER, node_count INTEGER,
    error TEXT, metadata TEXT, source TEXT, sequence INTEGER, last_type TEXT, created_at TEXT, updated_at TEXT
)
"""
_SAME_TABLES: Final = (
    "CREATE TABLE events (execution_id TEXT, id TEXT, PRIMARY KEY (execution_id, id)) WITHOUT ROWID",
    """CREATE TABLE nodes (
        execution_id TEXT, node_id TEXT, iteration INTEGER, attempt INTEGER, name TEXT, type TEXT, status TEXT,
        started_at TEXT, stopped_at TEXT, duration REAL, input TEXT, output TEXT, error TEXT,
        PRIMARY KEY (execution_id, node_id, iteration, attempt)
    ) WITHOUT ROWID""",
    "CREATE TABLE log_lines (execution_id TEXT, at TEXT, level TEXT, node_id TEXT, message TEXT, data TEXT)",
    "CREATE INDEX by_execution ON log_lines (execution_id, at)",
    "CREATE TABLE offsets (partition INTEGER PRIMARY KEY, next INTEGER)",
)
_INDEXES: Final = (
    "CREATE INDEX by_status ON executions (status, id)",
    "CREATE INDEX by_workflow ON executions (workflow_id, id)",
    "CREATE INDEX by_start ON executions (started_at, id)",
)
_UPSERT: Final = """
INSERT INTO executions VALUES (?, ?, ?, 'default', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    workflow_id = coalesce(excluded.workflow_id, workflow_id),
    workflow_name = coalesce(excluded.workflow_name, workflow_name),
    status = coalesce(excluded.status, status), mode = coalesce(excluded.mode, mode),
    trigger = coalesce(excluded.trigger, trigger), started_at = coalesce(started_at, excluded.started_at),
    stopped_at = coalesce(excluded.stopped_at, stopped_at), duration = coalesce(excluded.duration, duration),
    current_node = coalesce(excluded.current_node, current_node),
    nodes_completed = nodes_completed + excluded.nodes_completed,
    node_count = coalesce(excluded.node_count, node_count), error = coalesce(excluded.error, error),
    metadata = coalesce(excluded.metadata, metadata), source = excluded.source, sequence = excluded.sequence,
    last_type = excluded.last_type, updated_at = excluded.updated_at
"""
_UPSERT_NODE: Final = """
INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (execution_id, node_id, iteration, attempt) DO UPDATE SET
    status = excluded.status, started_at = coalesce(started_at, excluded.started_at),
    stopped_at = coalesce(excluded.stopped_at, stopped_at), duration = coalesce(excluded.duration, duration),
    input = coalesce(excluded.input, input), output = coalesce(excluded.output, output),
    error = coalesce(excluded.error, error)
"""
_STATUS: Final = {
    "execution.queued": "queued",
    "execution.started": "running",
    "execution.waiting": "waiting",
    "execution.completed": "success",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
}


Work = Literal["same rows", "lean"]


async def upserts(url: str, events: int, *, work: Work, per_commit: int) -> float:
    """Events per CPU second of upserting the first `events` of the topic, `per_commit` in a transaction."""
    with TemporaryDirectory(prefix="monitor-bench-") as folder:
        database = _open(Path(folder) / "naive.db")
        began = time.process_time()
        pending = done = 0
        async for partition, offset, value in _records(url):
            event = orjson.loads(value)
            database.execute(_UPSERT, _row(event))
            if work == "same rows":
                _keep_rest(database, event)
            pending += 1
            done += 1
            if pending == per_commit:
                if work == "same rows":
                    database.execute("INSERT OR REPLACE INTO offsets VALUES (?, ?)", (partition, offset + 1))
                database.commit()
                pending = 0
            if done == events:
                break
        database.commit()
        cpu_s = time.process_time() - began
        database.close()
    return events / cpu_s


def _keep_rest(database: sqlite3.Connection, event: dict[str, Any]) -> None:
    execution_id, kind, data, at = event["executionId"], event["type"], event.get("data", {}), event["timestamp"]
    database.execute("INSERT OR IGNORE INTO events VALUES (?, ?)", (execution_id, event.get("id")))
    if kind.startswith("node."):
        database.execute(_UPSERT_NODE, _node_row(event, data))
    elif kind == "log.appended":
        database.executemany(
            "INSERT INTO log_lines VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    execution_id,
                    line.get("timestamp", at),
                    line.get("level"),
                    line.get("nodeId"),
                    line["message"],
                    _json(line.get("data")),
                )
                for line in data["lines"]
            ],
        )


def _node_row(event: dict[str, Any], data: dict[str, Any]) -> tuple[Any, ...]:
    kind, at = event["type"], event["timestamp"]
    return (
        event["executionId"],
        data["nodeId"],
        data.get("iteration", 0),
        data.get("attempt", 1),
        data.get("nodeName"),
        data.get("nodeType"),
        data.get("status", kind),
        at if kind == "node.started" else None,
        at if kind == "node.completed" else None,
        data.get("duration"),
        _json(data.get("inputData")),
        _json(data.get("outputData")),
        _json(data.get("error")),
    )


def _json(value: object) -> bytes | None:
    return None if value is None else orjson.dumps(value)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    for statement in (_TABLE, *_SAME_TABLES, *_INDEXES):
        database.execute(statement)
    return database


async def _records(url: str) -> AsyncIterator[tuple[int, int, bytes]]:
    address = Address.parse(url)
    consumer = AIOKafkaConsumer(**address.brokers.client_settings(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(address.topic, partition) for partition in range(PARTITIONS)])
        while True:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=2000)
            for records in fetched.values():
                for record in records:
                    yield record.partition, record.offset, record.value
    finally:
        await consumer.stop()


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    kind, data, at = event["type"], event.get("data", {}), event["timestamp"]
    is_end = kind in ("execution.completed", "execution.failed", "execution.cancelled")
    return (
        event["executionId"],
        event.get("workflowId"),
        data.get("workflowName"),
        _STATUS.get(kind),
        data.get("mode"),
        _json(data.get("trigger")),
        at if kind == "execution.started" else None,
        at if is_end else None,
        data.get("duration") if is_end else None,
        data.get("nodeId"),
        int(kind == "node.completed"),
        data.get("nodeCount"),
        _json(data.get("error")),
        _json(data.get("metadata")),
        event.get("source"),
        event.get("sequence"),
        kind,
        at,
        at,
    )
