"""Made-up histories of executions, realistic and equal for equal seeds: what an engine would have told.

`histories` gives each execution's events in the order in which they happened; `Mix` says what may occur in them.
Used by tests and benchmarks, and by `traffic`, which makes a stream of them.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from monitor.events.codec import format_time

WireEvent = dict[str, Any]

STARTED_US: Final = 1_795_343_400_000_000
"""2026-11-22T10:30:00Z: where made-up time begins unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What histories are made of. Shares are between 0 and 1."""

    # How many of each status to leave behind, in relation to each other.
    endings: tuple[tuple[str, int], ...] = (
        ("success", 80),
        ("failed", 8),
        ("cancelled", 4),
        ("timeout", 3),
        ("crashed", 2),
        ("running", 1),
        ("waiting", 1),
        ("queued", 1),
    )
    nodes: int = 5
    event_bytes: int = 450
    workflows: int = 20
    # Executions that wait and are resumed.
    waits: float = 0.0
    # Nodes that need a second attempt.
    retries: float = 0.0
    # Executions that run some of their nodes several times.
    loops: float = 0.0
    # Executions that end badly and are restarted in place, in a higher epoch.
    restarts: float = 0.0
    # Executions whose queue reports on them too: a second source with a clock of its own.
    relays: float = 0.0
    # Executions whose events carry no id.
    anonymous: float = 0.0
    # Executions whose events are not counted by `sequence`.
    uncounted: float = 0.0
    # Executions whose node and log events do not name the workflow.
    terse: float = 0.0


PLAIN: Final = Mix()
"""Fifteen events of 450 bytes when it runs to its end: queued, started, five nodes, log lines, the end."""

VARIED: Final = Mix(
    endings=tuple((status, 1) for status, _ in PLAIN.endings),
    waits=0.3,
    retries=0.1,
    loops=0.3,
    restarts=0.2,
    relays=0.3,
    anonymous=0.2,
    uncounted=0.3,
    terse=0.3,
)
"""Everything that the wire form allows."""


def histories(seed: int, executions: int, *, mix: Mix = PLAIN, start_us: int = STARTED_US) -> Iterator[list[WireEvent]]:
    """The events of each execution in the order in which they happened; executions begin a second apart."""
    for number in range(executions):
        chance = random.Random(f"{seed}/{number}")
        execution_id, at_us = execution_id_of(seed, number), start_us + number * 1_000_000
        yield [_bound(step, execution_id, at_us) for step in history(chance, mix, 1.0)]


class Step(NamedTuple):
    """An event of a history, but for what makes it one execution's: its id, its time, the ids of its events."""

    at_ms: int
    event: WireEvent
    # Place among the execution's events, which makes the event's id; None = it has none.
    ordinal: int | None


@dataclass(slots=True)
class _Draft:
    """A history being written."""

    chance: random.Random
    mix: Mix
    # Stretches every duration.
    pace: float
    workflow: int
    is_anonymous: bool
    is_counted: bool
    is_terse: bool
    epoch: int = 0
    at_ms: float = 0.0
    steps: list[Step] = field(default_factory=list)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def happens(self, share: float) -> bool:
        """Whether something with this share happens here."""
        return self.chance.random() < share

    def pass_time(self, least_ms: float, most_ms: float) -> float:
        """Let time pass; the seconds that it took."""
        took_ms = self.chance.uniform(least_ms, most_ms) * self.pace
        self.at_ms += took_ms
        return round(took_ms / 1000, 3)

    def say(self, kind: str, data: dict[str, Any], source: str = "engine-1", skew_ms: int = 0) -> None:
        """Add an event that happens now, or `skew_ms` later by the source's clock."""
        event: WireEvent = {"type": kind, "source": source, "data": data}
        if kind.startswith("execution.") or not self.is_terse:
            event["workflowId"] = f"wf_{self.workflow}"
        if self.is_counted:
            self.counts[source, self.epoch] = event["sequence"] = self.counts.get((source, self.epoch), 0) + 1
        if self.epoch:
            event["epoch"] = self.epoch
        _fill(event, round(self.mix.event_bytes * self.chance.uniform(0.7, 1.3)))
        ordinal = None if self.is_anonymous else len(self.steps) + 1
        self.steps.append(Step(round(self.at_ms) + skew_ms, event, ordinal))


def history(chance: random.Random, mix: Mix, pace: float) -> list[Step]:
    """One history; a `pace` of 2 doubles every duration."""
    draft = _Draft(
        chance,
        mix,
        pace,
        workflow=chance.randint(1, mix.workflows),
        is_anonymous=chance.random() < mix.anonymous,
        is_counted=chance.random() >= mix.uncounted,
        is_terse=chance.random() < mix.terse,
    )
    if draft.happens(mix.restarts):
        _live(draft, "failed")
        draft.epoch = 1
        draft.pass_time(500, 2000)
    _live(draft, _ending(chance, mix))
    return draft.steps


def _ending(chance: random.Random, mix: Mix) -> str:
    return chance.choices([status for status, _ in mix.endings], [weight for _, weight in mix.endings])[0]


def _live(draft: _Draft, ending: str) -> None:
    """One epoch of an execution, up to the status that it is left in."""
    is_relayed = draft.happens(draft.mix.relays)
    _open(draft, is_relayed=is_relayed, is_run=ending != "queued")
    if ending == "queued":
        return
    begun_ms = draft.at_ms
    last = draft.mix.nodes
    for number in range(1, last):
        _run_node(draft, number)
        if number == 2:
            _log(draft, "info", "Half of the way is done")
            _wait(draft)
    if ending == "waiting":
        draft.say("execution.waiting", {"kind": "webhook"})
        return
    _run_last_node(draft, last, ending)
    if ending != "running":
        _end(draft, ending, round((draft.at_ms - begun_ms) / 1000, 3), is_relayed=is_relayed)


def _open(draft: _Draft, *, is_relayed: bool, is_run: bool) -> None:
    about = {
        "workflowName": f"Workflow {draft.workflow}",
        "mode": "trigger",
        "trigger": {"type": "schedule", "source": "cron"},
        "nodeCount": draft.mix.nodes,
    }
    draft.say("execution.queued", about)
    if is_relayed:
        draft.say("execution.queued", {}, source="queue", skew_ms=3)
    if is_run:
        queue_time_s = draft.pass_time(5, 50)
        draft.say("execution.started", {**about, "metadata": {"queueTime": queue_time_s, "memoryUsage": 32.1}})


def _run_node(draft: _Draft, number: int) -> None:
    runs = draft.chance.randint(2, 3) if number in (2, 3) and draft.happens(draft.mix.loops) else 1
    for iteration in range(runs):
        attempt = 1
        if draft.happens(draft.mix.retries):
            draft.say("node.started", _node(number, iteration, attempt))
            draft.pass_time(20, 200)
            error = {"type": "ServiceError", "message": "503 Service Unavailable"}
            draft.say("node.retrying", {**_node(number, iteration, attempt), "error": error})
            attempt = 2
        draft.say("node.started", _node(number, iteration, attempt))
        duration_s = draft.pass_time(20, 400)
        result = {"status": "success", "duration": duration_s}
        draft.say("node.completed", {**_node(number, iteration, attempt), **result})


def _run_last_node(draft: _Draft, number: int, ending: str) -> None:
    """The node in which an execution ends badly, if it does; a crash leaves it open."""
    if ending == "success":
        _run_node(draft, number)
        return
    draft.say("node.started", _node(number, 0, 1))
    duration_s = draft.pass_time(20, 400)
    if ending == "failed":
        failure = {"status": "failed", "duration": duration_s, "error": _error(number)}
        draft.say("node.failed", {**_node(number, 0, 1), **failure})
    elif ending in ("cancelled", "timeout"):
        draft.say("node.cancelled", _node(number, 0, 1))


def _wait(draft: _Draft) -> None:
    if draft.happens(draft.mix.waits):
        draft.say("execution.waiting", {"kind": "timer"})
        draft.pass_time(200, 2000)
        draft.say("execution.resumed", {})


def _end(draft: _Draft, ending: str, duration_s: float, *, is_relayed: bool) -> None:
    _log(draft, "info" if ending == "success" else "error", f"The execution ended: {ending}", final=True)
    kind, data = _END_EVENTS[ending]
    if ending in ("failed", "timeout", "crashed"):
        data = {**data, "error": _error(draft.mix.nodes)}
    draft.say(kind, {**data, "duration": duration_s})
    if is_relayed:
        draft.say(kind, data, source="queue", skew_ms=7)


_END_EVENTS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "success": ("execution.completed", {}),
    "failed": ("execution.failed", {"status": "failed"}),
    "timeout": ("execution.failed", {"status": "timeout"}),
    "crashed": ("execution.failed", {"status": "crashed"}),
    "cancelled": ("execution.cancelled", {"reason": "manual"}),
}


def _log(draft: _Draft, level: str, message: str, *, final: bool = False) -> None:
    lines = {"lines": [{"level": level, "message": message}]}
    draft.say("log.appended", lines | ({"final": True} if final else {}))


def _node(number: int, iteration: int, attempt: int) -> dict[str, Any]:
    about = {"nodeId": f"node_{number}", "nodeName": f"Step {number}", "nodeType": "http"}
    return {**about, "iteration": iteration, "attempt": attempt}


def _error(number: int) -> dict[str, Any]:
    return {"type": "ServiceError", "message": "The service answered 500", "nodeId": f"node_{number}"}


_TEXT: Final = "The quick brown fox jumps over the lazy dog, 100% of the time. " * 40
_PAYLOADS: Final = {
    "execution.queued": "inputData",
    "node.started": "inputData",
    "node.completed": "outputData",
    "execution.completed": "outputData",
}
# Execution id twice, timestamp, and the names of these members.
_BOUND_BYTES: Final = 130


def _fill(event: WireEvent, size_bytes: int) -> None:
    """Bring `event` to about `size_bytes` on the wire with data of no meaning."""
    missing = size_bytes - len(json.dumps(event, separators=(",", ":"))) - _BOUND_BYTES
    if missing > 0:
        payload = {_PAYLOADS.get(event["type"], "context"): [{"json": {"text": _TEXT[:missing]}}]}
        event["data"] = {**event["data"], **payload}


def execution_id_of(seed: int, number: int) -> str:
    """The id of a made-up execution."""
    return f"run-{seed}-{number:07d}"


def _bound(step: Step, execution_id: str, start_us: int) -> WireEvent:
    timestamp = format_time(start_us + step.at_ms * 1000)
    members: WireEvent = {"executionId": execution_id, "timestamp": timestamp}
    if step.ordinal is not None:
        members["id"] = f"{execution_id}:{step.ordinal}"
    return {**members, **step.event}
