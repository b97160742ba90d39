"""What an execution carried and said: `/v1/executions/{id}/data`, `/nodes/{nodeId}/data` and `/logs`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import ExecutionNotFound, HistoryGone, InvalidRequest, NotFound, TooLarge
from monitor.events.position import Position
from monitor.executions.contents import NodeRun
from monitor.executions.lines import AskedLines
from monitor.executions.reads import Reads
from monitor.executions.reveals import Reveals
from monitor.projections.loglines import LEVELS, Spot
from monitor.web import native
from monitor.web.cursors import TwoWayPagination, open_line_turn, turn_token
from monitor.web.data_csv import data_csv, too_large
from monitor.web.native_answers import LogEntry, NodeData, NodePayloads
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, MIN_POSITION, REVEAL, Limit, Number, Phrase, Text, Time, Word, Words
from monitor.web.replies import POSITION_HEADER, read_reply
from monitor.web.revealing import reveals_refused

_NODE: Final = Text("nodeId", "Of this node alone.")
_FORMAT: Final = Word(
    "format",
    ("json", "csv", "raw"),
    "Form of the answer: lists of items; a table of them; or what engines told, which need not be a list.",
)
_ITERATION: Final = Number("iteration", 0, "The node's run of this turn of a loop.")
_ATTEMPT: Final = Number("attempt", 1, "The node's run of this try.")
_LEVEL: Final = Words("level", LEVELS, "Lines of these levels.")
_FROM: Final = Time("from", "Lines from this time on, to the millisecond.")
_TO: Final = Time("to", "Lines up to and including this time, to the millisecond.")
_LIMIT: Final = Limit(default=100, most=1000)
_DATA_QUERY: Final = (_NODE, _FORMAT, MIN_POSITION, REVEAL)
_TEXT: Final = Phrase("q", "Lines with this text in their message, whatever the case.")
_ORDER: Final = Word("order", ("asc", "desc"), "asc, the default: the oldest first; desc: the latest first.")
_LOG_QUERY: Final = (_LEVEL, _NODE, _FROM, _TO, _TEXT, _ORDER, _LIMIT, CURSOR, MIN_POSITION)

_MISSING: Final = (ExecutionNotFound, NotFound)


class ExecutionData(TypedDict):
    """Input and output of the nodes of an execution."""

    executionId: str
    nodes: dict[str, NodePayloads]
    """By id of the node."""
    moreNodes: NotRequired[int]
    """How many were left out, since they were too large; each has an address of its own."""


class ExecutionLog(TypedDict):
    """A page of an execution's log."""

    executionId: str
    logs: list[LogEntry]
    pagination: TwoWayPagination


def operations(*, reads: Reads, reveals: Reveals, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(reads, reveals, sealer)
    return [
        Operation(
            "GET",
            "/v1/executions/{id}/data",
            face.data,
            "executions:data",
            query=_DATA_QUERY,
            answers=(Answer(ExecutionData), Answer(media_types=("text/csv",))),
            errors=(*_MISSING, HistoryGone, TooLarge),
            on_refused=reveals_refused(reveals, "data"),
        ),
        Operation(
            "GET",
            "/v1/executions/{id}/nodes/{nodeId}/data",
            face.node_data,
            "executions:data",
            query=(_ITERATION, _ATTEMPT, MIN_POSITION, REVEAL),
            answers=(Answer(NodeData),),
            errors=(*_MISSING, HistoryGone, TooLarge),
            on_refused=reveals_refused(reveals, "node"),
        ),
        Operation(
            "GET",
            "/v1/executions/{id}/logs",
            face.logs,
            "executions:read",
            query=_LOG_QUERY,
            answers=(Answer(ExecutionLog),),
            name="getExecutionLogs",
            errors=(ExecutionNotFound,),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    reads: Reads
    reveals: Reveals
    sealer: Sealer

    async def data(self, request: Request, who: Principal) -> Response:
        """Input and output of every node, or of the one that `nodeId` names; `moreNodes` counts what was too large.

        As CSV a row for each item: node, direction, place, and the members of the item's `json`, or of the item itself
        where it has none; what has no members stands under `value`. A CSV is whole, or refused as too large.
        """
        query, execution_id = request.query_params, request.path_params["id"]
        format_ = _FORMAT.take(query)
        at_least, node_id = MIN_POSITION.take(query, self.sealer), _NODE.take(query)
        reveal = REVEAL.take(query)
        source = self.reveals if reveal else self.reads
        more_nodes = 0
        if node_id is None:
            read, position = await source.data(who, execution_id, at_least)
            runs, more_nodes = read.nodes, read.more_nodes
        else:
            found, position = await source.node(who, execution_id, node_id, at_least)
            runs = [found.shown]
        if format_ == "csv":
            return await self._csv(runs, more_nodes, position)
        payloads = native.raw_payloads if format_ == "raw" else native.node_payloads
        nodes = {run.key[0]: payloads(run) for run in runs}
        document: ExecutionData = {"executionId": execution_id, "nodes": nodes}
        if more_nodes:
            document["moreNodes"] = more_nodes
        return self._reply(document, position, secret=reveal)

    async def node_data(self, request: Request, who: Principal) -> Response:
        """Input and output of one node in its latest run, or in the one that is asked for; and a list of its runs."""
        query = request.query_params
        reveal = REVEAL.take(query)
        source = self.reveals if reveal else self.reads
        runs, position = await source.node(
            who,
            request.path_params["id"],
            request.path_params["nodeId"],
            MIN_POSITION.take(query, self.sealer),
            iteration=_ITERATION.take(query),
            attempt=_ATTEMPT.take(query),
        )
        return self._reply(native.node_data(runs), position, secret=reveal)

    async def _csv(self, runs: Sequence[NodeRun], more_nodes: int, position: Position) -> Response:
        if more_nodes:
            raise too_large()
        content = await asyncio.to_thread(data_csv, runs)
        headers = {POSITION_HEADER: position_token(self.sealer, position), "cache-control": "no-store"}
        return Response(content, headers=headers, media_type="text/csv")

    async def logs(self, request: Request, who: Principal) -> Response:
        """A page of the log, oldest lines first, or with `order=desc` the latest; `level` takes several, with commas.

        `from` and `to` are both included, in the milliseconds that answers show: a time that stands in an answer, or
        in a stream's `stream.log-gap`, finds its line.
        """
        query, execution_id = request.query_params, request.path_params["id"]
        from_us, to_us = _millisecond(_FROM.take(query)), _millisecond(_TO.take(query))
        if from_us is not None and to_us is not None and from_us > to_us:
            raise InvalidRequest("'from' is later than 'to'", field="from")
        limit, order, text = _LIMIT.take(query), _ORDER.take(query) or "asc", _TEXT.take(query)
        levels, node_id, cursor = _LEVEL.take(query), _NODE.take(query), CURSOR.take(query)
        asked_for = (order, text, node_id, from_us, to_us, sorted(levels))
        question = ("logs", who.team, execution_id, *map(repr, asked_for))
        beyond, backwards = (None, False) if cursor is None else open_line_turn(self.sealer, question, cursor)
        asked = AskedLines(
            levels=levels or None,
            node_id=node_id,
            limit=limit,
            from_us=from_us,
            to_us=None if to_us is None else to_us + 999,
            text=text,
            falling=order == "desc",
            beyond=beyond,
            backwards=backwards,
        )
        page, position = await self.reads.lines(who, execution_id, MIN_POSITION.take(query, self.sealer), asked)
        pagination: TwoWayPagination = {
            "limit": limit,
            "hasMore": page.after is not None,
            "nextCursor": self._turn(question, page.after, backwards=False),
            "previousCursor": self._turn(question, page.before, backwards=True),
        }
        document: ExecutionLog = {
            "executionId": execution_id,
            "logs": [native.log_line(line) for line in page.lines],
            "pagination": pagination,
        }
        return self._reply(document, position)

    def _turn(self, question: Sequence[str], spot: Spot | None, *, backwards: bool) -> str | None:
        return None if spot is None else turn_token(self.sealer, question, spot, backwards=backwards)

    def _reply(self, document: object, position: Position, *, secret: bool = False) -> Response:
        return read_reply(document, position_token(self.sealer, position), secret=secret)


def _millisecond(at_us: int | None) -> int | None:
    return None if at_us is None else at_us // 1000 * 1000
