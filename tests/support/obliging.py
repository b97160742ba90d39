"""Runs the command line with one engine more, which obliges: `python -m tests.support.obliging serve ...`.

It takes every workflow that no other engine has. What it is to execute or to repeat ends at once: with success, or with
a failure in workflows whose ids end with FAILS. What it is to stop is stopped, whoever began it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

from monitor.app import wiring
from monitor.app.ground import open_engines
from monitor.cli import main
from monitor.clock import Clock
from monitor.engines.base import Accepted, Cancel, Command, Engine, Retry
from monitor.events.codec import format_time
from monitor.intake import Intake
from monitor.settings import Settings

FAILS: Final = "-fails"
MESSAGE: Final = "It was bound to fail"


class Obliging:
    """Runs everything, in no time."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        self._intake, self._clock = intake, clock

    def serves(self, team: str, workflow_id: str) -> bool:
        """Everything."""
        return True

    async def submit(self, command: Command) -> Accepted:
        """Take it, once all of it is told."""
        about = {
            "executionId": command.execution_id,
            "workflowId": command.workflow_id,
            "teamId": command.team,
            "timestamp": format_time(self._clock.now_us()),
        }
        told = [{"type": kind, "data": data, **about} for kind, data in _told(command)]
        await self._intake.publish(told, team=command.team)
        return Accepted(command.execution_id)

    async def run(self) -> None:
        """Work at nothing."""
        await asyncio.Event().wait()


def _told(command: Command) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(command, Cancel):
        yield "execution.cancelled", {"reason": command.reason}
        return
    retried = {"mode": "retry", "retryOf": command.retry_of} if isinstance(command, Retry) else {"mode": "manual"}
    yield "execution.started", {**retried, **command.args}
    if command.workflow_id.endswith(FAILS):
        yield "execution.failed", {"status": "failed", "error": {"message": MESSAGE}}
    else:
        yield "execution.completed", {"outputData": {"obliged": True}}


async def _with_one_more(settings: Settings, intake: Intake, clock: Clock, opened: AsyncExitStack) -> list[Engine]:
    return [*await open_engines(settings, intake, clock, opened), Obliging(intake, clock)]


if __name__ == "__main__":
    wiring.open_engines = _with_one_more  # type: ignore[attr-defined]
    main()
