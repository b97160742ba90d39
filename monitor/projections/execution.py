"""The state of one execution as registers, and the view that everybody sees as a pure function of them.

A register keeps the winner of its facts under a total order that does not depend on arrival, so any permutation of any
duplicates of the same events leaves the same registers (a join semilattice). The orders, in short:
- inside a source, counted events by sequence come before uncounted ones by (time, rank, tie);
- the winners of the sources are compared by (time, rank, source), since sequences of two sources mean nothing to each other;
- ends: the earliest reported one, except that any reported end beats a crash. `fold.py` holds the rules, this file the shape.
"""

from typing import Any, Final, NamedTuple

import msgspec

from monitor.projections.status import FINAL

Order = tuple[int, int, int]
"""(rank or time first, as the register needs it; the last is the tie-break: eight bytes of the event id's digest)."""

NodeKey = tuple[str, int, int]
"""(node id, iteration, attempt)."""

MAX_RATIO_IN_FLIGHT: Final = 0.99
"""Progress stays below 1 until the end: untaken branches and loops make every earlier 1 a lie."""


class Fact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one event said about the status, with what is needed to order it."""

    sequence: int
    time_us: int
    rank: int
    tie: int
    status: str
    # Members that matter for the view: waiting's kind and until, an end's error, duration and reason.
    data: dict[str, Any]


class Source(msgspec.Struct, array_like=True):
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


class Node(msgspec.Struct, array_like=True):
    """One run of a node: registers by (time, rank, tie), enough since ends and other facts never compete."""

    now: tuple[int, int, int, str] | None = None
    end: tuple[int, int, int, str] | None = None
    started_us: int | None = None
    # Of the winning end.
    duration_us: int | None = None
    error: dict[str, Any] | None = None
    # (time, tie, name, type) of the latest event that names the node.
    label: tuple[int, int, str, str] | None = None

    @property
    def status(self) -> str:
        """The end if there is one, else the latest report."""
        fact = self.end or self.now
        return fact[3] if fact else "queued"

    @property
    def stopped_us(self) -> int | None:
        """When it ended; None while it has not."""
        return self.end[0] if self.end else None


class Registers(msgspec.Struct, array_like=True):
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
    # Earliest time of any reported event of the epoch; 0 = none.
    first_us: int = 0
    # Ends that were reported, sorted; more than one is a conflict.
    outcomes: list[str] = []
    # (time, tie, node name) of the node that started last.
    current: tuple[int, int, str] | None = None
    # (time, tie, annotation) of the latest annotation; of all epochs.
    annotation: tuple[int, int, dict[str, Any]] | None = None
    # Which event filled a payload slot: (time, tie) by slot name.
    slots: dict[str, tuple[int, int]] = {}
    log_lines: int = 0
    log_closed: bool = False
    deleted: bool = False


class Contribution(NamedTuple):
    """What an execution adds to the statistics: counted under these keys, `duration_us` added to their sum."""

    workflow_id: str
    # Hour in which it finished, hours since 1970; -1 while it is in flight.
    hour: int
    status: str
    bucket: int
    duration_us: int


class Execution(msgspec.Struct):
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
    # What the stored statistics hold of it now.
    counted: Contribution | None = None

    def refresh(self) -> None:
        """Make the derived members anew after loading."""
        self.status = status_of(self.registers)
        self.node_ids = {key[0] for key in self.nodes}
        self.finished_ids = {key[0] for key, node in self.nodes.items() if node.end}


class Progress(NamedTuple):
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


class Summary(msgspec.Struct, frozen=True, gc=False):
    """The view of an execution that lists, filters, streams and webhooks share. Times in microseconds."""

    team: str
    id: str
    version: int
    status: str
    workflow_id: str
    workflow_name: str | None
    mode: str | None
    trigger: dict[str, Any] | None
    # Order of lists: started, else queued, else first evidence.
    at_us: int
    queued_us: int | None
    started_us: int | None
    stopped_us: int | None
    duration_us: int | None
    error: dict[str, Any] | None
    metadata: dict[str, Any]
    progress: Progress
    waiting: dict[str, Any] | None
    retry_of: str | None
    parent: dict[str, Any] | None
    tags: list[str]
    annotation: dict[str, Any] | None
    reason: str | None
    # A crash that only the monitor presumes.
    provisional: bool
    conflict: bool
    epoch: int
    log_lines: int
    created_us: int
    updated_us: int


def status_of(registers: Registers) -> str:
    """Reported end, else a verdict that no later evidence revokes, else the latest report, else running.

    Node or log events alone are a sign of life: such a stub is running, whatever else is unknown.
    """
    end = winning_end(registers)
    if end is not None:
        return end[1].status
    if holds(registers):
        return "crashed"
    now = _latest(registers)
    return now.status if now else "running"


def winning_end(registers: Registers) -> tuple[str, Fact] | None:
    """(source, end) that decides: the earliest; any other end beats a crash; strongest rank at equal times."""
    ends = [(name, source.end) for name, source in registers.sources.items() if source.end]
    if len(ends) < 2:
        return ends[0] if ends else None
    return min(ends, key=lambda end: (end[1].status == "crashed", end[1].time_us, -end[1].rank, end[0]))


def holds(registers: Registers) -> bool:
    """Whether the monitor's verdict stands: nothing was reported after the evidence that it rests on."""
    return registers.verdict is not None and registers.verdict.time_us >= registers.evidence_us


def progress_of(execution: Execution) -> Progress:
    """The engine's own report where there is one, else distinct finished nodes of max(declared, seen)."""
    registers = execution.registers
    reports = [(s.progress.time_us, name, s.progress.data) for name, s in registers.sources.items() if s.progress]
    said = max(reports, key=lambda report: report[:2])[2] if reports else {}
    declared = registers.members.get("nodeCount")
    completed, total = whole(said.get("completed")), whole(said.get("total"))
    if completed is None or total is None:
        completed = len(execution.finished_ids)
        total = max(len(execution.node_ids), declared[3] if declared else 0)
    current = text(said.get("current"))
    if current is None and registers.current:
        current = registers.current[2]
    if execution.status in FINAL:
        current = None
    return Progress(min(completed, total), total, current, text(said.get("message")))


def summary(execution: Execution) -> Summary:
    """What everybody may see of `execution` now."""
    registers = execution.registers
    member = {name: entry[3] for name, entry in registers.members.items()}
    end = winning_end(registers)
    said: dict[str, Any] = end[1].data if end else {}
    queued_us, started_us = earliest(registers, "queued_us"), earliest(registers, "started_us")
    now = _latest(registers)
    provisional = end is None and execution.status == "crashed"
    verdict_us = registers.verdict.time_us if registers.verdict else None
    return Summary(
        team=execution.team,
        id=execution.id,
        version=execution.version,
        status=execution.status,
        workflow_id=workflow_of(registers),
        workflow_name=member.get("workflowName"),
        mode=member.get("mode"),
        trigger=member.get("trigger"),
        at_us=started_us or queued_us or registers.first_us or verdict_us or 0,
        queued_us=queued_us,
        started_us=started_us,
        stopped_us=end[1].time_us if end else verdict_us if provisional else None,
        duration_us=duration_of(registers),
        error=said.get("error"),
        metadata={name[9:]: value for name, value in member.items() if name.startswith("metadata.")},
        progress=progress_of(execution),
        waiting=now.data if now and execution.status == "waiting" else None,
        retry_of=member.get("retryOf"),
        parent=member.get("parent"),
        tags=tags_of(registers),
        annotation=registers.annotation[2] if registers.annotation else None,
        reason=said.get("reason"),
        provisional=provisional,
        conflict=len(registers.outcomes) > 1,
        epoch=registers.epoch,
        log_lines=registers.log_lines,
        created_us=execution.created_us,
        updated_us=execution.updated_us,
    )


def duration_of(registers: Registers) -> int | None:
    """Run time in microseconds: as the engine measured it, else end minus start of the same source; never negative.

    None where start and end come from two clocks, whose difference would mean nothing, and while it runs.
    """
    end = winning_end(registers)
    if end is None:
        return None
    measured = duration_us(end[1].data.get("duration"))
    if measured is not None:
        return measured
    started_us = registers.sources[end[0]].started_us
    return None if started_us is None else max(0, end[1].time_us - started_us)


def workflow_of(registers: Registers) -> str:
    """The workflow's id; empty until an event names it."""
    return registers.workflow[2] if registers.workflow else ""


def tags_of(registers: Registers) -> list[str]:
    """Tags that a person set, else those that the execution started with."""
    said: Any = registers.annotation[2].get("tags") if registers.annotation else None
    if said is None and "tags" in registers.members:
        said = registers.members["tags"][3]
    return [tag for tag in said if isinstance(tag, str)] if isinstance(said, list) else []


def latest_runs(nodes: dict[NodeKey, Node]) -> dict[str, tuple[NodeKey, Node]]:
    """The latest iteration and attempt of every node, in order of first start."""
    latest: dict[str, tuple[NodeKey, Node]] = {}
    for key in sorted(nodes):
        latest[key[0]] = (key, nodes[key])
    return dict(sorted(latest.items(), key=lambda item: (_first_us(item[1][1]), item[0])))


def text(said: object) -> str | None:
    """A stranger's member if it is a string that says something."""
    return said if isinstance(said, str) and said else None


def whole(said: object) -> int | None:
    """A stranger's member if it is a count."""
    return said if type(said) is int and 0 <= said < 1 << 53 else None


def duration_us(said: object) -> int | None:
    """Microseconds of a duration on the wire, which is in seconds; None for what is no duration (also below zero)."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < 1e10:
        return None
    return round(said * 1_000_000)


def earliest(registers: Registers, name: str) -> int | None:
    """The smallest of a time that each source has: `queued_us` or `started_us`."""
    return min((at for s in registers.sources.values() if (at := getattr(s, name)) is not None), default=None)


def _latest(registers: Registers) -> Fact | None:
    facts = [(s.now.time_us, s.now.rank, name, s.now) for name, s in registers.sources.items() if s.now]
    return max(facts, key=lambda fact: fact[:3])[3] if facts else None


def _first_us(node: Node) -> int:
    if node.started_us is not None:
        return node.started_us
    fact = node.now or node.end
    return fact[0] if fact else 0
