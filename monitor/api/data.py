"""What an execution carried and said: `/v1/executions/{id}/data`, `/nodes/{nodeId}/data` and `/logs`."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import ExecutionNotFound, InvalidRequest, NotFound
from monitor.events.position import Position
from monitor.executions.reads import Reads
from monitor.projections.loglines import LEVELS
from monitor.web import native
from monitor.web.operations import Operation
from monitor.web.params import MIN_POSITION, Limit, Text, Time, Word, Words
from monitor.web.replies import read_reply

_NODE: Final = Text("nodeId", "Of this node alone.")
_FORMAT: Final = Word("format", ("json",), "Form of the answer.")
_LEVEL: Final = Words("level", LEVELS, "Lines of these levels.")
_FROM: Final = Time("from", "Lines from this time on, to the millisecond.")
_TO: Final = Time("to", "Lines up to and including this time, to the millisecond.")
_LIMIT: Final = Limit(default=100, most=1000)
_DATA_QUERY: Final = (_NODE, _FORMAT, MIN_POSITION)
_LOG_QUERY: Final = (_LEVEL, _NODE, _FROM, _TO, _LIMIT, MIN_POSITION)

_MISSING: Final = (ExecutionNotFound, NotFound)


def operations(*, reads: Reads, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(reads, sealer)
    return [
        Operation("GET", "/v1/executions/{id}/data", face.data, "executions:data", query=_DATA_QUERY, errors=_MISSING),
        Operation(
            "GET",
            "/v1/executions/{id}/nodes/{nodeId}/data",
            face.node_data,
            "executions:data",
            query=(MIN_POSITION,),
            errors=_MISSING,
        ),
        Operation(
            "GET",
            "/v1/executions/{id}/logs",
            face.logs,
            "executions:read",
            query=_LOG_QUERY,
            errors=(ExecutionNotFound,),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    reads: Reads
    sealer: Sealer

    async def data(self, request: Request, who: Principal) -> Response:
        """Input and output of every node, or of the one that `nodeId` names; `moreNodes` counts what was too large."""
        query, execution_id = request.query_params, request.path_params["id"]
        _FORMAT.take(query)
        at_least, node_id = MIN_POSITION.take(query, self.sealer), _NODE.take(query)
        more_nodes = 0
        if node_id is None:
            read, position = await self.reads.data(who, execution_id, at_least)
            runs, more_nodes = read.nodes, read.more_nodes
        else:
            run, position = await self.reads.node(who, execution_id, node_id, at_least)
            runs = [run]
        nodes = {run.key[0]: native.node_payloads(run) for run in runs}
        left_out = {"moreNodes": more_nodes} if more_nodes else {}
        return self._reply({"executionId": execution_id, "nodes": nodes, **left_out}, position)

    async def node_data(self, request: Request, who: Principal) -> Response:
        """Input and output of one node."""
        query = request.query_params
        execution_id, node_id = request.path_params["id"], request.path_params["nodeId"]
        run, position = await self.reads.node(who, execution_id, node_id, MIN_POSITION.take(query, self.sealer))
        return self._reply(native.node_data(run), position)

    async def logs(self, request: Request, who: Principal) -> Response:
        """The first lines of the log, oldest first; `level` takes several, separated by commas.

        `from` and `to` are both included, in the milliseconds that answers show: a time that stands in an answer, or
        in a stream's `stream.log-gap`, finds its line.
        """
        query, execution_id = request.query_params, request.path_params["id"]
        from_us, to_us = _millisecond(_FROM.take(query)), _millisecond(_TO.take(query))
        if from_us is not None and to_us is not None and from_us > to_us:
            raise InvalidRequest("'from' is later than 'to'", field="from")
        lines, position = await self.reads.lines(
            who,
            execution_id,
            MIN_POSITION.take(query, self.sealer),
            levels=_LEVEL.take(query) or None,
            node_id=_NODE.take(query),
            limit=_LIMIT.take(query),
            from_us=from_us,
            to_us=None if to_us is None else to_us + 999,
        )
        shown = [native.log_line(line) for line in lines]
        return self._reply({"executionId": execution_id, "logs": shown}, position)

    def _reply(self, document: dict[str, Any], position: Position) -> Response:
        return read_reply(document, position_token(self.sealer, position))


def _millisecond(at_us: int | None) -> int | None:
    return None if at_us is None else at_us // 1000 * 1000
