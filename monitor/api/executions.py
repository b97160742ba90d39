"""`GET /v1/executions` and `GET /v1/executions/{id}`: lists by filter, sort and cursor, and one execution in detail.

Strict: unknown parameters, filter words, sort keys and cursors are refused by name. Every answer tells the position
that it was read at, and `minPosition` asks for one that is at least as new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.executions.reads import Asked, Listed, Reads
from monitor.projections.filter import parse_query
from monitor.store.base import Sort
from monitor.web import native
from monitor.web.auth import Authenticate
from monitor.web.cursors import After, cursor_token, open_cursor
from monitor.web.params import check_names, take_limit, take_one, take_position, take_word, take_words
from monitor.web.paths import IdRoute
from monitor.web.replies import read_reply, versioned_reply

_LIST_PARAMETERS: Final = ("limit", "cursor", "sort", "include", "minPosition", "filter[...]")
_LIST_INCLUDES: Final = ("data", "error", "metadata")
_GET_PARAMETERS: Final = ("include", "minPosition")
_GET_INCLUDES: Final = ("data", "error", "logs", "metadata")
_SORTS: Final[Sequence[Sort]] = get_args(Sort)
_NEWEST_FIRST: Final[Sort] = "-startedAt"


def routes(*, reads: Reads, sealer: Sealer, clock: Clock, authenticate: Authenticate) -> list[Route]:
    """The routes of this file."""
    face = _Face(reads, sealer, clock, authenticate)
    return [Route("/v1/executions", face.listing), IdRoute("/v1/executions/{id}", face.single)]


@dataclass(frozen=True, slots=True)
class _Face:
    reads: Reads
    sealer: Sealer
    clock: Clock
    authenticate: Authenticate

    async def listing(self, request: Request) -> Response:
        """A page of executions; `error` and `metadata` are always there, `include=data` adds the payloads."""
        who, query = self.authenticate(request.scope), request.query_params
        check_names(query, _LIST_PARAMETERS, filters=True)
        include = take_words(query, "include", _LIST_INCLUDES)
        sort, filters = _sort(query), [pair for pair in query.multi_items() if pair[0].startswith("filter")]
        question = _question(who, sort, filters)
        asked = Asked(
            filter=parse_query(filters, self.clock.now_us()),
            sort=sort,
            limit=take_limit(query, default=20, most=100),
            after=self._after(query, question),
            with_data="data" in include,
        )
        listed, position = await self.reads.listed(who, asked, take_position(query, self.sealer))
        document = {
            "data": [native.execution(row) for row in listed.rows],
            "pagination": self._pagination(listed, asked.limit, question),
        }
        return read_reply(document, position_token(self.sealer, position))

    async def single(self, request: Request) -> Response:
        """One execution; its version is the ETag."""
        who, query = self.authenticate(request.scope), request.query_params
        check_names(query, _GET_PARAMETERS)
        include = take_words(query, "include", _GET_INCLUDES)
        found, position = await self.reads.execution(
            who,
            request.path_params["id"],
            take_position(query, self.sealer),
            with_data="data" in include,
            with_lines="logs" in include,
        )
        token = position_token(self.sealer, position)
        return versioned_reply(request, native.execution(found), token, found.summary.version)

    def _after(self, query: QueryParams, question: Sequence[str]) -> After | None:
        cursor = take_one(query, "cursor")
        return None if cursor is None else open_cursor(self.sealer, question, cursor)

    def _pagination(self, listed: Listed, limit: int, question: Sequence[str]) -> dict[str, Any]:
        """`totalIsLowerBound` stands there only where counting was given up."""
        return {
            "limit": limit,
            "hasMore": listed.after is not None,
            "nextCursor": cursor_token(self.sealer, question, listed.after) if listed.after else None,
            "total": listed.total,
            **({"totalIsLowerBound": True} if listed.total_is_lower_bound else {}),
        }


def _sort(query: QueryParams) -> Sort:
    said = take_word(query, "sort", _SORTS)
    return next((sort for sort in _SORTS if sort == said), _NEWEST_FIRST)


def _question(who: Principal, sort: Sort, filters: Sequence[tuple[str, str]]) -> list[str]:
    """What a cursor belongs to. Filters as they were sent: a relative date range means another time on every page."""
    return ["executions", who.team, sort, *sorted(f"{name}={value}" for name, value in filters)]
