"""One execution of a built-in workflow, telling its own story as events.

Promises: events are counted (`sequence` from 1, no hole) and reach the journal in order; exactly one end is told, also
when it is stopped in the middle of telling: what may not have arrived is told again under the same ids.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from monitor.clock import Clock
from monitor.errors import Unavailable
from monitor.events.codec import format_time

WireEvent = dict[str, Any]

Items = list[dict[str, Any]]
"""Data between nodes: a list of `{"json": {...}}`."""

Publish = Callable[[Sequence[WireEvent]], Awaitable[object]]
"""Appends events in order and returns when they are durable; raises Unavailable when that is not known."""

PublishFor = Callable[[Sequence[WireEvent], str], Awaitable[object]]
"""The same for executions of a team."""

SOURCE: Final = "demo"

_QUEUE_TIME_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a built-in workflow; it takes half to one and a half times `typical_s`."""

    id: str
    name: str
    type: str
    typical_s: float


@dataclass(frozen=True, slots=True)
class Workflow:
    """A built-in workflow: its nodes, and the story that runs them and returns the output."""

    id: str
    name: str
    nodes: tuple[Node, ...]
    story: "Callable[[DemoExecution], Awaitable[Items]]"


class NodeFailed(Exception):
    """A node gave up, and the execution with it. The error is the wire form, as `data.error` of both."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


@dataclass(frozen=True, slots=True)
class _Visit:
    """A run of a node: which one, since when."""

    node: Node
    iteration: int
    attempt: int
    since_s: float = 0.0


class DemoExecution:
    """One execution; `run` lives it. The story calls `visit`, `stumble`, `park` and `expect`."""

    def __init__(
        self,
        execution_id: str,
        workflow: Workflow,
        opening: dict[str, Any],
        *,
        command_id: str,
        start_node: str | None = None,
        publish: Publish,
        clock: Clock,
        chance: random.Random,
        speed: float,
    ) -> None:
        """`opening` is what `execution.queued` says beside the workflow; a `speed` of 2 halves every duration.

        `command_id` is told as completed when it is queued. What comes before `start_node` in the workflow's order has
        been done by an earlier execution, and is neither run nor told.
        """
        self.id = execution_id
        self.chance = chance
        # Commands that stop it; told as completed with its end.
        self.stopped_by: list[str] = []
        # Why it is being stopped by a command; None while nobody asked.
        self.stop_reason: str | None = None
        self._workflow = workflow
        self._opening = opening
        self._command_id = command_id
        # Nodes that are not run again.
        ids = [node.id for node in workflow.nodes]
        self._skipped = frozenset(ids[: ids.index(start_node)] if start_node else ())
        self._publish = publish
        self._clock = clock
        self._speed = speed
        self._sequence = 0
        # Told, but perhaps not in the journal.
        self._unsent: list[WireEvent] = []
        self._open: _Visit | None = None
        self._started_s = 0.0
        self._done = 0
        self._expected = len(workflow.nodes) - len(self._skipped)
        self._has_ended = False

    @property
    def has_ended(self) -> bool:
        """Whether its end is decided: nothing can stop it any more."""
        return self._has_ended

    async def run(self) -> None:
        """Live it to its end. Cancelled, it tells so before it is gone.

        A journal that is away delays the end that a command asked for; the exit of the process it does not delay.
        """
        try:
            await self._live()
        except asyncio.CancelledError:
            self._break_off()
            if self.stop_reason is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    return await self._say()
            with contextlib.suppress(Unavailable):
                await self._publish(tuple(self._unsent))
            raise

    # What a story can do

    def expect(self, nodes: Sequence[Node], times: int) -> None:
        """Count progress with each of `nodes` run so many times, not once."""
        self._expected += (times - 1) * sum(node.id not in self._skipped for node in nodes)

    async def visit(self, node: Node, output: Items, *, says: str, iteration: int = 0, attempt: int = 1) -> Items:
        """Run `node`, which says `says` in the log and returns `output`."""
        if node.id in self._skipped:
            return output
        visit = await self._enter(_Visit(node, iteration, attempt))
        await self._work(node)
        await self._leave(visit, output, self._log("info", says, node))
        return output

    async def stumble(self, node: Node, message: str, *, attempt: int, gives_up: bool) -> None:
        """Run `node`, which fails: for this attempt only, or for good. Raises NodeFailed when it gives up."""
        if node.id in self._skipped:
            return
        visit = await self._enter(_Visit(node, 0, attempt))
        await self._work(node)
        error = {"type": "ServiceError", "message": message, "nodeId": node.id, "timestamp": self._now()}
        self._open = None
        kind, level = ("node.failed", "error") if gives_up else ("node.retrying", "warn")
        await self._say(self._log(level, message, node), self._of(visit, kind, error=error, retryCount=attempt - 1))
        if gives_up:
            raise NodeFailed(error)

    async def park(self, node: Node, wait_s: float, output: Items) -> Items:
        """Let `node` keep the whole execution waiting for `wait_s` seconds of the story."""
        if node.id in self._skipped:
            return output
        visit = await self._enter(_Visit(node, 0, 1))
        until = format_time(self._clock.now_us() + round(wait_s / self._speed * 1_000_000))
        await self._say(
            self._of(visit, "node.waiting"), self._event("execution.waiting", {"kind": "timer", "until": until})
        )
        await self._clock.sleep(wait_s / self._speed)
        await self._say(self._event("execution.resumed", {}), self._of(visit, "node.resumed"))
        await self._leave(visit, output, self._log("info", "The time has come", node))
        return output

    # How it is told

    async def _live(self) -> None:
        workflow = self._workflow
        node_count = len(workflow.nodes) - len(self._skipped)
        about = {"workflowName": workflow.name, "nodeCount": node_count, **self._opening}
        await self._say(self._event("execution.queued", about), self._completed(self._command_id))
        queued_s = await self._pause(_QUEUE_TIME_S)
        self._started_s = self._clock.monotonic_s()
        await self._say(self._event("execution.started", {"metadata": {"queueTime": queued_s}}))
        try:
            output = await workflow.story(self)
        except NodeFailed as failure:
            await self._end("execution.failed", {"status": "failed", "error": failure.error})
        else:
            await self._end("execution.completed", {"outputData": output})

    def _break_off(self) -> None:
        """Decide that it was cancelled, unless its end is decided already and only needs telling again."""
        if self._has_ended:
            return
        self._has_ended = True
        if self._open is not None:
            self._unsent.append(self._of(self._open, "node.cancelled"))
        self._unsent += [self._completed(command_id) for command_id in self.stopped_by]
        self._unsent.append(self._event("execution.cancelled", {"reason": self.stop_reason or "shutdown"}))

    async def _end(self, kind: str, data: dict[str, Any]) -> None:
        self._has_ended = True
        duration_s = round(self._clock.monotonic_s() - self._started_s, 3)
        last = self._log("info" if kind == "execution.completed" else "error", f"Ended after {duration_s} s")
        last["data"]["final"] = True
        await self._say(last, self._event(kind, {"duration": duration_s, **data}))

    async def _enter(self, visit: _Visit) -> _Visit:
        visit = self._open = replace(visit, since_s=self._clock.monotonic_s())
        progress = {"completed": self._done, "total": self._expected, "current": visit.node.name}
        await self._say(self._of(visit, "node.started"), self._event("execution.progress", progress))
        return visit

    async def _leave(self, visit: _Visit, output: Items, log: WireEvent) -> None:
        duration_s = round(self._clock.monotonic_s() - visit.since_s, 3)
        self._open = None
        self._done += 1
        result = {"status": "success", "duration": duration_s, "outputData": output}
        await self._say(log, self._of(visit, "node.completed", **result))

    async def _work(self, node: Node) -> None:
        await self._pause(node.typical_s)

    async def _pause(self, typical_s: float) -> float:
        """Let half to one and a half times `typical_s` pass; the seconds that were meant to pass."""
        delay_s = typical_s * (0.5 + self.chance.random()) / self._speed
        await self._clock.sleep(delay_s)
        return round(delay_s, 3)

    async def _say(self, *events: WireEvent) -> None:
        """Publish until the journal has them. Cancelled, they stay in `_unsent`, to be told again."""
        self._unsent += events
        while True:
            try:
                await self._publish(tuple(self._unsent))
                break
            except Unavailable as away:
                await self._clock.sleep(away.retry_after_s)
        self._unsent = []

    def _of(self, visit: _Visit, kind: str, **more: Any) -> WireEvent:
        node = visit.node
        about = {"nodeId": node.id, "nodeName": node.name, "nodeType": node.type}
        return self._event(kind, {**about, "iteration": visit.iteration, "attempt": visit.attempt, **more})

    def _log(self, level: str, message: str, node: Node | None = None) -> WireEvent:
        line = {"timestamp": self._now(), "level": level, "message": message}
        return self._event("log.appended", {"lines": [line | ({"nodeId": node.id} if node else {})]})

    def _completed(self, command_id: str) -> WireEvent:
        return self._event("command.completed", {"commandId": command_id})

    def _event(self, kind: str, data: dict[str, Any]) -> WireEvent:
        self._sequence += 1
        return {
            "type": kind,
            "executionId": self.id,
            "workflowId": self._workflow.id,
            "timestamp": self._now(),
            "id": f"{self.id}:{self._sequence}",
            "source": SOURCE,
            "sequence": self._sequence,
            "data": data,
        }

    def _now(self) -> str:
        return format_time(self._clock.now_us())
