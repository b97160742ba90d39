"""What an execution carried and said: `/v1/executions/{id}/data`, `/nodes/{nodeId}/data` and `/logs`."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.access.positions import position_token
from monitor.access.sealing import Sealer
from monitor.errors import InvalidRequest
from monitor.events.codec import parse_time_us
from monitor.events.position import Position
from monitor.executions.reads import Reads
from monitor.projections.loglines import LEVELS
from monitor.web import native
from monitor.web.auth import Authenticate
from monitor.web.params import check_names, take_limit, take_one, take_position, take_word, take_words
from monitor.web.paths import IdRoute
from monitor.web.replies import read_reply

_FORMATS: Final = ("json",)


def routes(*, reads: Reads, sealer: Sealer, authenticate: Authenticate) -> list[Route]:
    """The routes of this file."""
    face = _Face(reads, sealer, authenticate)
    return [
        IdRoute("/v1/executions/{id}/data", face.data),
        IdRoute("/v1/executions/{id}/nodes/{nodeId}/data", face.node_data),
        IdRoute("/v1/executions/{id}/logs", face.logs),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    reads: Reads
    sealer: Sealer
    authenticate: Authenticate

    async def data(self, request: Request) -> Response:
        """Input and output of every node, or of the one that `nodeId` names; `moreNodes` counts what was too large."""
        who, query, execution_id = self.authenticate(request.scope), request.query_params, request.path_params["id"]
        check_names(query, ("nodeId", "format", "minPosition"))
        take_word(query, "format", _FORMATS)
        at_least, node_id = take_position(query, self.sealer), take_one(query, "nodeId")
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

    async def node_data(self, request: Request) -> Response:
        """Input and output of one node."""
        who, query = self.authenticate(request.scope), request.query_params
        check_names(query, ("minPosition",))
        execution_id, node_id = request.path_params["id"], request.path_params["nodeId"]
        run, position = await self.reads.node(who, execution_id, node_id, take_position(query, self.sealer))
        return self._reply(native.node_data(run), position)

    async def logs(self, request: Request) -> Response:
        """The first lines of the log, oldest first; `level` takes several, separated by commas.

        `from` and `to` are both included, in the milliseconds that answers show: a time that stands in an answer, or
        in a stream's `stream.log-gap`, finds its line.
        """
        who, query, execution_id = self.authenticate(request.scope), request.query_params, request.path_params["id"]
        check_names(query, ("level", "nodeId", "from", "to", "limit", "minPosition"))
        from_ms, to_ms = _take_time_ms(query, "from"), _take_time_ms(query, "to")
        if from_ms is not None and to_ms is not None and from_ms > to_ms:
            raise InvalidRequest("'from' is later than 'to'", field="from")
        lines, position = await self.reads.lines(
            who,
            execution_id,
            take_position(query, self.sealer),
            levels=take_words(query, "level", LEVELS) or None,
            node_id=take_one(query, "nodeId"),
            limit=take_limit(query, default=100, most=1000),
            from_us=None if from_ms is None else from_ms * 1000,
            to_us=None if to_ms is None else to_ms * 1000 + 999,
        )
        shown = [native.log_line(line) for line in lines]
        return self._reply({"executionId": execution_id, "logs": shown}, position)

    def _reply(self, document: dict[str, Any], position: Position) -> Response:
        return read_reply(document, position_token(self.sealer, position))


def _take_time_ms(query: QueryParams, name: str) -> int | None:
    said = take_one(query, name)
    try:
        return None if said is None else parse_time_us(said) // 1000
    except ValueError as error:
        raise InvalidRequest(f"'{name}' {error}", field=name) from None
