"""`monitor topics` makes what is missing, leaves what is there, and says what stands in the way."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.kafka import Kafka, prepare
from tests.support.kafka_cluster import Cluster
from tests.support.kafka_jars import KafkaUnavailable
from tests.support.service import eventually


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three brokers of the test's own."""
    try:
        jars = prepare()
    except KafkaUnavailable as error:
        pytest.skip(f"no Kafka that can be killed: {error}")
    with Cluster(jars) as brokers:
        yield brokers


async def monitor_topics(*arguments: str, **settings: str) -> tuple[int | None, str, str]:
    """Exit code, output and complaints."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "topics", *arguments),
        env=inherited | {f"MONITOR_{name.upper()}": value for name, value in settings.items()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_topics_are_made_where_they_are_missing(kafka: Kafka) -> None:
    """With the partitions asked for; one that is there keeps its own."""
    events, commands = await kafka.create_topic(partitions=2), f"test-{uuid.uuid4().hex}"
    urls = {"journal": f"kafka://{kafka.bootstrap}/{events}", "commands": f"kafka://{kafka.bootstrap}/{commands}"}
    code, out, err = await monitor_topics("--check", **urls)
    assert (code, out) == (2, "")
    assert f"has no topic {commands}" in err
    for _ in range(2):
        code, out, _ = await monitor_topics("--partitions", "3", "--json", **urls)
        told: list[dict[str, Any]] = json.loads(out)["topics"]
        assert [(it["use"], it["topic"], it["partitions"]) for it in told] == [
            ("events", events, 2),
            ("commands", commands, 3),
        ]
        assert code == 0
    code, out, _ = await monitor_topics("--check", **urls)
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("commands"))
    assert row.split() == ["commands", commands, "3", "3", "3", "1", "1", "7", "d", "delete", "CreateTime", "warn"]
    assert (await monitor_topics("--check", "--strict", **urls))[0] == 1, "one broker has one replica"


async def test_topic_that_loses_events_fails_with_the_command_that_helps(kafka: Kafka) -> None:
    """And the command does help."""
    topic = await kafka.create_topic(config={"cleanup.policy": "compact", "max.message.bytes": "1114112"})
    url = f"kafka://{kafka.bootstrap}/{topic}"
    code, out, _ = await monitor_topics("--json", journal=url)
    findings = {it["state"]: it for it in json.loads(out)["findings"]}
    assert (code, sorted(findings)) == (1, ["fail", "warn"])
    assert f"--alter --topic {topic} --add-config cleanup.policy=delete" in findings["fail"]["cure"]
    async with kafka.admin() as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "delete"})])

    async def is_well() -> bool:
        return (await monitor_topics("--json", journal=url))[0] == 0

    await eventually(is_well)


async def test_dead_letters_get_a_topic_of_as_many_partitions(kafka: Kafka) -> None:
    """Where it is asked for; from then on it is looked over too."""
    topic = await kafka.create_topic(partitions=5)
    url = f"kafka://{kafka.bootstrap}/{topic}"

    async def shown(*arguments: str) -> list[tuple[str, str, int, str]]:
        _, out, _ = await monitor_topics("--json", *arguments, journal=url)
        return [
            (it["use"], it["topic"], it["partitions"], it["settings"]["retention.ms"])
            for it in json.loads(out)["topics"]
        ]

    events = ("events", topic, 5, "604800000")
    assert await shown() == [events]
    both = [events, ("dead letters", f"{topic}.dlq", 5, "2592000000")]
    assert await shown("--dlq") == both
    assert await shown() == both


async def test_whoever_names_no_topic_is_told_how() -> None:
    """And that two uses of one topic are none."""
    code, _, err = await monitor_topics()
    assert (code, "MONITOR_COMMANDS=kafka://" in err) == (2, True)
    same = "kafka://127.0.0.1:1/executions.events.v1"
    code, _, err = await monitor_topics(journal=same, commands=same)
    assert (code, "a topic of their own" in err) == (2, True)
    code, _, err = await monitor_topics(commands="kafka://nowhere/x")
    assert (code, "kafka://host:port" in err) == (2, True)


async def test_broker_that_is_away_is_named(cluster: Cluster) -> None:
    """Of three: writes go on, and are refused where all three must have them."""
    topic = f"test-{uuid.uuid4().hex}"
    url = f"kafka://{cluster.bootstrap}/{topic}"
    code, out, _ = await monitor_topics("--strict", "--partitions", "3", journal=url)
    assert code == 0, out
    cluster.kill(3)

    async def told() -> dict[str, Any]:
        code, out, _ = await monitor_topics("--json", "--check", journal=url)
        findings = json.loads(out)["findings"] if out else []
        return {"code": code, **{it["state"]: f"{it['text']}; {it['cure']}" for it in findings}}

    async def is_under_replicated() -> bool:
        said = await told()
        return said["code"] == 0 and "broker(s) 3 not in sync; start broker(s) 3" in said.get("warn", "")

    async def is_refused() -> bool:
        said = await told()
        return said["code"] == 1 and "writes are refused; start broker(s) 3" in said.get("fail", "")

    await eventually(is_under_replicated)
    await cluster.require_in_sync(topic, 3)
    await eventually(is_refused)
