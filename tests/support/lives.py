"""Random executions as engines run them: queued, started, some nodes, an end; each step later than the one before.

Histories (`histories`) are anything that may meet in a journal; lives are what mostly does, with everything on them
that somebody could want to see.
"""

from itertools import accumulate
from typing import Any, Final

from hypothesis import strategies as st

from monitor.events.codec import format_time
from tests.support.clocks import NOON_US
from tests.support.histories import EXECUTION_ID, WireEvent

_PAYLOADS: Final = st.sampled_from(
    (None, 0, 2.5, "text", True, {}, [], {"n": 1}, [1, None, {"json": {"n": 2}}], {"json": {"n": 3}}, {"json": 4})
)
_ERRORS: Final = st.fixed_dictionaries(
    {},
    optional={
        "message": st.sampled_from(("no answer", "", "é ✓")),
        "type": st.just("Refused"),
        "nodeId": st.sampled_from(("a", "b", "elsewhere")),
        "details": st.just({"retryAfter": 60}),
        "stack": st.just("at line 1"),
    },
)
_OPENINGS: Final = st.fixed_dictionaries(
    {},
    optional={
        "workflowName": st.just("Orders"),
        "workflowVersion": st.sampled_from((7, "v7")),
        "mode": st.sampled_from(("manual", "webhook", "retry")),
        "trigger": st.sampled_from(({"type": "webhook", "source": "shop"}, {"type": "cron"})),
        "nodeCount": st.integers(0, 5),
        "inputData": _PAYLOADS,
        "retryOf": st.just("exec_0"),
        "tags": st.just(["red"]),
    },
)
_ENDS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    *(("execution.completed", {}), ("execution.cancelled", {}), ("execution.failed", {})),
    *(("execution.failed", {"status": "timeout"}), ("execution.failed", {"status": "crashed"})),
    *(
        ("execution.waiting", {"kind": "timer", "until": format_time(NOON_US)}),
        ("execution.progress", {"completed": 1}),
    ),
)
_NODE_ENDS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    *(("node.completed", {}), ("node.failed", {}), ("node.cancelled", {}), ("node.skipped", {}), ("node.waiting", {})),
    *(("node.failed", {"status": "timeout"}), ("node.failed", {"status": "crashed"}), ("node.progress", {})),
)


@st.composite
def lives(draw: st.DrawFn) -> list[WireEvent]:
    """The events of one execution, in their order."""
    begun = [type_ for type_ in ("execution.queued", "execution.started") if draw(st.booleans())]
    told: list[tuple[str, dict[str, Any]]] = [(type_, draw(_OPENINGS)) for type_ in begun]
    for node_id in draw(st.lists(st.sampled_from("abc"), max_size=4)):
        told += draw(_node_runs(node_id))
    if draw(st.booleans()) or not told:
        type_, data = draw(st.sampled_from(_ENDS))
        told.append((type_, {**data, **draw(_outcomes(type_))}))
    times_ms = accumulate(draw(st.integers(0, 2_500)) for _ in told)
    return [
        {
            "type": type_,
            "id": f"event-{place}",
            "executionId": EXECUTION_ID,
            "workflowId": "wf_1",
            "timestamp": format_time(NOON_US + time_ms * 1000),
            "data": data,
        }
        for place, ((type_, data), time_ms) in enumerate(zip(told, times_ms, strict=True))
    ]


@st.composite
def _node_runs(draw: st.DrawFn, node_id: str) -> list[tuple[str, dict[str, Any]]]:
    run = {"nodeId": node_id, "attempt": draw(st.integers(1, 3))}
    run |= draw(
        st.fixed_dictionaries({}, optional={"nodeName": st.just(f"Node {node_id}"), "nodeType": st.just("http")})
    )
    started = [("node.started", {**run, "inputData": draw(_PAYLOADS)})] if draw(st.booleans()) else []
    type_, data = draw(st.sampled_from(_NODE_ENDS))
    return [*started, (type_, {**run, **data, **draw(_outcomes(type_))})]


def _outcomes(type_: str) -> st.SearchStrategy[dict[str, Any]]:
    optional = {"duration": st.integers(0, 9_000).map(lambda ms: ms / 1000), "outputData": _PAYLOADS}
    return st.fixed_dictionaries({}, optional={**optional, **({"error": _ERRORS} if type_.endswith("failed") else {})})
