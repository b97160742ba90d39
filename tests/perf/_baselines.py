"""What one would write first: an upsert for each event, committed one by one or in batches, with none of the promises.

No duplicates check, no order, no nodes, logs, statistics or webhooks; offsets are not even stored.
"""

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

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
_STATUS: Final = {
    "execution.queued": "queued",
    "execution.started": "running",
    "execution.waiting": "waiting",
    "execution.completed": "success",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
}


async def upserts(url: str, events: int, per_commit: int) -> float:
    """Events per CPU second of upserting the first `events` of the topic, `per_commit` in a transaction."""
    with TemporaryDirectory(prefix="monitor-bench-") as folder:
        database = _open(Path(folder) / "naive.db")
        began = time.process_time()
        pending = done = 0
        async for value in _values(url):
            database.execute(_UPSERT, _row(orjson.loads(value)))
            pending += 1
            done += 1
            if pending == per_commit:
                database.commit()
                pending = 0
            if done == events:
                break
        database.commit()
        cpu_s = time.process_time() - began
        database.close()
    return events / cpu_s


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    for statement in (_TABLE, *_INDEXES):
        database.execute(statement)
    return database


async def _values(url: str) -> AsyncIterator[bytes]:
    address = Address.parse(url)
    consumer = AIOKafkaConsumer(bootstrap_servers=address.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(address.topic, partition) for partition in range(PARTITIONS)])
        while True:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=2000)
            for records in fetched.values():
                for record in records:
                    yield record.value
    finally:
        await consumer.stop()


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    kind, data, at = event["type"], event.get("data", {}), event["timestamp"]
    error = data.get("error")
    is_end = kind in ("execution.completed", "execution.failed", "execution.cancelled")
    return (
        event["executionId"],
        event.get("workflowId"),
        data.get("workflowName"),
        _STATUS.get(kind),
        data.get("mode"),
        orjson.dumps(data["trigger"]) if "trigger" in data else None,
        at if kind == "execution.started" else None,
        at if is_end else None,
        data.get("duration") if is_end else None,
        data.get("nodeId"),
        int(kind == "node.completed"),
        data.get("nodeCount"),
        orjson.dumps(error) if error else None,
        orjson.dumps(data["metadata"]) if "metadata" in data else None,
        event.get("source"),
        event.get("sequence"),
        kind,
        at,
        at,
    )
