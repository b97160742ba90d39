"""The engine behind a Kafka topic: what a runner reads, and what the desk hears when Kafka does not answer."""

import json

import pytest

from monitor.clock import SystemClock
from monitor.engines.base import Cancel, Command, Execute, Retry, Submitted
from monitor.engines.kafka import command_document, open_kafka_engine
from monitor.errors import SettingsInvalid, StartupError, Unavailable
from tests.support.clocks import NOON_US
from tests.support.kafka import Broker, Kafka
from tests.support.kafka_topics import opened


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (Execute("cmd_1", "red", "exec_1", "wf", [{"json": {}}]), {"inputData": [{"json": {}}]}),
        (Execute("cmd_1", "red", "exec_1", "wf"), {}),
        (Cancel("cmd_1", "red", "exec_1", "wf", "asked"), {"reason": "asked"}),
        (
            Retry("cmd_1", "red", "exec_1", "wf", "exec_0", start_nodes=["a"]),
            {"retryOf": "exec_0", "startNodes": ["a"], "loadWorkflow": False},
        ),
    ],
)
def test_a_command_says_everything_that_a_runner_needs(command: Command, args: dict[str, object]) -> None:
    """Who is asked for what, and with what."""
    assert command_document(command, NOON_US) == {
        "commandId": "cmd_1",
        "kind": command.kind,
        "executionId": "exec_1",
        "workflowId": "wf",
        "teamId": "red",
        "timestamp": "2026-11-22T10:30:00.000Z",
        "args": args,
    }


async def test_commands_of_an_execution_stay_in_order(kafka: Kafka) -> None:
    """They share a key, and so a partition; the topic is made when it is missing."""
    name = f"{await kafka.create_topic()}-commands"
    engine = await open_kafka_engine(f"kafka://{kafka.bootstrap}/{name}", clock=SystemClock(), partitions=3)
    try:
        for number in range(20):
            execution_id = f"exec_{number}"
            assert await engine.submit(Execute(f"run_{number}", "red", execution_id, "wf")) == Submitted()
            assert await engine.submit(Cancel(f"stop_{number}", "red", execution_id, "wf")) == Submitted()
    finally:
        await engine.close()
    told: dict[str, list[str]] = {}
    async with opened(kafka, name) as journal:
        assert journal.partitions == 3
        for partition, held in (await journal.bounds()).items():
            for record in await journal.read(partition, held.start, held.end, 100):
                command = json.loads(record.value or b"")
                assert record.key == command["executionId"].encode()
                told.setdefault(command["executionId"], []).append(command["kind"])
    assert told == {f"exec_{number}": ["execute", "cancel"] for number in range(20)}


async def test_kafka_that_does_not_answer_is_told(own_kafka: Broker) -> None:
    """In time, and as what may pass: the command may be there or not."""
    url = f"kafka://{own_kafka.bootstrap}/commands"
    engine = await open_kafka_engine(url, clock=SystemClock(), partitions=1, confirm_s=1.0)
    try:
        await engine.submit(Execute("cmd_1", "red", "exec_1", "wf"))
        own_kafka.pause()
        with pytest.raises(Unavailable):
            await engine.submit(Execute("cmd_2", "red", "exec_2", "wf"))
        own_kafka.resume()
    finally:
        await engine.close()


async def test_a_topic_that_must_be_there_is_asked_for(kafka: Kafka) -> None:
    """Who may not make it says so; an address that is none is refused with its shape."""
    with pytest.raises(StartupError, match="no-such-topic"):
        await open_kafka_engine(f"kafka://{kafka.bootstrap}/no-such-topic", clock=SystemClock(), create=False)
    with pytest.raises(SettingsInvalid, match="kafka://host:port"):
        await open_kafka_engine("kafka://nowhere", clock=SystemClock())
