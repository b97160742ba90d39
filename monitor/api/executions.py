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

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.executions.reads import Asked, Listed, Reads
from monitor.projections.filter import parse_query
from monitor.store.base import Sort
from monitor.web import native
from monitor.web.auth import permit
from monitor.web.cursors import After, cursor_token, open_cursor
from monitor.web.operations import Operation
from monitor.web.params import CURSOR, FILTERS, MIN_POSITION, Limit, Word, Words
from monitor.web.replies import read_reply, versioned_reply

_SORTS: Final[Sequence[Sort]] = get_args(Sort)
_LIMIT: Final = Limit(default=20, most=100)
_SORT: Final = Word("sort", _SORTS, "Order of the list; - turns it round.")
_LIST_INCLUDE: Final = Words(
    "include", ("data", "error", "metadata"), "data adds payloads; the others are always there."
)
_LIST_PARAMETERS: Final = (_LIMIT, CURSOR, _SORT, _LIST_INCLUDE, MIN_POSITION, FILTERS)
_GET_INCLUDE: Final = Words(
    "include", ("data", "error", "logs", "metadata"), "data adds payloads, logs the first lines of the log."
)
_GET_PARAMETERS: Final = (_GET_INCLUDE, MIN_POSITION)
_NEWEST_FIRST: Final[Sort] = "-startedAt"


def operations(*, reads: Reads, sealer: Sealer, clock: Clock) -> list[Operation]:
    """The operations of this file."""
    face = _Face(reads, sealer, clock)
    return [
        Operation("GET", "/v1/executions", face.listing, "executions:read", query=_LIST_PARAMETERS),
        Operation("GET", "/v1/executions/{id}", face.single, "executions:read", query=_GET_PARAMETERS),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    reads: Reads
    sealer: Sealer
    clock: Clock

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of executions; `error` and `metadata` are always there, `include=data` adds the payloads."""
        query = request.query_params
        include = _take_include(query, _LIST_INCLUDE, who)
        sort, filters = _sort(query), FILTERS.take(query)
        question = _question(who, sort, filters)
        asked = Asked(
            filter=parse_query(filters, self.clock.now_us()),
            sort=sort,
            limit=_LIMIT.take(query),
            after=self._after(query, question),
            with_data="data" in include,
        )
        listed, position = await self.reads.listed(who, asked, MIN_POSITION.take(query, self.sealer))
        document = {
            "data": [native.execution(row) for row in listed.rows],
            "pagination": self._pagination(listed, asked.limit, question),
        }
        return read_reply(document, position_token(self.sealer, position))

    async def single(self, request: Request, who: Principal) -> Response:
        """One execution; its version is the ETag."""
        query = request.query_params
        include = _take_include(query, _GET_INCLUDE, who)
        found, position = await self.reads.execution(
            who,
            request.path_params["id"],
            MIN_POSITION.take(query, self.sealer),
            with_data="data" in include,
            with_lines="logs" in include,
        )
        token = position_token(self.sealer, position)
        return versioned_reply(request, native.execution(found), token, found.summary.version)

    def _after(self, query: QueryParams, question: Sequence[str]) -> After | None:
        cursor = CURSOR.take(query)
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


def _take_include(query: QueryParams, include: Words, who: Principal) -> frozenset[str]:
    words = include.take(query)
    if "data" in words:
        permit(who, "executions:data")
    return words


def _sort(query: QueryParams) -> Sort:
    said = _SORT.take(query)
    return next((sort for sort in _SORTS if sort == said), _NEWEST_FIRST)


def _question(who: Principal, sort: Sort, filters: Sequence[tuple[str, str]]) -> list[str]:
    """What a cursor belongs to. Filters as they were sent: a relative date range means another time on every page."""
    return ["executions", who.team, sort, *sorted(f"{name}={value}" for name, value in filters)]
