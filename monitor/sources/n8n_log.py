"""Real n8n event logs (n8nEventLog*.log of main, workers and rotations) become canonical events.

Promises: total, independent of the order in which files are given, and idempotent: an event's id is its log line's,
followed by what earlier lines add to its meaning, so one id never stands for two texts, however the log was cut or
rotated between two imports. What a finished node came to is told by the next line of its execution; the line waits for
it, and a log that ends before leaves it to the next import. Called by `monitor import n8n-log`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, NamedTuple

from monitor.events.codec import format_time
from monitor.sources.n8n_lines import Line, Node, Refused, read_lines

WireEvent = dict[str, Any]


class Translation(NamedTuple):
    """What a set of log files says."""

    events: list[WireEvent]
    refused: list[Refused]


def translate(
    files: Iterable[tuple[str, Iterable[bytes]]], instance: str = "n8n", *, backfill: bool = True
) -> Translation:
    """The events of all `files`, given as (name, lines) in any order, and the lines that are refused.

    Files of main, workers and rotations belong into one call: together they tell when a queued execution was begun and
    which run of a loop a line is about. The lines of all files are held in memory at once (n8n keeps 40 MB of them).
    """
    told = _oldest_first([list(read_lines(name, lines)) for name, lines in files])
    # Stable: lines of one millisecond stay as their file has them, `cancelled` before `failed`.
    lines = sorted((line for line in told if isinstance(line, Line)), key=lambda line: line.time_us)
    translator = Translator(instance, backfill=backfill)
    events = [event for line in lines for event in translator.feed(line)]
    return Translation(events, [line for line in told if isinstance(line, Refused)])


def _oldest_first(files: Sequence[Sequence[Line | Refused]]) -> list[Line | Refused]:
    def age(file: Sequence[Line | Refused]) -> tuple[int, str]:
        return next(((line.time_us, line.id) for line in file if isinstance(line, Line)), (0, ""))

    return [line for file in sorted(files, key=age) for line in file]


class Translator:
    """Lines of one n8n instance, fed in order of time, become events.

    Executions are named `{instance}:{number}`, since n8n's numbers begin anew with every database. Give each instance a
    name of its own: the log holds none that lasts, its keys change with every start and its lines rotate away.
    """

    def __init__(self, instance: str = "n8n", *, backfill: bool = True) -> None:
        self._instance = instance
        self._common: WireEvent = {"source": f"n8n-log:{instance}"} | ({"backfill": True} if backfill else {})
        self._executions: dict[str, _Execution] = {}
        # n8n writes a line again, with the same id, when it was stopped before it had confirmed it.
        self._seen: set[str] = set()

    def feed(self, line: Line) -> list[WireEvent]:
        """The events that can be told now: of `line`, and of an earlier one that waited for it."""
        if line.id in self._seen:
            return []
        self._seen.add(line.id)
        execution = self._executions.setdefault(line.execution, _Execution())
        return [self._wire(fact) for fact in execution.rules[line.name](execution, line)]

    def _wire(self, fact: "_Fact") -> WireEvent:
        line = fact.line
        event: WireEvent = {
            "type": fact.type,
            "executionId": f"{self._instance}:{line.execution}",
            "timestamp": format_time(line.time_us),
            "id": ":".join((line.id, *fact.reading)),
            **self._common,
            "data": fact.data,
        }
        if line.workflow_id is not None:
            event["workflowId"] = line.workflow_id
        return event


# --- what is known of an execution -----------------------------------------------------------------------------------


class _Fact(NamedTuple):
    """An event to be: what `line` tells. `reading` is what earlier lines add to its meaning, a part of its identity."""

    line: Line
    type: str
    data: dict[str, Any]
    reading: tuple[str, ...] = ()


_Facts = Iterator[_Fact]


@dataclass(slots=True)
class _Run:
    """One run of a node."""

    node: Node
    iteration: int
    stage: Literal["running", "parked", "ended"] = "running"


@dataclass(slots=True)
class _Execution:
    """One execution as its lines so far tell it; each rule takes a line in and gives the facts out."""

    is_queued: bool = False
    has_begun: bool = False
    end: Literal["completed", "failed", "cancelled"] | None = None
    # The line of a failed end.
    failure: Line | None = None
    runs: dict[str, list[_Run]] = field(default_factory=dict)
    # The run that finished last and its line, while nobody knows what it came to.
    undecided: tuple[_Run, Line] | None = None

    def _on_enqueued(self, _line: Line) -> _Facts:
        """Comes right before `workflow.started`, which describes the execution."""
        self.is_queued = True
        yield from ()

    def _on_dequeued(self, line: Line) -> _Facts:
        """A worker begins it, or takes it up again after a wait."""
        if not self.has_begun:
            self.has_begun = True
            yield _Fact(line, "execution.started", {"metadata": _only(line.payload, "jobId", "hostId")})

    def _on_started(self, line: Line) -> _Facts:
        """With a queue, main writes it as it enqueues; the clocks of two machines may put the worker's start first."""
        data = _opening(line.payload)
        if self.is_queued and not self.has_begun:
            yield _Fact(line, "execution.queued", data, ("queued",))
        else:
            self.has_begun = True
            yield _Fact(line, "execution.started", data)

    def _on_throttled(self, line: Line) -> _Facts:
        yield _Fact(line, "execution.queued", {"reason": "n8n runs as many executions as it may"})

    def _on_waiting(self, line: Line) -> _Facts:
        yield from self._decide("waiting")
        yield _Fact(line, "execution.waiting", {"kind": "webhook"})

    def _on_resumed(self, line: Line) -> _Facts:
        yield _Fact(line, "execution.resumed", _only(line.payload, "resumeSource"))

    def _on_success(self, line: Line) -> _Facts:
        self.end = "completed"
        yield from self._close_runs(line)
        yield _Fact(line, "execution.completed", {})

    def _on_failed(self, line: Line) -> _Facts:
        """After `cancelled` it is only how n8n winds a stopped execution up."""
        if self.end == "cancelled":
            return
        self.end, self.failure = "failed", line
        yield from self._close_runs(line)
        error = _error(line)
        node_id = self._id_of(line.payload.get("lastNodeExecuted"))
        reading = () if node_id is None else (node_id,)
        yield _Fact(line, "execution.failed", {"status": "failed", "error": error | _given(nodeId=node_id)}, reading)

    def _on_cancelled(self, line: Line) -> _Facts:
        """With a queue main and worker both write it: once is enough. A timeout is nobody's wish, but a failure."""
        if self.end == "cancelled":
            return
        self.end = "cancelled"
        yield from self._close_runs(line)
        data = _only(line.payload, "reason")
        if data.get("reason") == "timeout":
            yield _Fact(line, "execution.failed", {"status": "timeout", **data})
        else:
            yield _Fact(line, "execution.cancelled", data)

    def _on_node_started(self, line: Line) -> _Facts:
        """A parked node starts a second time when its execution goes on: that is the same run."""
        node = _node_of(line)
        yield from self._decide("waiting" if self._goes_on_at(node) else "completed")
        run = self._latest_run(node)
        if run is not None and run.stage == "parked":
            run.stage = "running"
            yield _node_fact(line, "resumed", run)
        else:
            yield _node_fact(line, "started", self._begin_run(node))

    def _on_node_finished(self, line: Line) -> _Facts:
        """n8n writes the same for nodes that failed: the execution's next line tells."""
        yield from self._decide("completed")
        node = _node_of(line)
        run = self._latest_run(node)
        if run is None or run.stage == "ended":
            if run is not None and self.end is not None:
                return  # late: the end of the execution closed this run
            run = self._begin_run(node)
        self.undecided = run, line
        if self.end is not None:
            yield from self._decide("cancelled" if self.end == "cancelled" else "completed")

    def _on_log(self, line: Line) -> _Facts:
        level, message = _LOG_LINES[line.name]
        said = {"timestamp": format_time(line.time_us), "level": level, "message": message}
        more = {"data": _only(line.payload, "taskId", "jobId", "hostId")}
        yield _Fact(line, "log.appended", {"lines": [said | _only(line.payload, "nodeId") | more]})

    rules: ClassVar[dict[str, Callable[["_Execution", Line], _Facts]]] = {
        "workflow.started": _on_started,
        "workflow.success": _on_success,
        "workflow.failed": _on_failed,
        "workflow.cancelled": _on_cancelled,
        "node.started": _on_node_started,
        "node.finished": _on_node_finished,
        "audit.workflow.waiting": _on_waiting,
        "audit.workflow.resumed": _on_resumed,
        "queue.job.enqueued": _on_enqueued,
        "queue.job.dequeued": _on_dequeued,
        "queue.job.stalled": _on_log,
        "execution.throttled": _on_throttled,
        "runner.task.requested": _on_log,
        "runner.response.received": _on_log,
    }

    def _decide(self, outcome: str) -> _Facts:
        """What the node that finished last came to is known now: tell its line."""
        if self.undecided is not None:
            (run, line), self.undecided = self.undecided, None
            yield self._end_run(run, line, outcome)

    def _close_runs(self, line: Line) -> _Facts:
        """The execution ended with `line`: what still runs ended with it; a parked node stays parked, as n8n leaves it.

        A node that still runs under a success has lost its line or is on a worker whose clock is ahead: n8n reports no
        success before every node is through.
        """
        yield from self._decide("completed")
        outcome = "completed" if self.end == "completed" else "cancelled"
        for run in [run for runs in self.runs.values() for run in runs if run.stage == "running"]:
            yield self._end_run(run, line, outcome, run.node.id)

    def _end_run(self, run: _Run, line: Line, outcome: str, *reading: str) -> _Fact:
        run.stage = "parked" if outcome == "waiting" else "ended"
        if self.failure is not None and self.failure.payload.get("lastNodeExecuted") == run.node.name:
            return _node_fact(line, "failed", run, *reading, error=_error(self.failure) | {"nodeId": run.node.id})
        return _node_fact(line, outcome, run, *reading)

    def _begin_run(self, node: Node) -> _Run:
        """A new run; its iteration is the ordinal among the runs of its node."""
        runs = self.runs.setdefault(node.id, [])
        runs.append(_Run(node, len(runs)))
        return runs[-1]

    def _latest_run(self, node: Node) -> _Run | None:
        runs = self.runs.get(node.id)
        return runs[-1] if runs else None

    def _goes_on_at(self, node: Node) -> bool:
        """Whether a Wait that just finished starts again: a timed wait beyond 65 s leaves the log no other trace."""
        return self.undecided is not None and self.undecided[0].node.id == node.id and node.type.endswith(".wait")

    def _id_of(self, name: object) -> str | None:
        """n8n names the failing node, but does not give its id."""
        return next((node_id for node_id, runs in self.runs.items() if runs[-1].node.name == name), None)


_LOG_LINES: Final = {
    "runner.task.requested": ("debug", "A task runner was asked to run the code"),
    "runner.response.received": ("debug", "The task runner answered"),
    "queue.job.stalled": ("warn", "The queue found the job stalled: its worker is gone"),
}


def _node_fact(line: Line, verb: str, run: _Run, *reading: str, **more: Any) -> _Fact:
    node = run.node
    data = {"nodeId": node.id, "nodeName": node.name, "nodeType": node.type, "iteration": run.iteration, "attempt": 1}
    if run.iteration or verb not in ("started", "completed"):
        reading = (*reading, verb, str(run.iteration))
    return _Fact(line, f"node.{verb}", data | more, reading)


def _opening(payload: dict[str, Any]) -> dict[str, Any]:
    """Not among it is `projectName`, which holds the address of the project's owner."""
    data = _only(payload, "workflowName", "mode")
    trigger = {"trigger": {"type": data["mode"]}} if "mode" in data else {}
    return data | trigger | {"metadata": _only(payload, "projectId", "isManual")}


def _error(failure: Line) -> dict[str, Any]:
    payload = failure.payload
    names = _given(message=payload.get("errorMessage"), nodeName=payload.get("lastNodeExecuted"))
    return names | {"timestamp": format_time(failure.time_us)}


def _only(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    """These members where they are words or flags."""
    return {name: payload[name] for name in names if isinstance(payload.get(name), str | bool)}


def _given(**members: object) -> dict[str, Any]:
    return {name: said for name, said in members.items() if isinstance(said, str)}


def _node_of(line: Line) -> Node:
    assert line.node is not None, "a line of a node that names none is refused when it is read"
    return line.node
