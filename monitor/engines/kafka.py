"""The engine behind a Kafka topic: commands go out as records, answers and all that follows come back as events.

Whoever runs workflows joins by reading the topic in a consumer group of its own. A command's key is its execution, so
that a cancellation never overtakes what it cancels; its value is `command_document`. Runners deduplicate by its
`commandId`: a record may be read twice, and an append that was not confirmed may be there all the same.
"""

import asyncio
from typing import Final, Literal

import msgspec
from typing_extensions import TypedDict

from monitor.clock import Clock
from monitor.engines.base import CancelArgs, Command, ExecuteArgs, RetryArgs, Submitted
from monitor.errors import StartupError
from monitor.events.codec import format_time
from monitor.events.model import Entry
from monitor.journal.kafka import ensure_topic
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.producer import KafkaProducer
from monitor.kafka_security import PLAINTEXT, KafkaSecurity

CONFIRM_S: Final = 15.0
"""As long as an append to the journal: longer than the restart of a broker."""


class KafkaEngine:
    """Takes commands of every team for every workflow; made by `open_kafka_engine`."""

    def __init__(self, producer: KafkaProducer, clock: Clock) -> None:
        self._producer, self._clock = producer, clock

    def serves(self, team: str, workflow_id: str) -> bool:  # noqa: ARG002 - who runs what is known beyond the topic
        """Any workflow: a runner that does not know it refuses it."""
        return True

    async def submit(self, command: Command) -> Submitted:
        """Return when the command is durable in the topic. Raises Unavailable when that is not known in time."""
        document = command_document(command, self._clock.now_us())
        value = msgspec.json.encode(document)
        await self._producer.append([Entry(command.execution_id.encode(), value)])
        return Submitted()

    async def run(self) -> None:
        """Work until cancelled; what runs elsewhere goes on."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Send what was handed in, for a moment at most, and leave."""
        await self._producer.close()


class CommandDocument(TypedDict):
    """A command, as runners read it."""

    commandId: str
    """By which they tell a repeat: a record may come twice."""
    kind: Literal["execute", "cancel", "retry"]
    executionId: str
    """Made up by the monitor; the runner uses it as it is."""
    workflowId: str
    teamId: str
    timestamp: str
    """RFC 3339."""
    args: ExecuteArgs | CancelArgs | RetryArgs


def command_document(command: Command, now_us: int) -> CommandDocument:
    """What runners read: who is asked for what, with the execution's id, which the runner uses as it is."""
    return {
        "commandId": command.command_id,
        "kind": command.kind,
        "executionId": command.execution_id,
        "workflowId": command.workflow_id,
        "teamId": command.team,
        "timestamp": format_time(now_us),
        "args": command.args,
    }


async def open_kafka_engine(
    url: str,
    *,
    clock: Clock,
    security: KafkaSecurity = PLAINTEXT,
    create: bool = True,
    partitions: int = 12,
    replication: int | None = None,
    confirm_s: float = CONFIRM_S,
) -> KafkaEngine:
    """The engine behind the topic at `kafka://host:port,host:port/topic`, created when missing if `create`.

    The other arguments are those of a journal's topic. Raises StartupError with the cure, and JournalUnavailable when
    Kafka does not answer.
    """
    address = Address.parse(url, security)
    try:
        import aiokafka  # noqa: F401, PLC0415 - the driver loads only where it is used
    except ImportError as error:
        raise StartupError("Commands over Kafka need the extra `kafka`: install execution-monitor[kafka].") from error
    topic = await ensure_topic(*address, partitions, replication, create, clock=clock)
    return KafkaEngine(KafkaProducer(*address, topic.partitions, confirm_s=confirm_s), clock)
