"""The doctor beside a shared store: PostgreSQL is read and never written, whatever state it is in."""

import json
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from monitor.journal.kafka.address import Address
from monitor.journal.kafka.condition import group_of
from monitor.store.postgres import open_postgres_store
from tests.support.command_line import Answer, monitor
from tests.support.kafka import Kafka
from tests.support.kafka_topics import opened
from tests.support.postgres import Postgres
from tests.support.service import eventually


def findings(answer: Answer) -> dict[str, tuple[str, str]]:
    """State and text by subject."""
    return {found["subject"]: (found["state"], found["text"]) for found in json.loads(answer.out)["findings"]}


@pytest.fixture
async def topic(kafka: Kafka) -> str:
    """One of two partitions."""
    return await kafka.create_topic(partitions=2)


def examined(kafka: Kafka, topic: str, store: str, data: Path) -> Answer:
    """What the doctor says of both."""
    return monitor("doctor", "--json", data=data, journal=f"kafka://{kafka.bootstrap}/{topic}", store=store)


async def test_shared_store_is_read(kafka: Kafka, topic: str, postgres_url: str, tmp_path: Path) -> None:
    """With its version and clock; a new database has no store yet, and gets none by being asked."""
    found = findings(examined(kafka, topic, postgres_url, tmp_path / "data"))
    assert found["store"] == ("ok", "none yet; the first start makes it")
    assert found["group"][0] == "warn", "nobody folds"
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    store = await open_postgres_store(postgres_url)
    found = findings(examined(kafka, topic, postgres_url, tmp_path / "data"))
    assert found["keepers"][0] == "warn"
    now_us, _ = await store.time(time.monotonic)
    await store.write(lambda writer: writer.take_lease("keepers", "gate-1", now_us=now_us, until_us=now_us))
    assert findings(examined(kafka, topic, postgres_url, tmp_path / "data"))["keepers"][0] == "warn", "it has ended"
    await store.write(lambda writer: writer.take_lease("keepers", "gate-1", now_us=now_us, until_us=now_us + 10**9))
    await store.close()
    found = findings(examined(kafka, topic, postgres_url, tmp_path / "data"))
    assert (found["store"][0], found["store's clock"][0]) == ("ok", "ok")
    assert found["keepers"] == ("ok", "gate-1 keeps house")
    assert found["store"][1].startswith("PostgreSQL ")
    assert found["partition 1"] == ("ok", "holds offsets 0 to 0, folded up to 0, lag 0")
    assert not (tmp_path / "data").exists()


async def test_members_of_the_group_are_told_with_their_shares(kafka: Kafka, topic: str) -> None:
    """While they are there; who has gone has nothing."""
    url, group = f"kafka://{kafka.bootstrap}/{topic}", f"group-{topic}"
    address = Address.parse(url)
    assert not (await group_of(address, group)).members

    async def find_offsets(partitions: Collection[int]) -> Mapping[int, int]:
        return dict.fromkeys(partitions, 0)

    async def shares() -> list[list[int]]:
        return sorted(list(member.partitions) for member in (await group_of(address, group)).members)

    async def is_shared() -> bool:
        for consumer in consumers:
            await consumer.poll(1, 0.0)
        return await shares() == [[0], [1]]

    async def is_left() -> bool:
        return not await shares()

    async with opened(kafka, topic, group=group) as one, opened(kafka, topic, group=group) as two:
        consumers = [await journal.consumer(find_offsets) for journal in (one, two)]
        await eventually(is_shared)
        found = await group_of(address, group)
        assert (found.state, {member.host for member in found.members}) == ("Stable", {"127.0.0.1"})
    await eventually(is_left)


async def test_database_without_room_for_another_process_is_told(
    kafka: Kafka, topic: str, postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    """Before a process that is to be added finds out."""
    await (await open_postgres_store(postgres_url)).close()
    found = findings(examined(kafka, topic, postgres_url, tmp_path))["connections"]
    assert (found[0], found[1].partition(" of ")[2]) == ("ok", "97 are taken, whoever has them")
    with ExitStack() as taken:
        for _ in range(97 - 10 - int(found[1].partition(" ")[0])):
            taken.enter_context(psycopg.connect(postgres_url))
        assert findings(examined(kafka, topic, postgres_url, tmp_path))["connections"][0] == "ok"
        for _ in range(2):
            taken.enter_context(psycopg.connect(postgres_url))
        found = findings(examined(kafka, topic, postgres_url, tmp_path))["connections"]
        assert (found[0], "no room for another process" in found[1]) == ("warn", True)


async def test_kafka_out_of_reach_is_a_failure_and_holds_nothing_up(postgres_url: str, tmp_path: Path) -> None:
    """The store is looked at all the same."""
    await (await open_postgres_store(postgres_url)).close()
    answer = monitor("doctor", "--json", data=tmp_path, journal="kafka://127.0.0.1:1/none", store=postgres_url)
    found = findings(answer)
    assert (answer.code, found["journal"][0], found["store"][0]) == (2, "fail", "ok")
    assert "does not answer" in found["journal"][1]


async def test_store_of_another_version_or_out_of_reach_is_a_failure(
    kafka: Kafka, topic: str, postgres_url: str, tmp_path: Path
) -> None:
    """And the journal is looked at all the same; no password is told."""
    await (await open_postgres_store(postgres_url)).close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE meta SET fold_version = 0")
        answer = examined(kafka, topic, postgres_url, tmp_path)
        assert (answer.code, findings(answer)["store"][0]) == (2, "fail")
        for layout, words in [(99, "a later version"), (6, "bring it here with `monitor migrate`")]:
            connection.execute("UPDATE meta SET schema_version = %s", (layout,))
            answer = examined(kafka, topic, postgres_url, tmp_path)
            assert (answer.code, words in findings(answer)["store"][1]) == (2, True)
    away = examined(kafka, topic, "postgresql://me:sesame@127.0.0.1:1/none", tmp_path)
    assert (away.code, findings(away)["store"][0], findings(away)["journal"][0]) == (2, "fail", "ok")
    assert "sesame" not in away.out
