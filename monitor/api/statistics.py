"""`GET /v1/executions/statistics` and `.../statistics/nodes`: how many ended, how, and how long they took.

Formulas. `totalExecutions` are those that ended in the range, each counted once, in the hour of its end (RFC 3339,
UTC); a late correction moves it. `successRate` is the fraction of them that succeeded; whatever else ended counts as
failed, a cancelled one too. `averageExecutionTime` is the mean of the known durations. `percentiles` are durations at
rank ceil(p * n); they, the least and the greatest are within 2 %, and exact in minutes. What has not ended is
`inFlight`. Deleted executions stay counted. Durations are seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from heapq import nsmallest
from typing import Final, NotRequired

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidRequest
from monitor.events.codec import format_time
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.executions.statistics import MOST_ENTRIES, Counted, Statistics, Tests, largest
from monitor.projections.fingerprint import ErrorKind
from monitor.projections.periods import GRANULARITIES, PERIODS, Granularity, Range, range_of
from monitor.projections.status import IN_FLIGHT
from monitor.projections.tally import PERCENTS, Moment, NodeRuns, Sum, by_bucket, percentiles_us
from monitor.web.operations import Answer, Operation
from monitor.web.params import MIN_POSITION, Text, Time, Word, Words
from monitor.web.replies import Timestamp, read_reply

_ENDS: Final = ("success", "failed", "timeout", "cancelled", "crashed")
_PERIOD: Final = Word("period", tuple(PERIODS), "How far back, from now on; 24h where nothing is said.")
_FROM: Final = Time("from", "From the hour of this time on, instead of a period.")
_TO: Final = Time("to", "Up to the end of this time's hour; now where nothing is said.")
_GRANULARITY: Final = Word("granularity", GRANULARITIES, "Length of a bucket of `data`; minutes for the last day.")
_WORKFLOW: Final = Text("workflowId", "Of this workflow alone.", "printable")
_STATUS: Final = Words("status", (*_ENDS, "skipped"), "What ended like this; nodes alone are skipped.")
_TRIGGER: Final = Text("trigger", "What was set off by this type of trigger.", "printable")
_ERROR: Final = Text("error", "What ended with this error: a `fingerprint` of `byError`.", "printable")
_NODE: Final = Text("nodeId", "Finished runs of this node instead of executions.", "printable")
_QUERY: Final = (_PERIOD, _FROM, _TO, _GRANULARITY, _WORKFLOW, _STATUS, _TRIGGER, _ERROR, _NODE, MIN_POSITION)
_NODES_QUERY: Final = (_PERIOD, _FROM, _TO, _WORKFLOW, _STATUS, _ERROR, _NODE, MIN_POSITION)


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


def operations(*, statistics: Statistics, sealer: Sealer, clock: Clock) -> list[Operation]:
    """The operations of this file."""
    face = _Face(statistics, sealer, clock)
    return [
        Operation(
            "GET",
            "/v1/executions/statistics",
            face.everything,
            "executions:read",
            query=_QUERY,
            answers=(Answer(StatisticsDocument),),
        ),
        Operation(
            "GET",
            "/v1/executions/statistics/nodes",
            face.nodes,
            "executions:read",
            query=_NODES_QUERY,
            answers=(Answer(NodesDocument),),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    statistics: Statistics
    sealer: Sealer
    clock: Clock

    async def everything(self, request: Request, who: Principal) -> Response:
        """What ended in a range of time: totals, durations, and by time, workflow, status, trigger and error.

        Each execution counts once, in the hour of its end. `successRate` is the fraction of those that ended;
        `averageExecutionTime` the mean of the known durations; percentiles, least and greatest are within 2 %. `data`
        covers the whole range, with zeros where nothing ended. With `nodeId` finished runs of that node are counted.
        """
        query = request.query_params
        tests, granularity = _tests(query), _granularity(query)
        if tests.node_id is not None:
            if tests.trigger is not None:
                raise InvalidRequest("'trigger' tells executions apart, not runs of a node", field="trigger")
            if granularity == "minute":
                raise InvalidRequest("runs of a node are counted by the hour", field="granularity")
            granularity = granularity or "hour"
        asked = self._range(query, granularity)
        at_least = MIN_POSITION.take(query, self.sealer)
        counted, position = await self.statistics.counted(who, asked, tests, at_least)
        return read_reply(document(asked, counted), position_token(self.sealer, position))

    async def nodes(self, request: Request, who: Principal) -> Response:
        """Finished runs by node, those that ran most often first; nodes are told apart within their workflow."""
        query = request.query_params
        tests, asked = _tests(query), self._range(query, "day")
        at_least = MIN_POSITION.take(query, self.sealer)
        (nodes, names), position = await self.statistics.nodes(who, asked, tests, at_least)
        # Percentiles of those alone that are told: there may be tens of thousands.
        busiest = nsmallest(MOST_ENTRIES, nodes, key=_ease)
        answer: NodesDocument = {
            "period": asked.period,
            "from": format_time(asked.start_us),
            "to": format_time(asked.end_us),
            "byNode": [_node_share(node, names) for node in busiest],
        }
        if len(nodes) > MOST_ENTRIES:
            answer["moreNodes"] = len(nodes) - MOST_ENTRIES
        return read_reply(answer, position_token(self.sealer, position))

    def _range(self, query: QueryParams, granularity: Granularity | None) -> Range:
        return range_of(
            period=_PERIOD.take(query),
            from_us=_FROM.take(query),
            to_us=_TO.take(query),
            granularity=granularity,
            now_us=self.clock.now_us(),
        )


def _granularity(query: QueryParams) -> Granularity | None:
    said = _GRANULARITY.take(query)
    return next((word for word in GRANULARITIES if word == said), None)


def _tests(query: QueryParams) -> Tests:
    # What an address does not take is refused before; there is nothing of it here.
    statuses = tuple(sorted(_STATUS.take(query))) or None
    return Tests(_word(query, _WORKFLOW), statuses, _word(query, _TRIGGER), _word(query, _ERROR), _word(query, _NODE))


def _word(query: QueryParams, parameter: Text) -> str | None:
    said = parameter.take(query)
    if said is not None and not (0 < len(said) <= MAX_ID_CHARACTERS and said.isprintable()):
        message = f"'{parameter.name}' is 1 to {MAX_ID_CHARACTERS} printable characters"
        raise InvalidRequest(message, field=parameter.name)
    return said


# --- the document ----------------------------------------------------------------------------------------------------


def document(asked: Range, counted: Counted) -> StatisticsDocument:
    """What was counted, as the API spells it."""
    tally, names = counted.tally, counted.workflow_names
    by_status = _by_status(tally.moments)
    total = _joined(by_status.values())
    successes = by_status.get("success", Moment()).sum.ended
    found = percentiles_us(by_bucket(tally.durations))
    workflows, errors = largest(tally.workflows), largest(tally.errors)
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
        "byWorkflow": [_workflow_share(key, sums, names) for key, sums in workflows],
        "byStatus": _counts({status: moment.sum for status, moment in by_status.items()}),
        "byTrigger": [_trigger_share(key, sums) for key, sums in largest(tally.triggers)],
        "byError": [_error_share(key, sums, counted.error_kinds) for key, sums in errors],
    }
    more_workflows = len({key for key, _ in tally.workflows}) - len(workflows)
    more_errors = len({key for key, _ in tally.errors}) - len(errors)
    if more_workflows:
        shown["moreWorkflows"] = more_workflows
    if more_errors:
        shown["moreErrors"] = more_errors
    return shown


def _data(asked: Range, moments: Mapping[tuple[int, str], Moment]) -> list[Bucket]:
    found: dict[int, dict[str, Moment]] = {at_us: {} for at_us in asked.buckets_us()}
    for (at, status), moment in moments.items():
        bucket = found[asked.bucket_us(at * asked.unit_us)]
        bucket[status] = bucket.get(status, Moment()).joined(moment)
    return [_bucket(at_us, by_status) for at_us, by_status in found.items()]


def _bucket(at_us: int, by_status: Mapping[str, Moment]) -> Bucket:
    total, successes = _joined(by_status.values()), by_status.get("success", Moment()).sum.ended
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
    found: dict[str, Moment] = {}
    for (_, status), moment in moments.items():
        found[status] = found.get(status, Moment()).joined(moment)
    return found


def _joined(moments: Iterable[Moment]) -> Moment:
    return reduce(Moment.joined, moments, Moment())


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


def _ease(node: NodeRuns) -> tuple[int, str, str]:
    """Smallest for the node that ran most often."""
    return -sum(one.ended for one in node.by_status.values()), node.workflow_id, node.node_id


def _counts(by_status: Mapping[str, Sum]) -> dict[str, int]:
    """The four documented ends always, others where they occur."""
    others = sorted(by_status.keys() - set(_ENDS[:4]))
    return {status: by_status.get(status, Sum()).ended for status in (*_ENDS[:4], *others)}


def _percentiles(found_us: Mapping[int, float]) -> Percentiles:
    p50, p90, p95, p99 = (_seconds(found_us[percent]) if percent in found_us else None for percent in PERCENTS)
    return {"p50": p50, "p90": p90, "p95": p95, "p99": p99}


def _seconds(duration_us: float) -> float:
    """To the microsecond, which is what is measured."""
    return round(duration_us / 1_000_000, 6)
