"""`rebuild`, `backup` and `restore` where the journal is a real Kafka topic and the store a file beside it."""

from pathlib import Path
from typing import Any

from monitor.keeping.backup import back_up, restore
from monitor.keeping.rebuild import rebuild
from monitor.settings import Settings
from tests.support.folders import mingled, opened, registered, rows, told, unwatched
from tests.support.kafka import Kafka
from tests.support.kafka_topics import delete_before

TABLES = {
    **dict.fromkeys(("executions", "nodes", "payloads", "log_lines", "tags", "offsets"), "*"),
    # When engines were heard of is the service's own time.
    "progress": "key, version, updated_us, events, completed, total, registers, tail",
}
EXECUTIONS = 12
CUT = 5


def settings_of(kafka: Kafka, data: Path, topic: str) -> Settings:
    """A data folder whose journal is the topic."""
    return Settings(data=data, journal=f"kafka://{kafka.bootstrap}/{topic}")


def deleted(execution_id: str) -> dict[str, Any]:
    """Somebody deletes it."""
    return {"executionId": execution_id, "type": "execution.deleted", "timestamp": "2026-11-22T10:30:00Z"}


def contents(data: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What the store holds of executions, and how far it is."""
    store = data / "store.db"
    return {
        name: sorted(rows(store, f"SELECT {columns} FROM {name}"), key=repr)  # noqa: S608 - constants
        for name, columns in TABLES.items()
    }


async def test_a_store_is_built_anew_from_a_topic(kafka: Kafka, tmp_path: Path) -> None:
    """Row by row the same, also once retention has taken some records; webhooks stay, and nothing is owed twice."""
    topic = await kafka.create_topic(partitions=3)
    settings = settings_of(kafka, tmp_path / "data", topic)
    events = mingled(7, EXECUTIONS)
    async with opened(settings.data, journal=settings.journal) as parts:
        await registered(parts)
        await told(parts, events)
        await told(parts, [deleted(events[0]["executionId"])])
    before = contents(settings.data)
    owed = rows(settings.data / "store.db", "SELECT id, state FROM deliveries ORDER BY id")
    assert owed
    rebuilt = await rebuild(settings, unwatched)
    assert (rebuilt.differing, rebuilt.records, rebuilt.carried) == (0, len(events) + 1, 1)
    assert contents(settings.data) == before
    await delete_before(kafka, topic, CUT)
    cut = await rebuild(settings, unwatched)
    assert (cut.differing, cut.records) == (0, len(events) + 1 - CUT)
    assert cut.carried > 1
    assert contents(settings.data) == before
    assert rows(settings.data / "store.db", "SELECT id, state FROM deliveries ORDER BY id") == owed


async def test_a_restored_store_goes_on_in_the_topic(kafka: Kafka, tmp_path: Path) -> None:
    """The backup holds the store alone; what came after it is read again, and the two stores are the same."""
    # One partition: keys go by the order of arrival, which several leave open.
    topic = await kafka.create_topic(partitions=1)
    settings = settings_of(kafka, tmp_path / "data", topic)
    events = mingled(8, EXECUTIONS)
    half = len(events) // 2
    async with opened(settings.data, journal=settings.journal) as parts:
        await told(parts, events[:half])
        backup = await back_up(settings, tmp_path / "backup", unwatched, with_key=True)
        assert set(backup.document["files"]) == {"store.db", "key"}
        assert sum(backup.document["offsets"].values()) == half
        await told(parts, events[half:])
    again = settings_of(kafka, tmp_path / "again", topic)
    await restore(again, tmp_path / "backup", unwatched)
    async with opened(again.data, journal=again.journal) as parts:
        await parts.pipeline.catch_up()
    assert contents(again.data) == contents(settings.data)
