"""`GET /v1/executions` and `GET /v1/executions/{id}`: lists by filter, sort and cursor, and one execution in detail.

Strict: unknown parameters, filter words, sort keys and cursors are refused by name. Every answer tells the position
that it was read at, and `minPosition` asks for one that is at least as new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.positions import open_position, position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import (
    ExecutionNotFound,
    HistoryGone,
    InvalidCursor,
    InvalidFilter,
    InvalidPosition,
    InvalidRequest,
    TooLarge,
)
from monitor.events.codec import parse_time_us
from monitor.events.position import Position
from monitor.executions.history import History
from monitor.executions.pages import Listed
from monitor.executions.reads import Asked, Reads
from monitor.projections.filter import parse_query
from monitor.store.execution_port import Sort
from monitor.web import native
from monitor.web.auth import permit
from monitor.web.cursors import After, FullPagination, open_turn, turn_token
from monitor.web.native_answers import Execution, ExecutionList
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, FILTERS, MIN_POSITION, Limit, Phrase, Word, Words
from monitor.web.replies import IF_NONE_MATCH, read_reply, versioned_reply

_SORTS: Final[Sequence[Sort]] = get_args(Sort)
_LIMIT: Final = Limit(default=20, most=100)
_SORT: Final = Word("sort", _SORTS, "Order of the list; - turns it round.")
_LIST_INCLUDE: Final = Words(
    "include", ("data", "error", "metadata"), "data adds payloads; the others are always there."
)
_TEXT: Final = Phrase("q", "Executions with this text in their error (`type: message`), or that ran a node so named.")
_LIST_PARAMETERS: Final = (_LIMIT, CURSOR, _SORT, _TEXT, _LIST_INCLUDE, MIN_POSITION, FILTERS)
_GET_INCLUDE: Final = Words(
    "include", ("data", "error", "logs", "metadata"), "data adds payloads, logs the first lines of the log."
)
_AS_OF: Final = Phrase("asOf", "The execution as it was at this position, or at this time of its events' arrival.")
_GET_PARAMETERS: Final = (_GET_INCLUDE, _AS_OF, MIN_POSITION)
_NEWEST_FIRST: Final[Sort] = "-startedAt"


def operations(*, reads: Reads, history: History, sealer: Sealer, clock: Clock) -> list[Operation]:
    """The operations of this file."""
    face = _Face(reads, history, sealer, clock)
    return [
        Operation(
            "GET",
            "/v1/executions",
            face.listing,
            "executions:read",
            query=_LIST_PARAMETERS,
            answers=(Answer(ExecutionList),),
            errors=(InvalidCursor, InvalidFilter),
        ),
        Operation(
            "GET",
            "/v1/executions/{id}",
            face.single,
            "executions:read",
            query=_GET_PARAMETERS,
            headers=(IF_NONE_MATCH,),
            answers=(Answer(Execution, headers=("etag",)), Answer(status=304, headers=("etag",))),
            errors=(ExecutionNotFound, HistoryGone, TooLarge),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    reads: Reads
    history: History
    sealer: Sealer
    clock: Clock

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of executions; `error` and `metadata` are always there, `include=data` adds the payloads."""
        query = request.query_params
        include = _take_include(query, _LIST_INCLUDE, who)
        sort, filters = _sort(query), FILTERS.take(query)
        text = _TEXT.take(query)
        question = [*_question(who, sort, filters), f"q={text or ''}"]
        after, backwards = self._start(query, question)
        asked = Asked(
            filter=parse_query(filters, self.clock.now_us()),
            sort=sort,
            limit=_LIMIT.take(query),
            after=after,
            with_data="data" in include,
            backwards=backwards,
            text=text,
        )
        listed, position = await self.reads.listed(who, asked, MIN_POSITION.take(query, self.sealer))
        document: ExecutionList = {
            "data": [native.execution(row) for row in listed.rows],
            "pagination": self._pagination(listed, asked.limit, question),
        }
        return read_reply(document, position_token(self.sealer, position))

    async def single(self, request: Request, who: Principal) -> Response:
        """One execution; its version is the ETag. With `asOf` as it was then, folded from its own events."""
        query = request.query_params
        include = _take_include(query, _GET_INCLUDE, who)
        at_least, moment = MIN_POSITION.take(query, self.sealer), self._moment(query)
        wanted = {"with_data": "data" in include, "with_lines": "logs" in include}
        if moment is None:
            found, position = await self.reads.execution(who, request.path_params["id"], at_least, **wanted)
        else:
            found, position = await self.history.as_of(who, request.path_params["id"], moment, **wanted)
        token = position_token(self.sealer, position)
        return versioned_reply(request, native.execution(found), token, found.summary.version)

    def _moment(self, query: QueryParams) -> Position | int | None:
        said = _AS_OF.take(query)
        if said is None:
            return None
        try:
            if ":" in said:
                return parse_time_us(said)
            return open_position(self.sealer, said)
        except ValueError as error:
            raise InvalidRequest(f"'asOf' {error}", field="asOf") from None
        except InvalidPosition as error:
            raise InvalidPosition(error.message, field="asOf") from None

    def _start(self, query: QueryParams, question: Sequence[str]) -> tuple[After | None, bool]:
        cursor = CURSOR.take(query)
        return (None, False) if cursor is None else open_turn(self.sealer, question, cursor)

    def _turn(self, question: Sequence[str], after: After | None, *, backwards: bool) -> str | None:
        return None if after is None else turn_token(self.sealer, question, after, backwards=backwards)

    def _pagination(self, listed: Listed, limit: int, question: Sequence[str]) -> FullPagination:
        shown: FullPagination = {
            "limit": limit,
            "hasMore": listed.after is not None,
            "nextCursor": self._turn(question, listed.after, backwards=False),
            "previousCursor": self._turn(question, listed.before, backwards=True),
            "total": listed.total,
        }
        if listed.total_is_lower_bound:
            shown["totalIsLowerBound"] = True
        return shown


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
