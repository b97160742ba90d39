"""The state of one execution as registers, and what follows from them, kept beside them for speed.

A register keeps the winner of its facts under a total order that does not depend on arrival, so any permutation of any
duplicates of the same events leaves the same registers (a join semilattice). The orders, in short: inside a source,
counted events by sequence, before uncounted ones by (time, rank, tie); the winners of the sources by (time, rank,
source), since sequences of two sources mean nothing to each other. `lifecycle` and `nodes` hold the rules.
"""

from typing import Any, Final, Literal, NamedTuple

import msgspec

from monitor.projections.members import strings, text, word
from monitor.projections.status import FINAL

NodeKey = tuple[str, int, int]
"""(node id, iteration, attempt)."""

UNTYPED: Final = "Error"
"""The type of an error that names none."""

MAX_RATIO_IN_FLIGHT: Final = 0.99
"""Progress stays below 1 until the end: untaken branches and loops make every earlier 1 a lie."""


_MOST_OF_A_TRIGGER: Final = 100
"""Characters of a trigger's type that tell it from others."""


class Fact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one event said about the status, with what is needed to order it."""

    sequence: int
    time_us: int
    rank: int
    tie: int
    status: str
    # Members that matter for the view, checked: an end's duration_us, error, fingerprint and reason, a wait's kind and
    # until, a progress report's completed, total, current and message.
    data: dict[str, Any]


class Source(msgspec.Struct, array_like=True, gc=False):
    """Registers of one producer within the highest epoch."""

    # Latest reported status that is not an end.
    now: Fact | None = None
    # Winning reported end.
    end: Fact | None = None
    # Latest own progress report.
    progress: Fact | None = None
    # Earliest `execution.started`, microseconds.
    started_us: int | None = None
    # Earliest `execution.queued`, microseconds.
    queued_us: int | None = None


class Node(msgspec.Struct, array_like=True, gc=False):
    """One run of a node: registers by (time, rank, tie), enough since one worker runs it and its end stands apart."""

    now: tuple[int, int, int, str] | None = None
    end: tuple[int, int, int, str] | None = None
    started_us: int | None = None
    # Of the winning end.
    duration_us: int | None = None
    error: dict[str, Any] | None = None
    # (time, tie, name, type) of the latest event that names the node.
    label: tuple[int, int, str, str] | None = None
    # (time, tie) of the event that filled the payload slot of this name.
    input: tuple[int, int] | None = None
    output: tuple[int, int] | None = None

    @property
    def status(self) -> str:
        """The end if there is one, else the latest report."""
        fact = self.end or self.now
        return fact[3] if fact else "queued"

    @property
    def stopped_us(self) -> int | None:
        """When it ended; None while it has not."""
        return self.end[0] if self.end else None


class Registers(msgspec.Struct, array_like=True, gc=False):
    """Everything about an execution that is folded and small; stored as one blob beside its columns."""

    epoch: int = 0
    sources: dict[str, Source] = {}
    # (time, tie, workflow id) of the earliest event that names one; of all epochs: it never changes once set.
    workflow: tuple[int, int, str] | None = None
    # Descriptive members (`workflowName`, `mode`, `metadata.queueTime`, ...), each the winner of (rank, time, tie).
    members: dict[str, tuple[int, int, int, Any]] = {}
    # The monitor's own provisional end: winner of (asOf, tie); `time_us` is asOf.
    verdict: Fact | None = None
    # Latest time of any reported event of the epoch, microseconds.
    evidence_us: int = 0
    # Earliest time of any reported event of the epoch; None = nothing was reported.
    first_us: int | None = None
    # Ends that were reported, sorted; more than one is a conflict.
    outcomes: list[str] = []
    # (time, tie, node name) of the node that started last.
    current: tuple[int, int, str] | None = None
    # What people noted (`tags`, `vote`, `note`), each the latest (time, tie, value); of all epochs.
    notes: dict[str, tuple[int, int, Any]] = {}
    # Which event filled a payload slot of its own (nodes note theirs): (time, tie) by slot name.
    slots: dict[str, tuple[int, int]] = {}
    log_lines: int = 0
    log_closed: bool = False
    deleted: bool = False
    # The earliest word that it was asked for in vain; holds while nothing is reported.
    unstarted: Fact | None = None
    # The monitor said that it is silent: the greatest `asOf`.
    stalled_us: int | None = None
    # The monitor said that it is late: the greatest deadline that was missed.
    late_us: int | None = None


class Contribution(NamedTuple):
    """What an execution adds to the statistics: counted under these keys, `duration_us` added to their sum."""

    workflow_id: str
    # Hour in which it finished, hours since 1970; -1 while it is in flight.
    hour: int
    status: str
    # Type of the trigger and fingerprint of the error; empty where there is none.
    trigger: str
    error: str
    bucket: int
    duration_us: int


RunContribution = tuple[str, str, int, str, str, int, int]
"""What a finished run of a node adds: (workflow, node, hour of its end, status, error, bucket, duration)."""


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far an execution is."""

    completed: int
    total: int
    current: str | None
    message: str | None

    def ratio(self, status: str) -> float:
        """0 to 1; below 1 until it succeeded."""
        if status == "success":
            return 1.0
        return min(self.completed / self.total, MAX_RATIO_IN_FLIGHT) if self.total else 0.0


NO_PROGRESS: Final = Progress(0, 0, None, None)


class Details(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What executions can be asked for beside their names, status and start."""

    stopped_us: int | None = None
    # Empty where nobody said it.
    trigger_type: str = ""
    retry_of: str | None = None
    parent_id: str | None = None
    error_type: str | None = None


NO_DETAILS: Final = Details()


class Execution(msgspec.Struct, gc=False):
    """An execution in the projector's hands: identity, registers, nodes and the ids of its events."""

    team: str
    id: str
    # The store's integer key, in order of first arrival; 0 until the first commit.
    key: int = 0
    # max(previous + 1, offset + 1) of the last record that changed the view.
    version: int = 0
    # The version that is stored: the guard of the next write.
    stored_version: int = 0
    created_us: int = 0
    updated_us: int = 0
    registers: Registers = msgspec.field(default_factory=Registers)
    nodes: dict[NodeKey, Node] = {}
    # Checksums of the applied events by digest of their id.
    seen: dict[bytes, int] = {}
    # Derived from `registers` and `nodes`, kept for speed; `refresh` makes them anew.
    status: str = "queued"
    node_ids: set[str] = set()
    finished_ids: set[str] = set()
    # An end that only the monitor presumes.
    provisional: bool = False
    workflow_id: str = ""
    workflow_name: str | None = None
    mode: str | None = None
    started_us: int | None = None
    # Of the end that decides; None while there is none.
    ended_us: int | None = None
    duration_us: int | None = None
    # Type of its trigger, and fingerprint of the error that it ended with; empty where there is none.
    trigger: str = ""
    fingerprint: str = ""
    tags: list[str] = []
    details: Details = NO_DETAILS
    # The engine's own word on its progress, and on the number of nodes.
    report: dict[str, Any] | None = None
    declared: int = 0
    progress: Progress = NO_PROGRESS
    # What the stored statistics hold of it now.
    counted: Contribution | None = None
    # The same of its nodes' finished runs.
    counted_runs: dict[NodeKey, RunContribution] = {}
    # When an engine was last heard of it, by the service's own clock; 0 = never, or in imported history alone.
    heard_us: int = 0
    # When somebody looks at it next, as far as was asked for from here; see `verdicts.arm`.
    watched_us: int | None = None
    # The store's own note on what it holds of it; nobody else looks at it.
    kept: Any = None

    @property
    def end(self) -> Fact | None:
        """The end that everybody sees: the reported one, else the one that is presumed; None while there is none."""
        reported = winning_end(self.registers)
        if reported is not None:
            return reported[1]
        return presumed_end(self.registers) if self.provisional else None

    def refresh(self) -> None:
        """Make the derived members anew after loading."""
        self.node_ids = {key[0] for key in self.nodes}
        self.finished_ids = {key[0] for key, node in self.nodes.items() if node.end}
        self.refresh_view()

    def refresh_view(self) -> None:
        """Make anew what follows from the registers, after one of them changed."""
        registers = self.registers
        end = winning_end(registers)
        self.status = _status(registers, end)
        self.provisional = end is None and self.status in FINAL
        self.workflow_id = workflow_of(registers)
        self.workflow_name = member_of(registers, "workflowName")
        self.mode = member_of(registers, "mode")
        self.trigger = trigger_type_of(member_of(registers, "trigger"))
        self.started_us = started_us_of(registers)
        self.ended_us = end[1].time_us if end else None
        self.duration_us = _duration_us(registers, end)
        self.fingerprint = end[1].data.get("fingerprint", "") if end else ""
        self.tags = tags_of(registers)
        shown = end[1] if end else presumed_end(registers) if self.provisional else None
        self.details = _details(registers, self.trigger, shown)
        said = latest_report(registers, "progress")
        self.report = said.data if said else None
        self.declared = member_of(registers, "nodeCount") or 0
        self.progress = progress_of(self)


def winning_end(registers: Registers) -> tuple[str, Fact] | None:
    """(source, end) that decides: the earliest; any other end beats a crash; strongest rank at equal times."""
    winner = None
    for name, source in registers.sources.items():
        if source.end is not None:
            end = (name, source.end)
            winner = end if winner is None else min(winner, end, key=_end_order)
    return winner


def holds(registers: Registers) -> bool:
    """Whether the monitor's verdict stands: nothing was reported after the evidence that it rests on."""
    return registers.verdict is not None and registers.verdict.time_us >= registers.evidence_us


def presumed_end(registers: Registers) -> Fact | None:
    """The end that is presumed where none was reported: the monitor's verdict, or the word that nothing will start."""
    return registers.verdict if holds(registers) else registers.unstarted


def is_stalled(registers: Registers) -> bool:
    """Whether nothing was reported since the monitor said that it is silent; means something while it is in flight."""
    return registers.stalled_us is not None and registers.stalled_us >= registers.evidence_us


def is_late(registers: Registers) -> bool:
    """Whether it missed the deadline that holds now; means something while it is in flight."""
    deadline_us: int | None = member_of(registers, "deadlineAt")
    return deadline_us is not None and registers.late_us is not None and registers.late_us >= deadline_us


def progress_of(execution: Execution) -> Progress:
    """The engine's own report where there is one, else distinct finished nodes of max(declared, seen)."""
    seen, declared, started = len(execution.node_ids), execution.declared, execution.registers.current
    is_final = execution.status in FINAL
    counted = Progress(
        len(execution.finished_ids),
        declared if declared > seen else seen,  # noqa: FURB136 - five times faster than max(), once per event
        None if is_final or started is None else started[2],
        None,
    )
    return counted if execution.report is None else _reported_progress(execution.report, counted, is_final)


def latest_report(registers: Registers, name: Literal["now", "progress"]) -> Fact | None:
    """The latest report of a kind: of each source its latest, of these the latest by (time, rank, source)."""
    latest = None
    for source_name, source in registers.sources.items():
        fact: Fact | None = getattr(source, name)
        if fact is not None:
            report = (fact, source_name)
            latest = report if latest is None else max(latest, report, key=_now_order)
    return None if latest is None else latest[0]


def started_us_of(registers: Registers) -> int | None:
    """The earliest start that any source reported."""
    earliest_us = None
    for source in registers.sources.values():
        if source.started_us is not None and (earliest_us is None or source.started_us < earliest_us):
            earliest_us = source.started_us
    return earliest_us


def workflow_of(registers: Registers) -> str:
    """The workflow's id; empty until an event names it."""
    return registers.workflow[2] if registers.workflow else ""


def member_of(registers: Registers, name: str) -> Any:
    """A descriptive member, such as `workflowName`; None where nobody said it."""
    entry = registers.members.get(name)
    return None if entry is None else entry[3]


def tags_of(registers: Registers) -> list[str]:
    """Tags that a person set, else those that the execution started with."""
    noted = registers.notes.get("tags")
    tags = strings(noted[2]) if noted else None
    if tags is None:
        tags = strings(member_of(registers, "tags"))
    return tags or []


def trigger_type_of(trigger: dict[str, Any] | None) -> str:
    """What kind of thing set it off; empty where nobody said it."""
    return (text(trigger.get("type")) or "")[:_MOST_OF_A_TRIGGER] if trigger else ""


def parent_id_of(parent: dict[str, Any] | None) -> str | None:
    """The execution that started it."""
    return word(parent.get("executionId")) if parent else None


def error_type_of(error: dict[str, Any] | None) -> str | None:
    """The error's type as every answer shows it; None where there is no error."""
    return None if error is None else word(error.get("type")) or UNTYPED


def _details(registers: Registers, trigger: str, end: Fact | None) -> Details:
    retry_of, parent = registers.members.get("retryOf"), registers.members.get("parent")
    return Details(
        end.time_us if end else None,
        trigger,
        retry_of[3] if retry_of else None,
        parent_id_of(parent[3]) if parent else None,
        error_type_of(end.data.get("error")) if end else None,
    )


def _status(registers: Registers, end: tuple[str, Fact] | None) -> str:
    """Reported end, else a verdict that no later evidence revokes, else the latest report, else running or queued.

    Node or log events alone are a sign of life: such a stub is running, whatever else is unknown. Before any sign of
    life (a command was sent, a note was taken) it is queued; failed once that command was in vain.
    """
    if end is not None:
        return end[1].status
    if holds(registers):
        return "crashed"
    now = latest_report(registers, "now")
    if now is not None:
        return now.status
    if registers.first_us is not None:
        return "running"
    return "queued" if registers.unstarted is None else registers.unstarted.status


def _duration_us(registers: Registers, end: tuple[str, Fact] | None) -> int | None:
    """Run time in microseconds: as the engine measured it, else end minus start of the same source; never negative.

    None where start and end come from two clocks, whose difference would mean nothing, and while it runs.
    """
    if end is None:
        return None
    source, fact = end
    measured_us: int | None = fact.data.get("duration_us")
    if measured_us is not None:
        return measured_us
    started_us = registers.sources[source].started_us
    return None if started_us is None else max(0, fact.time_us - started_us)


def _end_order(end: tuple[str, Fact]) -> tuple[bool, int, int, str]:
    source, fact = end
    return fact.status == "crashed", fact.time_us, -fact.rank, source


def _now_order(entry: tuple[Fact, str]) -> tuple[int, int, str]:
    fact, source = entry
    return fact.time_us, fact.rank, source


def _reported_progress(report: dict[str, Any], counted: Progress, is_final: bool) -> Progress:
    completed, total = counted.completed, counted.total
    if "completed" in report and "total" in report:
        completed, total = min(report["completed"], report["total"]), report["total"]
    current = None if is_final else report.get("current") or counted.current
    return Progress(completed, total, current, report.get("message"))
