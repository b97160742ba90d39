"""A move that is killed, or must not be: nothing is done by halves, doubled or mixed with what is somebody else's."""

import asyncio
import base64
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.store import Reader, open_postgres_store, open_sqlite_store
from tests.support.command_line import INHERITED
from tests.support.dying import MOVE_POINTS
from tests.support.folders import mingled, opened, registered, rows, told, told_raw
from tests.support.kafka import Kafka
from tests.support.kafka_topics import opened as topic_opened
from tests.support.kafka_topics import raw_producer
from tests.support.moving import Target, event, move, refusal, topic_exists
from tests.support.postgres import Postgres
from tests.support.processes import dying_with_us
from tests.support.replay import contents, deliveries
from tests.support.tokens import add_token


@pytest.fixture
def target(kafka: Kafka, postgres_url: str) -> Target:
    """To be moved to."""
    return Target(kafka, postgres_url)


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A folder with executions of every kind, quarantine, a token, and what a webhook is owed."""
    events = mingled(7, 250)
    async with opened(tmp_path / "data") as parts:
        await told(parts, events[:2500])
        await registered(parts)
        await add_token(parts.store, "ada", team="default")
        await told_raw(parts, b"no event", b'{"type": "execution.started"}')
        await told(parts, events[2500:])
        ids = sorted({it["executionId"] for it in events})
        await told(parts, [event(id_, 9, "execution.deleted") for id_ in ids[:5]])
        await parts.eraser.tidy()
    return tmp_path / "data"


POINTS = [("handed_over", 1), ("handed_over", 2), ("appended", 2), ("filling", 30), ("filled", 1)]


@pytest.mark.parametrize(("point", "count"), POINTS)
async def test_killed_at_a_named_instruction(data: Path, target: Target, kafka: Kafka, point: str, count: int) -> None:
    """Run again it goes on: the topic has every record once, in the order of its key, and the database everything."""
    assert {name for name, _ in POINTS} == set(MOVE_POINTS)
    before = (data / "store.db").read_bytes(), (data / "journal.db").read_bytes()
    command = [sys.executable, "-m", "tests.support.dying", point, str(count), "move"]
    named = {"MONITOR_DATA": str(data), "MONITOR_JOURNAL": target.journal, "MONITOR_STORE": target.store}
    killed = await asyncio.to_thread(
        subprocess.run, dying_with_us(command), env=INHERITED | named, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    moved = await move(data, target)
    assert (moved.code, moved.document["moved"]) == (0, point != "filled"), moved.err
    assert before == ((data / "store.db").read_bytes(), (data / "journal.db").read_bytes())
    assert await by_key_in(kafka, target) == by_key_of(data)
    await assert_same_stores(data, target)


def by_key_of(data: Path) -> dict[bytes, list[tuple[bytes, int]]]:
    """The journal's values, each with the millisecond of its arrival, by key."""
    found: dict[bytes, list[tuple[bytes, int]]] = {}
    for key, value, stored_us in rows(data / "journal.db", "SELECT key, value, stored_us FROM records ORDER BY place"):
        found.setdefault(key, []).append((value, stored_us // 1000))
    return found


async def by_key_in(kafka: Kafka, target: Target) -> dict[bytes, list[tuple[bytes, int]]]:
    """The same of the topic."""
    found: dict[bytes, list[tuple[bytes, int]]] = {}
    async with topic_opened(kafka, target.topic) as journal:
        for partition, held in (await journal.bounds()).items():
            at = held.start
            while records := await journal.read(partition, at, held.end, 5000):
                for record in records:
                    found.setdefault(record.key or b"", []).append((record.value or b"", record.stored_us // 1000))
                at = records[-1].offset + 1
    return found


async def assert_same_stores(data: Path, target: Target) -> None:
    """What is projected, owed and known of journal and keys is the same in both."""
    here, there = await open_sqlite_store(data / "store.db"), await open_postgres_store(target.store)
    try:
        mine, theirs = await contents(here), await contents(there)
        folded = sum(theirs.pop("position").offsets)
        assert folded == mine.pop("position").offsets[0]
        assert len(mine["executions"]) == 245
        assert theirs == mine
        for read in (lists_of, owed_of):
            assert await there.read(read) == await here.read(read)
        assert await deliveries(there) == await deliveries(here)
    finally:
        await here.close()
        await there.close()


def lists_of(reader: Reader) -> Any:
    """What is counted."""
    return dict(reader.lists())


def owed_of(reader: Reader) -> Any:
    """What is owed, and decided about."""
    return reader.backlog(None), reader.undecided(), [row.message for row in reader.quarantine(100)], reader.key_check()


async def test_what_cannot_be_moved_is_refused_with_the_cure(
    data: Path, target: Target, kafka: Kafka, tmp_path: Path
) -> None:
    """Before anything is written."""
    assert "name where to: MONITOR_JOURNAL" in await refusal(data, Target(kafka, ""))
    assert "there is nothing to move; name the folder with MONITOR_DATA" in await refusal(tmp_path / "none", target)
    assert not (tmp_path / "none").exists()
    async with opened(data):
        assert "a folder is moved while its service is stopped" in await refusal(data, target)
    other = base64.b64encode(b"o" * 32).decode()
    assert "MONITOR_KEY: does not open the secrets" in await refusal(data, target, key=other)

    (data / "key").rename(data / "away")
    assert "is missing; restore it from a backup, or set MONITOR_KEY" in await refusal(data, target)
    assert not (data / "key").exists()
    (data / "away").rename(data / "key")

    store = await open_postgres_store(target.store)
    try:
        await add_token(store, "there")
    finally:
        await store.close()
    assert "in use already (there are tokens)" in await refusal(data, target)
    assert not await topic_exists(kafka, target.topic)


async def test_topic_of_somebody_else_is_refused(data: Path, target: Target, kafka: Kafka, postgres: Postgres) -> None:
    """Nothing is appended to it; nor to one that holds more than this folder."""
    topic = await kafka.create_topic(partitions=3)
    foreign = Target(kafka, target.store, topic)
    async with raw_producer(kafka) as producer:
        await producer.send_and_wait(topic, b"{}", partition=2)
    assert "they are not those of this folder" in await refusal(data, foreign)
    async with topic_opened(kafka, topic) as journal:
        assert sum(held.end for held in (await journal.bounds()).values()) == 1
    assert (await move(data, target)).code == 0
    async with raw_producer(kafka) as producer:
        await producer.send_and_wait(target.topic, b"{}", partition=2)
    with postgres.database() as another:
        assert "they are more than this folder has" in await refusal(data, Target(kafka, another, target.topic))
