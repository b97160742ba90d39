"""Reading executions: lists, one execution, its data and its log, each from one snapshot that knows its position.

Every question is a principal's and sees its team alone: another team's execution is not found. `at_least` makes a read
wait until the state has got that far. Called by the native face and the dialects, which do the spelling.
"""

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from monitor.access.principal import Principal
from monitor.errors import PositionNotReached
from monitor.events.position import Position
from monitor.executions.contents import (
    MAX_DATA_BYTES,
    MAX_NODES_INLINE,
    MAX_PAGE_BYTES,
    Data,
    Found,
    NodeRuns,
    data_of,
    runs_of,
)
from monitor.executions.finding import find_execution
from monitor.executions.lines import AskedLines, LinePage, line_page, lines_for
from monitor.executions.pages import Listed, list_page, more_of
from monitor.fanout.hub import Hub
from monitor.projections.filter import Filter
from monitor.store.base import Reader, Store
from monitor.store.execution_port import ListQuery, Sort
from monitor.store.searching import fold_text

T = TypeVar("T")

MAX_WAIT_S: Final = 2.0
"""How long a read waits for its position: longer than any healthy commit takes, shorter than a client's patience."""

FIRST_LINES: Final = 100
"""Log lines shown within an execution."""


class Reading(NamedTuple, Generic[T]):
    """An answer, and how far the snapshot was folded that it was read from."""

    value: T
    position: Position


class Asked(NamedTuple):
    """A page of a list."""

    filter: Filter
    sort: Sort
    limit: int
    # Where the page starts, as `Listed` told it.
    after: tuple[int | None, int] | None
    with_data: bool
    # The total and whether it is a lower bound, where a page before told them: they are not counted again.
    counted: tuple[int, bool] | None = None
    # The page ends before that row instead.
    backwards: bool = False
    # Of each node every run instead of the latest one, where data is read.
    every_run: bool = False
    # The latest run of every node, without payloads.
    with_nodes: bool = False
    # Rows before the page, where pages have numbers instead of cursors.
    skip: int = 0
    # Only what has this in its error or in the name of a node that it ran.
    text: str | None = None


class Reads:
    """The reading half of the desk. Every method raises PositionNotReached, InvalidPosition and StoreUnavailable."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    async def listed(self, who: Principal, asked: Asked, at_least: Position | None) -> Reading[Listed]:
        """A page of the team's executions."""
        text = None if asked.text is None else fold_text(asked.text)
        query = ListQuery(
            who.team,
            asked.filter,
            asked.sort,
            asked.limit,
            asked.after,
            counted=asked.counted,
            backwards=asked.backwards,
            skip=asked.skip,
            text=text,
        )
        more = more_of(with_data=asked.with_data, every_run=asked.every_run, with_nodes=asked.with_nodes)
        return await self.read(at_least, lambda reader: list_page(reader, query, more))

    async def execution(
        self,
        who: Principal,
        execution_id: str,
        at_least: Position | None,
        *,
        with_data: bool,
        with_lines: bool,
        every_run: bool = False,
    ) -> Reading[Found]:
        """One execution, with the latest run of each node or `every_run` of it. Raises ExecutionNotFound."""

        def work(reader: Reader) -> Found:
            summary, key = find_execution(reader, who, execution_id)
            lines = reader.log_lines(key, levels=None, node_id=None, limit=FIRST_LINES) if with_lines else None
            return Found(
                summary,
                data_of(reader, key, MAX_NODES_INLINE, MAX_PAGE_BYTES, every_run=every_run) if with_data else None,
                lines=None if lines is None else lines_for(who, lines),
            )

        return await self.read(at_least, work)

    async def data(self, who: Principal, execution_id: str, at_least: Position | None) -> Reading[Data]:
        """The payloads of an execution and of its nodes, as many as fit one answer. Raises ExecutionNotFound."""

        def work(reader: Reader) -> Data:
            _, key = find_execution(reader, who, execution_id)
            return data_of(reader, key, None, MAX_DATA_BYTES)

        return await self.read(at_least, work)

    async def node(
        self,
        who: Principal,
        execution_id: str,
        node_id: str,
        at_least: Position | None,
        *,
        iteration: int | None = None,
        attempt: int | None = None,
    ) -> Reading[NodeRuns]:
        """The latest run of one node, or its latest one of this iteration and this attempt.

        Raises ExecutionNotFound, and NotFound where that node has not run so.
        """

        def work(reader: Reader) -> NodeRuns:
            _, key = find_execution(reader, who, execution_id)
            return runs_of(reader, key, execution_id, node_id, iteration=iteration, attempt=attempt)

        return await self.read(at_least, work)

    async def lines(
        self, who: Principal, execution_id: str, at_least: Position | None, asked: AskedLines
    ) -> Reading[LinePage]:
        """A page of the log. Raises ExecutionNotFound."""

        def work(reader: Reader) -> LinePage:
            _, key = find_execution(reader, who, execution_id)
            page = line_page(reader, key, asked)
            return page._replace(lines=lines_for(who, page.lines))

        return await self.read(at_least, work)

    async def read(self, at_least: Position | None, work: Callable[[Reader], T]) -> Reading[T]:
        """What `work` finds on a snapshot that is at least as new."""
        if at_least is not None and not await self._hub.reached(at_least, MAX_WAIT_S):
            raise PositionNotReached
        return await self._store.read(lambda reader: Reading(work(reader), reader.position()))
