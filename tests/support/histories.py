"""Random events of one execution, for property tests: everything that may meet in a journal, sensible or not.

`event_sets` draws events as wire members; `arrivals` draws an order for them in which some come twice.
"""

from typing import Any

from hypothesis import strategies as st

from monitor.events.codec import format_time
from tests.support.clocks import NOON_US

WireEvent = dict[str, Any]

EXECUTION_ID = "exec_1"
SOURCES = ("engine-1", "engine-2", "queue")

# Few instants and few nodes, so that equal times and repeated facts are common.
_INSTANTS = st.integers(0, 12).map(lambda step: format_time(NOON_US + step * 250_000))
_NODES = st.sampled_from(("a", "b", "c"))
_ERRORS = st.fixed_dictionaries(
    {"message": st.sampled_from(("no answer", "refused by 10.0.0.1", "refused by 10.0.0.2"))},
    optional={"type": st.sampled_from(("Refused", ""))},
)
_DURATIONS = st.sampled_from((0.0, 0.25, 1.5))
_ITEMS = st.sampled_from(([], [{"json": {"n": 1}}], [{"json": {"n": 2}}]))


def _data(required: dict[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required or {}, optional=optional)


_OPENING = _data(
    workflowName=st.sampled_from(("Orders", "Orders, renamed")),
    mode=st.sampled_from(("manual", "trigger", "webhook")),
    nodeCount=st.integers(0, 5),
    inputData=_ITEMS,
    trigger=st.sampled_from(({"type": "webhook", "source": "shop"}, {"type": "cron"}, "cron", {"type": 1}, {})),
    retryOf=st.just("exec_0"),
    tags=st.lists(st.sampled_from(("red", "blue")), unique=True),
    metadata=_data(retryCount=st.integers(0, 2), queueTime=_DURATIONS),
    heartbeat=st.sampled_from((0, 0.5, 1, 2)),
    deadlineAt=_INSTANTS,
)
_END: dict[str, Any] = {
    "duration": _DURATIONS,
    "outputData": _ITEMS,
    "metadata": _data(memoryUsage=st.sampled_from((32.1, 64.0))),
}

_EXECUTION_EVENTS = {
    "execution.queued": _OPENING,
    "execution.started": _OPENING,
    "execution.progress": _data(completed=st.integers(0, 5), total=st.integers(0, 5), current=_NODES),
    "execution.heartbeat": _data(),
    "execution.waiting": _data(kind=st.sampled_from(("timer", "webhook", "approval")), until=_INSTANTS),
    "execution.resumed": _data(),
    "execution.completed": _data(**_END),
    "execution.failed": _data(
        status=st.sampled_from(("failed", "timeout", "crashed", "no such word")), error=_ERRORS, **_END
    ),
    "execution.cancelled": _data(reason=st.sampled_from(("manual", "shutdown")), **_END),
}

_NODE: dict[str, Any] = {"nodeId": _NODES}
_RUN: dict[str, Any] = {
    "iteration": st.integers(0, 1),
    "attempt": st.integers(1, 2),
    "nodeName": st.sampled_from(("Node", "Renamed")),
}
_NODE_EVENTS = {
    "node.queued": _data(_NODE, **_RUN),
    "node.started": _data(_NODE, **_RUN, inputData=_ITEMS),
    "node.progress": _data(_NODE, **_RUN),
    "node.waiting": _data(_NODE, **_RUN),
    "node.resumed": _data(_NODE, **_RUN),
    "node.retrying": _data(_NODE, **_RUN, error=_ERRORS),
    "node.completed": _data(
        _NODE, **_RUN, status=st.sampled_from(("success", "failed")), duration=_DURATIONS, outputData=_ITEMS
    ),
    "node.failed": _data(_NODE, **_RUN, error=_ERRORS, duration=_DURATIONS),
    "node.cancelled": _data(_NODE, **_RUN),
    "node.skipped": _data(_NODE, **_RUN),
}

_LINES = st.lists(
    st.fixed_dictionaries(
        {"message": st.sampled_from(("hello", "world"))}, optional={"level": st.just("warn"), "timestamp": _INSTANTS}
    ),
    min_size=1,
    max_size=3,
)
_COMMANDS = _data(
    {"commandId": st.sampled_from(("command-1", "command-2"))},
    kind=st.sampled_from(("execute", "retry", "cancel")),
    error=_ERRORS,
    args=st.just({"reason": "wrong input"}),
)
_OTHER_EVENTS = {
    "log.appended": _data({"lines": _LINES}, final=st.booleans()),
    "execution.annotated": _data(tags=st.just(["seen"]), vote=st.sampled_from(("up", "down")), note=st.just("odd")),
    "command.requested": _COMMANDS,
    "command.accepted": _COMMANDS,
    "command.refused": _COMMANDS,
    "command.completed": _COMMANDS,
    "command.failed": _COMMANDS,
    "execution.exploded": st.just({"unknown": "type"}),
}

_CRASHED = {"status": "crashed", "provisional": True, "reason": "no_heartbeat"}
_VERDICT = st.builds(
    lambda said, as_of: {"type": said[0], "source": "monitor", "data": {**said[1], "asOf": as_of}},
    st.sampled_from(
        (*[("execution.failed", _CRASHED)] * 3, ("execution.stalled", {}), ("execution.late", {})),
    ),
    _INSTANTS,
)
_UNANSWERED = st.just(
    {"type": "command.failed", "source": "monitor", "data": {"commandId": "command-1", "kind": "execute"}}
)
_FORCED_END = st.just({"type": "execution.cancelled", "source": "monitor", "data": {"reason": "nobody knows it"}})
_DELETION = st.just({"type": "execution.deleted", "data": {"reason": "asked for"}})


def _facts(types: dict[str, st.SearchStrategy[dict[str, Any]]]) -> st.SearchStrategy[WireEvent]:
    return st.sampled_from(sorted(types)).flatmap(
        lambda name: st.fixed_dictionaries(
            {"type": st.just(name), "data": types[name], "source": st.sampled_from(SOURCES)},
            optional={"workflowId": st.sampled_from(("wf_1", "wf_2"))},
        )
    )


# By how often each kind is drawn: the rarest occurs in a handful of sets.
_KINDS = (
    [_DELETION, _UNANSWERED, _FORCED_END]
    + [_VERDICT] * 3
    + [_facts(_OTHER_EVENTS)] * 5
    + [_facts(_NODE_EVENTS)] * 13
    + [_facts(_EXECUTION_EVENTS)] * 18
)
_ANY_FACT: st.SearchStrategy[WireEvent] = st.sampled_from(_KINDS).flatmap(lambda kind: kind)


@st.composite
def event_sets(draw: st.DrawFn, max_size: int = 20) -> list[WireEvent]:
    """Events of one execution, no two with the same id, in no particular order.

    Sources may count (`sequence`, with holes, in an order that need not be that of time) or not; epochs differ; some
    events have no id; times are often equal; verdicts of the monitor, deletions and notes occur.
    """
    counting = draw(st.sets(st.sampled_from(SOURCES)))
    counts: dict[tuple[str, int], int] = {}
    events = []
    for ordinal, fact in enumerate(draw(st.lists(_ANY_FACT, min_size=1, max_size=max_size))):
        event: WireEvent = {"executionId": EXECUTION_ID, "timestamp": draw(_INSTANTS), **fact}
        epoch = draw(st.sampled_from((0, 0, 0, 1, 2)))
        if epoch:
            event["epoch"] = epoch
        source = event.get("source", "")
        if source in counting:
            counts[source, epoch] = counts.get((source, epoch), 0) + draw(st.sampled_from((1, 1, 1, 2)))
            event["sequence"] = counts[source, epoch]
        if draw(st.integers(0, 4)):
            event["id"] = f"event-{ordinal}"
        events.append(event)
    return events


@st.composite
def arrivals(draw: st.DrawFn, events: list[WireEvent]) -> list[WireEvent]:
    """`events` in any order, some of them twice or more."""
    repeats = draw(st.lists(st.sampled_from(events), max_size=6)) if events else []
    return draw(st.permutations(events + repeats))
