"""`GET /v1/executions/statistics` and `.../statistics/nodes`: how many ended, how, and how long they took.

Formulas. `totalExecutions` are those that ended in the range, each counted once, in the hour of its end (RFC 3339,
UTC); a late correction moves it. `successRate` is the fraction of them that succeeded; whatever else ended counts as
failed, a cancelled one too. `averageExecutionTime` is the mean of the known durations. `percentiles` are durations at
rank ceil(p * n); they, the least and the greatest are within 2 %, and exact in minutes. What has not ended is
`inFlight`. Deleted executions stay counted. Durations are seconds.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.api.statistics_documents import ENDS, NodesDocument, StatisticsDocument, document, nodes_document
from monitor.clock import Clock
from monitor.errors import InvalidRequest
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.executions.statistics import Statistics, Tests
from monitor.projections.periods import GRANULARITIES, PERIODS, Granularity, Range, range_of
from monitor.web.operations import Answer, Operation
from monitor.web.params import MIN_POSITION, Text, Time, Word, Words
from monitor.web.replies import read_reply

_PERIOD: Final = Word("period", tuple(PERIODS), "How far back, from now on; 24h where nothing is said.")
_FROM: Final = Time("from", "From the hour of this time on, instead of a period.")
_TO: Final = Time("to", "Up to the end of this time's hour; now where nothing is said.")
_GRANULARITY: Final = Word("granularity", GRANULARITIES, "Length of a bucket of `data`; minutes for the last day.")
_WORKFLOW: Final = Text("workflowId", "Of this workflow alone.", "printable")
_STATUS: Final = Words("status", (*ENDS, "skipped"), "What ended like this; nodes alone are skipped.")
_TRIGGER: Final = Text("trigger", "What was set off by this type of trigger.", "printable")
_ERROR: Final = Text("error", "What ended with this error: a `fingerprint` of `byError`.", "printable")
_NODE: Final = Text("nodeId", "Finished runs of this node instead of executions.", "printable")
_QUERY: Final = (_PERIOD, _FROM, _TO, _GRANULARITY, _WORKFLOW, _STATUS, _TRIGGER, _ERROR, _NODE, MIN_POSITION)
_NODES_QUERY: Final = (_PERIOD, _FROM, _TO, _WORKFLOW, _STATUS, _ERROR, _NODE, MIN_POSITION)


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
        shown, position = await self.statistics.counted(who, asked, tests, at_least, partial(document, asked))
        return read_reply(shown, position_token(self.sealer, position))

    async def nodes(self, request: Request, who: Principal) -> Response:
        """Finished runs by node, those that ran most often first; nodes are told apart within their workflow."""
        query = request.query_params
        tests, asked = _tests(query), self._range(query, "day")
        at_least = MIN_POSITION.take(query, self.sealer)
        shown, position = await self.statistics.nodes(who, asked, tests, at_least, partial(nodes_document, asked))
        return read_reply(shown, position_token(self.sealer, position))

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
