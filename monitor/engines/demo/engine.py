"""The demo engine: accepts commands for the built-in workflows and runs them as tasks of its own task group.

Everything arrives from outside: where events go (the same door that strangers use), time, chance and speed. Part of
every service unless it is switched off.
"""

import asyncio
import random
from collections import OrderedDict
from typing import Any, Final

from monitor.clock import Clock
from monitor.engines.base import (
    BUSY,
    STOPPED,
    UNKNOWN_EXECUTION,
    UNKNOWN_NODE,
    Accepted,
    Cancel,
    Command,
    Execute,
    Refused,
    Retry,
)
from monitor.engines.demo.execution import DemoExecution, PublishFor, Workflow
from monitor.engines.demo.workflows import WORKFLOWS
from monitor.events.codec import format_time

_MAX_RUNNING: Final = 1000
"""A demo that is asked for more than this at once refuses: each execution is a task with some kilobytes of state."""

_REMEMBERED_ANSWERS: Final = 10_000
"""Commands are repeated within minutes or not at all."""


class DemoEngine:
    """Runs `demo-flaky`, `demo-loop` and `demo-wait`."""

    def __init__(self, publish: PublishFor, clock: Clock, chance: random.Random, *, speed: float = 1.0) -> None:
        """A `speed` of 2 halves every duration; equal `chance` and commands give equal executions."""
        self._publish = publish
        self._clock = clock
        self._chance = chance
        self._speed = speed
        self._group: asyncio.TaskGroup | None = None
        self._running: dict[str, tuple[DemoExecution, asyncio.Task[None]]] = {}
        self._answers: OrderedDict[str, Accepted | Refused] = OrderedDict()

    def statistics(self) -> dict[str, int]:
        """How much runs now, and how much may."""
        return {"running": len(self._running), "limit": _MAX_RUNNING}

    def serves(self, team: str, workflow_id: str) -> bool:  # noqa: ARG002 - it works for every team
        """Whether the workflow is one of those that are built in."""
        return workflow_id in WORKFLOWS

    async def run(self) -> None:
        """Work until cancelled; every execution that still runs then ends with `execution.cancelled`.

        Raises what publishing raised, other than Unavailable, which is tried again.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    async def submit(self, command: Command) -> Accepted | Refused:
        """Take or refuse `command`; a command that comes again gets the answer that it got."""
        answer = self._answers.get(command.command_id)
        if answer is None:
            answer = self._answers[command.command_id] = self._take(command)
            if len(self._answers) > _REMEMBERED_ANSWERS:
                self._answers.popitem(last=False)
        return answer

    def _take(self, command: Command) -> Accepted | Refused:
        match command:
            case Execute():
                return self._start(command, {"mode": "manual"})
            case Retry():
                return self._start(command, {"mode": "retry", "retryOf": command.retry_of})
            case Cancel():
                return self._cancel(command)

    def _start(self, command: Execute | Retry, more: dict[str, Any]) -> Accepted | Refused:
        workflow = WORKFLOWS.get(command.workflow_id)
        if workflow is None:
            return Refused(f"the demo engine has no workflow '{command.workflow_id}'; it has {', '.join(WORKFLOWS)}")
        if self._group is None:
            return Refused("the demo engine is not running", STOPPED)
        if len(self._running) >= _MAX_RUNNING:
            return Refused(f"the demo engine runs {_MAX_RUNNING} executions already", BUSY)
        start_nodes = command.start_nodes if isinstance(command, Retry) else ()
        known = [node.id for node in workflow.nodes]
        for node_id in start_nodes:
            if node_id not in known:
                reason = f"'{workflow.id}' has no node '{node_id}'; it has {', '.join(known)}"
                return Refused(reason, UNKNOWN_NODE)
        execution = self._new_execution(command, workflow, more, min(start_nodes, key=known.index, default=None))
        task = self._group.create_task(execution.run(), name=execution.id)
        self._running[execution.id] = execution, task
        task.add_done_callback(lambda _: self._running.pop(execution.id))
        return Accepted(execution.id)

    def _new_execution(
        self, command: Execute | Retry, workflow: Workflow, more: dict[str, Any], start_node: str | None
    ) -> DemoExecution:
        trigger = {"type": more["mode"], "source": "demo", "timestamp": format_time(self._clock.now_us())}
        opening = {"workflowVersion": "1", "trigger": trigger, **more}
        if command.input_data is not None:
            opening["inputData"] = command.input_data
        return DemoExecution(
            command.execution_id,
            workflow,
            opening,
            command_id=command.command_id,
            start_node=start_node,
            publish=lambda events: self._publish(events, command.team),
            clock=self._clock,
            # Of its own, so that what an execution does is not decided by who runs beside it.
            chance=random.Random(self._chance.getrandbits(64)),  # noqa: S311
            speed=self._speed,
        )

    def _cancel(self, command: Cancel) -> Accepted | Refused:
        found = self._running.get(command.execution_id)
        if found is None:
            return Refused(f"the demo engine does not run '{command.execution_id}'", UNKNOWN_EXECUTION)
        execution, task = found
        if execution.has_ended:
            return Refused(f"'{command.execution_id}' has just ended")
        execution.stopped_by.append(command.command_id)
        if execution.stop_reason is None:
            execution.stop_reason = command.reason
            # Not at once: a task that is cancelled before its first step has no chance to tell.
            asyncio.get_running_loop().call_soon(task.cancel)
        return Accepted(command.execution_id)
