"""The closed catalogue of event types. Types outside it are kept and forwarded, but change no state.

`status` is what a type says about the execution (or node) by itself; where a type has several outcomes, `data.status`
decides (`outcomes` lists what it may say). `rank` orders facts that carry the same time: later phases, then stronger
ends, win.
"""

from typing import Final, Literal, NamedTuple

Family = Literal["execution", "node", "log", "command"]
Class = Literal["lifecycle", "progress", "log"]
"""How streams may treat it: lifecycle is never dropped or merged, progress is latest-wins, logs have a budget."""

CONTROL_PREFIX: Final = "stream."
"""Words between service and subscriber; an event that claims one is refused."""

MONITOR_SOURCE: Final = "monitor"
"""The source of the service's own verdicts; nobody else may use it."""


class EventType(NamedTuple):
    """One row of the catalogue."""

    name: str
    family: Family
    stream_class: Class = "lifecycle"
    # None: says nothing about the status.
    status: str | None = None
    outcomes: frozenset[str] = frozenset()
    final: bool = False
    doc: str = ""


_FAILURES: Final = frozenset({"failed", "timeout", "crashed"})

_ROWS: Final = (
    EventType("execution.queued", "execution", status="queued", doc="Accepted, waiting for a worker."),
    EventType("execution.started", "execution", status="running", doc="A worker runs it."),
    EventType(
        "execution.progress",
        "execution",
        "progress",
        doc="How far it is: completed, total, current, message.",
    ),
    EventType("execution.heartbeat", "execution", "progress", doc="It is alive; nothing else changed."),
    EventType(
        "execution.waiting",
        "execution",
        status="waiting",
        doc="Parked until a time, a call, an approval or a child.",
    ),
    EventType("execution.resumed", "execution", status="running", doc="Goes on after waiting."),
    EventType("execution.completed", "execution", status="success", final=True, doc="Ended well."),
    EventType("execution.failed", "execution", status="failed", outcomes=_FAILURES, final=True, doc="Ended badly."),
    EventType(
        "execution.cancelled",
        "execution",
        status="cancelled",
        final=True,
        doc="Ended because somebody asked for it.",
    ),
    EventType("execution.deleted", "execution", doc="Removed; absorbs everything before and after."),
    EventType("execution.annotated", "execution", doc="Tags, a vote or a note by a person."),
    EventType("execution.recovered", "execution", doc="A presumed crash was revoked by later evidence."),
    EventType("execution.conflict", "execution", doc="Two facts contradict each other; both are kept."),
    EventType("execution.late", "execution", doc="It should have ended by now."),
    EventType("execution.stalled", "execution", doc="No sign of life for two heartbeats."),
    EventType("execution.gap", "execution", doc="Events of a counting source are missing."),
    EventType("node.queued", "node", status="queued", doc="The node waits for its turn."),
    EventType("node.started", "node", status="running", doc="The node runs."),
    EventType("node.progress", "node", "progress", doc="How far the node is."),
    EventType("node.waiting", "node", status="waiting", doc="The node is parked."),
    EventType("node.resumed", "node", status="running", doc="The node goes on."),
    EventType("node.retrying", "node", status="waiting", doc="This attempt is given up, another follows."),
    EventType(
        "node.completed",
        "node",
        status="success",
        outcomes=_FAILURES | {"success"},
        final=True,
        doc="The node ended.",
    ),
    EventType("node.failed", "node", status="failed", outcomes=_FAILURES, final=True, doc="The node ended badly."),
    EventType("node.cancelled", "node", status="cancelled", final=True, doc="The node was stopped."),
    EventType("node.skipped", "node", status="skipped", final=True, doc="The node was not needed."),
    EventType("log.appended", "log", "log", doc="One or more log lines; `final` closes the log."),
    EventType("command.requested", "command", doc="Somebody asked the engine for something."),
    EventType("command.accepted", "command", doc="The engine took the command."),
    EventType("command.refused", "command", doc="The engine refused the command."),
    EventType("command.completed", "command", doc="The command took effect."),
    EventType("command.failed", "command", doc="The command had no effect."),
)

TYPES: Final = {row.name: row for row in _ROWS}

DERIVED: Final = frozenset({"execution.recovered", "execution.conflict"})
"""Concluded in the commit that shows the cause; never taken from outside."""

_STATUS_RANK: Final = {
    "queued": 1,
    "running": 2,
    "waiting": 3,
    # Ends, strongest last: of ends at the same instant the highest rank wins.
    "crashed": 5,
    "skipped": 6,
    "success": 6,
    "failed": 7,
    "timeout": 8,
    "cancelled": 9,
}


def status_rank(status: str) -> int:
    """Strength of a status among facts of the same instant: 1 (queued) to 9 (cancelled)."""
    return _STATUS_RANK[status]


def reported_status(kind: EventType, said: object) -> str | None:
    """The status that an event of this type reports, given its `data.status`. Words outside `outcomes` are ignored."""
    return said if isinstance(said, str) and said in kind.outcomes else kind.status
