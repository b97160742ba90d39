"""`monitor move`, as tests run it: where to, and what it says."""

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.command_line import Answer, monitor
from tests.support.kafka import Kafka

AT = "2026-11-22T10:30:{:02}Z"


def event(execution_id: str, number: int, type_: str, **members: Any) -> dict[str, Any]:
    """The `number`-th of an execution."""
    about = {"type": type_, "executionId": execution_id, "workflowId": "wf_1", "timestamp": AT.format(number)}
    return about | {"id": f"{execution_id}{number}"} | members


class Target:
    """A topic that does not exist yet, and an empty database."""

    def __init__(self, kafka: Kafka, database: str, topic: str = "") -> None:
        self.topic, self.store = topic or f"move-{uuid.uuid4().hex}", database
        self.journal = f"kafka://{kafka.bootstrap}/{self.topic}"

    @property
    def settings(self) -> Mapping[str, str]:
        """That name it."""
        return {"journal": self.journal, "store": self.store}


async def move(data: Path, target: Target, **settings: str | Path) -> Answer:
    """What the command says."""
    return await asyncio.to_thread(monitor, "move", "--json", data=data, **target.settings, **settings)


async def refusal(data: Path, target: Target, **settings: str) -> str:
    """What it says when it does nothing."""
    answer = await move(data, target, **settings)
    assert (answer.code, answer.out) == (2, ""), answer.err
    return answer.err


async def topic_exists(kafka: Kafka, topic: str) -> bool:
    """Whether anybody made it."""
    async with kafka.admin() as admin:
        return topic in await admin.list_topics()
