"""The doctor beside a shared store: PostgreSQL is read and never written, whatever state it is in."""

import json
from pathlib import Path

import psycopg
import pytest

from monitor.store.postgres import open_postgres_store
from tests.support.command_line import Answer, monitor
from tests.support.kafka import Kafka


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
    now_us = await store.now_us()
    await store.write(lambda writer: writer.take_lease("keepers", "gate-1", now_us=now_us, until_us=now_us + 10**9))
    await store.close()
    found = findings(examined(kafka, topic, postgres_url, tmp_path / "data"))
    assert (found["store"][0], found["store's clock"][0]) == ("ok", "ok")
    assert found["keepers"] == ("ok", "gate-1 keeps house")
    assert found["store"][1].startswith("PostgreSQL ")
    assert found["partition 1"] == ("ok", "holds offsets 0 to 0, folded up to 0, lag 0")
    assert not (tmp_path / "data").exists()


async def test_store_of_another_version_or_out_of_reach_is_a_failure(
    kafka: Kafka, topic: str, postgres_url: str, tmp_path: Path
) -> None:
    """And the journal is looked at all the same; no password is told."""
    await (await open_postgres_store(postgres_url)).close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE meta SET fold_version = 0")
        answer = examined(kafka, topic, postgres_url, tmp_path)
        assert (answer.code, findings(answer)["store"][0]) == (2, "fail")
        connection.execute("UPDATE meta SET schema_version = 1")
        answer = examined(kafka, topic, postgres_url, tmp_path)
        assert (answer.code, "another version" in findings(answer)["store"][1]) == (2, True)
    away = examined(kafka, topic, "postgresql://me:sesame@127.0.0.1:1/none", tmp_path)
    assert (away.code, findings(away)["store"][0], findings(away)["journal"][0]) == (2, "fail", "ok")
    assert "sesame" not in away.out
