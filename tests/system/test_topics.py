"""`monitor topics` makes what is missing, leaves what is there, and says what stands in the way."""

import asyncio
import json
import os
import sys
import uuid
from typing import Any

from tests.support.kafka import Kafka


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
        told: list[dict[str, Any]] = json.loads(out)
        assert [(it["use"], it["topic"], it["partitions"]) for it in told] == [
            ("events", events, 2),
            ("commands", commands, 3),
        ]
        assert code == 0
    code, out, _ = await monitor_topics("--check", **urls)
    assert (code, out.splitlines()[1]) == (
        0,
        f"commands: {commands} at {kafka.bootstrap}, 3 partitions, replication 1",
    )


async def test_whoever_names_no_topic_is_told_how() -> None:
    """And that two uses of one topic are none."""
    code, _, err = await monitor_topics()
    assert (code, "MONITOR_COMMANDS=kafka://" in err) == (2, True)
    same = "kafka://127.0.0.1:1/executions.events.v1"
    code, _, err = await monitor_topics(journal=same, commands=same)
    assert (code, "a topic of their own" in err) == (2, True)
    code, _, err = await monitor_topics(commands="kafka://nowhere/x")
    assert (code, "kafka://host:port" in err) == (2, True)
