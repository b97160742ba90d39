"""Statistics as the API spells them. Pure; times are RFC 3339 in UTC, durations seconds."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Final, NotRequired

from typing_extensions import TypedDict

from monitor.events.codec import format_time
from monitor.executions.statistics import Counted, NodesCounted, largest
from monitor.projections.fingerprint import ErrorKind
from monitor.projections.periods import Range
from monitor.projections.status import IN_FLIGHT
from monitor.projections.tally import PERCENTS, Moment, NodeRuns, Sum, by_bucket, percentiles_us
from monitor.web.replies import Timestamp

ENDS: Final = ("success", "failed", "timeout", "cancelled", "crashed")


class Bucket(TypedDict):
    """What ended in one bucket of time; zeros where nothing did."""

    timestamp: Timestamp
    executions: int
    successes: int
    failures: int
    avgTime: float
    minTime: float
    maxTime: float


class WorkflowShare(TypedDict):
    """What ended of one workflow."""

    workflowId: str
    workflowName: str | None
    executions: int
    successRate: float
    avgTime: float


class TriggerShare(TypedDict):
    """What ended of what one type of trigger set off."""

    trigger: str | None
    """Null where nobody said it."""
    executions: int
    successRate: float
    avgTime: float


class ErrorShare(TypedDict):
    """What ended with one kind of error."""

    fingerprint: str
    type: str | None
    message: str | None
    """With what varies replaced: <n>, <text>, <address>."""
    executions: int


class Percentiles(TypedDict):
    """Durations that so many percent did not exceed; null where none is known."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


StatisticsDocument = TypedDict(
    "StatisticsDocument",
    {
        "period": str,
        "granularity": str,
        "from": Timestamp,
        "to": Timestamp,
        "totalExecutions": int,
        "successfulExecutions": int,
        "failedExecutions": int,
        "successRate": float | None,
        "averageExecutionTime": float,
        "minExecutionTime": float,
        "maxExecutionTime": float,
        "percentiles": Percentiles,
        "inFlight": int,
        "data": list[Bucket],
        "byWorkflow": list[WorkflowShare],
        "moreWorkflows": NotRequired[int],
        "byStatus": dict[str, int],
        "byTrigger": list[TriggerShare],
        "byError": list[ErrorShare],
        "moreErrors": NotRequired[int],
    },
)
"""What ended in a range of time."""


class NodeShare(TypedDict):
    """The finished runs of one node."""

    workflowId: str
    workflowName: str | None
    nodeId: str
    executions: int
    failures: int
    """Runs that neither succeeded nor were skipped."""
    byStatus: dict[str, int]
    avgTime: float
    percentiles: Percentiles


NodesDocument = TypedDict(
    "NodesDocument",
    {
        "period": str,
        "from": Timestamp,
        "to": Timestamp,
        "byNode": list[NodeShare],
        "moreNodes": NotRequired[int],
    },
)
"""Nodes by how often they ran."""


def document(asked: Range, counted: Counted) -> StatisticsDocument:
    """What was counted, as the API spells it."""
    tally, names = counted.tally, counted.workflow_names
    by_status = _by_status(tally.moments)
    total = _joined(by_status.values())
    successes = by_status.get("success", Moment()).sum.ended
    found = percentiles_us(by_bucket(tally.durations))
    shown: StatisticsDocument = {
        "period": asked.period,
        "granularity": asked.granularity,
        "from": format_time(asked.start_us),
        "to": format_time(asked.end_us),
        "totalExecutions": total.sum.ended,
        "successfulExecutions": successes,
        "failedExecutions": total.sum.ended - successes,
        "successRate": successes / total.sum.ended if total.sum.ended else None,
        "averageExecutionTime": _seconds(total.sum.mean_us),
        "minExecutionTime": _seconds(total.low_us or 0),
        "maxExecutionTime": _seconds(total.high_us or 0),
        "percentiles": _percentiles(found),
        "inFlight": sum(count for status, count in counted.in_flight.items() if status in IN_FLIGHT),
        "data": _data(asked, tally.moments),
        "byWorkflow": [_workflow_share(key, sums, names) for key, sums in counted.workflows],
        "byStatus": _counts({status: moment.sum for status, moment in by_status.items()}),
        "byTrigger": [_trigger_share(key, sums) for key, sums in largest(tally.triggers)],
        "byError": [_error_share(key, sums, counted.error_kinds) for key, sums in counted.errors],
    }
    more_workflows = len({key for key, _ in tally.workflows}) - len(counted.workflows)
    more_errors = len({key for key, _ in tally.errors}) - len(counted.errors)
    if more_workflows:
        shown["moreWorkflows"] = more_workflows
    if more_errors:
        shown["moreErrors"] = more_errors
    return shown


def nodes_document(asked: Range, counted: NodesCounted) -> NodesDocument:
    """Nodes that were counted, as the API spells them."""
    shown: NodesDocument = {
        "period": asked.period,
        "from": format_time(asked.start_us),
        "to": format_time(asked.end_us),
        "byNode": [_node_share(node, counted.workflow_names) for node in counted.busiest],
    }
    if counted.more:
        shown["moreNodes"] = counted.more
    return shown


def _data(asked: Range, moments: Mapping[tuple[int, str], Moment]) -> list[Bucket]:
    found: dict[int, list[tuple[str, Moment]]] = {at_us: [] for at_us in asked.buckets_us()}
    for (at, status), moment in moments.items():
        found[asked.bucket_us(at * asked.unit_us)].append((status, moment))
    return [_bucket(at_us, ended) for at_us, ended in found.items()]


def _bucket(at_us: int, ended: Sequence[tuple[str, Moment]]) -> Bucket:
    total = _joined(moment for _, moment in ended)
    successes = sum(moment.sum.ended for status, moment in ended if status == "success")
    return {
        "timestamp": format_time(at_us),
        "executions": total.sum.ended,
        "successes": successes,
        "failures": total.sum.ended - successes,
        "avgTime": _seconds(total.sum.mean_us),
        "minTime": _seconds(total.low_us or 0),
        "maxTime": _seconds(total.high_us or 0),
    }


def _by_status(moments: Mapping[tuple[int, str], Moment]) -> dict[str, Moment]:
    found: dict[str, list[Moment]] = {}
    for (_, status), moment in moments.items():
        found.setdefault(status, []).append(moment)
    return {status: _joined(some) for status, some in found.items()}


def _joined(moments: Iterable[Moment]) -> Moment:
    """All of them together, in one pass: there may be thousands."""
    ended = known = total_us = 0
    low_us = high_us = None
    for (more, more_known, more_us), least_us, greatest_us in moments:
        ended, known, total_us = ended + more, known + more_known, total_us + more_us
        if least_us is not None and (low_us is None or least_us < low_us):
            low_us = least_us
        if greatest_us is not None and (high_us is None or greatest_us > high_us):
            high_us = greatest_us
    return Moment(Sum(ended, known, total_us), low_us, high_us)


def _workflow_share(workflow_id: str, sums: Mapping[str, Sum], names: Mapping[str, str]) -> WorkflowShare:
    total = _total(sums)
    return {
        "workflowId": workflow_id,
        "workflowName": names.get(workflow_id),
        "executions": total.ended,
        "successRate": _successes(sums) / total.ended,
        "avgTime": _seconds(total.mean_us),
    }


def _trigger_share(trigger: str, sums: Mapping[str, Sum]) -> TriggerShare:
    total = _total(sums)
    return {
        "trigger": trigger or None,
        "executions": total.ended,
        "successRate": _successes(sums) / total.ended,
        "avgTime": _seconds(total.mean_us),
    }


def _total(sums: Mapping[str, Sum]) -> Sum:
    return reduce(Sum.__add__, sums.values(), Sum())


def _successes(sums: Mapping[str, Sum]) -> int:
    return sums.get("success", Sum()).ended


def _error_share(fingerprint: str, sums: Mapping[str, Sum], kinds: Mapping[str, ErrorKind]) -> ErrorShare:
    kind = kinds.get(fingerprint)
    return {
        "fingerprint": fingerprint,
        "type": kind.type if kind else None,
        "message": kind.pattern if kind else None,
        "executions": sum(one.ended for one in sums.values()),
    }


def _node_share(node: NodeRuns, names: Mapping[str, str]) -> NodeShare:
    counts = {status: one.ended for status, one in node.by_status.items()}
    total = _total(node.by_status)
    return {
        "workflowId": node.workflow_id,
        "workflowName": names.get(node.workflow_id),
        "nodeId": node.node_id,
        "executions": total.ended,
        "failures": total.ended - counts.get("success", 0) - counts.get("skipped", 0),
        "byStatus": counts,
        "avgTime": _seconds(total.mean_us),
        "percentiles": _percentiles(percentiles_us(node.durations)),
    }


def _counts(by_status: Mapping[str, Sum]) -> dict[str, int]:
    """The four documented ends always, others where they occur."""
    others = sorted(by_status.keys() - set(ENDS[:4]))
    return {status: by_status.get(status, Sum()).ended for status in (*ENDS[:4], *others)}


def _percentiles(found_us: Mapping[int, float]) -> Percentiles:
    p50, p90, p95, p99 = (_seconds(found_us[percent]) if percent in found_us else None for percent in PERCENTS)
    return {"p50": p50, "p90": p90, "p95": p95, "p99": p99}


def _seconds(duration_us: float) -> float:
    """To the microsecond, which is what is measured."""
    return round(duration_us / 1_000_000, 6)
