"""Reading executions: lists, one execution, its data and its log, each from one snapshot that knows its position.

Every question is a principal's and sees its team alone: another team's execution is not found. `at_least` makes a read
wait until the state has got that far. Called by the native face and the dialects, which do the spelling.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from monitor.access.principal import Principal
from monitor.errors import NotFound, PositionNotReached
from monitor.events.position import Position
from monitor.executions.finding import find_execution
from monitor.executions.lines import AskedLines, LinePage, line_page, lines_for
from monitor.fanout.hub import Hub
from monitor.projections.execution import Node, NodeKey
from monitor.projections.filter import Filter
from monitor.projections.loglines import LogLine
from monitor.projections.nodes import node_slot
from monitor.projections.view import Summary, latest_runs, runs_in_order
from monitor.store.base import Reader, Store
from monitor.store.execution_port import ListQuery, Sort
from monitor.store.searching import fold_text

T = TypeVar("T")

MAX_WAIT_S: Final = 2.0
"""How long a read waits for its position: longer than any healthy commit takes, shorter than a client's patience."""

MAX_NODES_INLINE: Final = 500
"""Nodes shown within an execution; its data's own address shows more."""

MAX_PAGE_BYTES: Final = 4 << 20
"""Payloads of one page of a list, or of one execution in it. A page that would be larger ends early, and the next one
goes on from there."""

MAX_DATA_BYTES: Final = 32 << 20
"""Payloads of all nodes at the data's own address; beyond it each node has one of its own."""

MAX_RUNS: Final = 1000
"""Runs of a node that are listed."""

_NODE_BYTES: Final = 400
"""What a node takes in memory without its payloads, more or less."""

_NODES_AT_ONCE: Final = 50
"""Read together: one query for nearly every execution, and never much more than an answer takes."""

FIRST_LINES: Final = 100
"""Log lines shown within an execution."""


class Reading(NamedTuple, Generic[T]):
    """An answer, and how far the snapshot was folded that it was read from."""

    value: T
    position: Position


class NodeRun(NamedTuple):
    """A run of a node. Payloads are JSON as stored; None where there is none."""

    key: NodeKey
    node: Node
    input: bytes | None
    output: bytes | None

    @property
    def size_bytes(self) -> int:
        """Of its payloads."""
        return len(self.input or b"") + len(self.output or b"")


class NodeRuns(NamedTuple):
    """One run of a node, and the list of all."""

    shown: NodeRun
    # In order of iteration and attempt, the latest ones.
    all: list[tuple[NodeKey, Node]]
    # Earlier ones that were left out, since they were too many.
    earlier: int


class Data(NamedTuple):
    """What an execution was given, and what it and its nodes made of it."""

    nodes: list[NodeRun]
    # Nodes, or runs, that were left out, since they were too many or too large.
    more_nodes: int
    input: bytes | None
    output: bytes | None
    trigger: bytes | None

    @property
    def size_bytes(self) -> int:
        """Of all payloads together."""
        own = sum(len(payload or b"") for payload in (self.input, self.output, self.trigger))
        return own + sum(run.size_bytes for run in self.nodes)


class Found(NamedTuple):
    """An execution with what was asked for beside its view; None = was not asked for."""

    summary: Summary
    data: Data | None = None
    # The latest run of each node, in the order of their starts, without payloads.
    nodes: Sequence[tuple[NodeKey, Node]] | None = None
    lines: Sequence[LogLine] | None = None


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


class Listed(NamedTuple):
    """The page."""

    rows: list[Found]
    # Where the next page starts, and where the one before ends; None = there is none.
    after: tuple[int | None, int] | None
    before: tuple[int | None, int] | None
    total: int
    total_is_lower_bound: bool
    # The store's of the rows.
    keys: Sequence[int] = ()


class Contents(Protocol):
    """What holds the nodes and payloads of executions: a store's snapshot, or a state of then."""

    def nodes(self, key: int, /) -> Mapping[NodeKey, Node]: ...
    def payloads(self, key: int, /, slots: Collection[str] | None = None) -> Mapping[str, bytes]: ...


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


More = Callable[[Reader, Summary, int], tuple[Found, int]]
"""What is shown of an execution beside its view, by its key, and how large that is."""


def more_of(*, with_data: bool, every_run: bool = False, with_nodes: bool = False) -> More | None:
    """What a page shows beside its views; None = nothing."""
    if with_data:
        return partial(_with_data, every_run=every_run)
    return _with_nodes if with_nodes else None


def list_page(reader: Reader, query: ListQuery, more: More | None = None) -> Listed:
    """A page of a list, with `more` of each execution; it ends early where that grows too large."""
    page, keys = reader.executions(query)
    found = list(zip(page.rows, keys, strict=True))
    if query.backwards:
        found.reverse()  # nearest to the cursor first, so that a page that ends early ends at its far end
    rows = _filled(reader, found, more) if more else [Found(summary) for summary, _ in found]
    is_cut = page.has_more or len(rows) < len(found)
    found = found[: len(rows)]
    if query.backwards:
        rows.reverse()
        found.reverse()
    if not found:
        nowhere = None if query.after is None else _beside(query)
        after, before = (nowhere, None) if query.backwards else (None, nowhere)
        return Listed([], after, before, page.total, page.total_is_lower_bound)
    (first, first_key), (last, last_key) = found[0], found[-1]
    return Listed(
        rows,
        (_sorted_by(last, query.sort), last_key) if query.backwards or is_cut else None,
        (_sorted_by(first, query.sort), first_key) if (is_cut if query.backwards else query.after) else None,
        page.total,
        page.total_is_lower_bound,
        [key for _, key in found],
    )


def _beside(query: ListQuery) -> tuple[int | None, int]:
    """From where the row itself that an empty page started from is found, read the other way."""
    assert query.after is not None
    value, key = query.after
    return value, key + (1 if query.sort.startswith("-") is query.backwards else -1)


def _filled(reader: Reader, found: Sequence[tuple[Summary, int]], more: More) -> list[Found]:
    rows: list[Found] = []
    size_bytes = 0
    for summary, key in found:
        if size_bytes > MAX_PAGE_BYTES:
            break
        row, row_bytes = more(reader, summary, key)
        rows.append(row)
        size_bytes += row_bytes
    return rows


def _with_data(reader: Reader, summary: Summary, key: int, *, every_run: bool) -> tuple[Found, int]:
    data = data_of(reader, key, MAX_NODES_INLINE, MAX_PAGE_BYTES, every_run=every_run)
    return Found(summary, data), data.size_bytes


def _with_nodes(reader: Reader, summary: Summary, key: int) -> tuple[Found, int]:
    nodes = latest_runs(dict(reader.nodes(key)))
    return Found(summary, nodes=nodes), len(nodes) * _NODE_BYTES


def _sorted_by(summary: Summary, sort: Sort) -> int | None:
    return summary.at_us if sort.endswith("startedAt") else summary.duration_us


def data_of(reader: Contents, key: int, most_nodes: int | None, most_bytes: int, *, every_run: bool = False) -> Data:
    """What an execution carried, and the latest run of each node, or every run in the order of their starts; as much
    as fits: at least one.
    """
    runs = list((runs_in_order if every_run else latest_runs)(dict(reader.nodes(key))))
    own = reader.payloads(key, ["input", "output", "trigger"])
    shown: list[NodeRun] = []
    size_bytes = 0
    for run in _runs(reader, key, runs[:most_nodes]):
        size_bytes += run.size_bytes
        if shown and size_bytes > most_bytes:
            break
        shown.append(run)
    return Data(shown, len(runs) - len(shown), own.get("input"), own.get("output"), own.get("trigger"))


def without_payloads(data: Data | None) -> Data | None:
    """The same for who may not see payloads."""
    if data is None:
        return None
    return Data([run._replace(input=None, output=None) for run in data.nodes], data.more_nodes, None, None, None)


def _runs(reader: Contents, key: int, latest: Sequence[tuple[NodeKey, Node]]) -> Iterator[NodeRun]:
    """These runs with their payloads, read some at a time."""
    for at in range(0, len(latest), _NODES_AT_ONCE):
        some = latest[at : at + _NODES_AT_ONCE]
        payloads = reader.payloads(key, _slots(run for run, _ in some))
        yield from (_run(run, node, payloads) for run, node in some)


def runs_of(
    reader: Contents, key: int, execution_id: str, node_id: str, *, iteration: int | None, attempt: int | None
) -> NodeRuns:
    """The latest run of a node that fits, and all of them. Raises NotFound."""
    nodes = reader.nodes(key)
    runs = [(run, nodes[run]) for run in sorted(nodes) if run[0] == node_id]
    fitting = [it for it in runs if iteration in (None, it[0][1]) and attempt in (None, it[0][2])]
    if not fitting:
        raise _not_run(execution_id, node_id, iteration, attempt)
    run, node = fitting[-1]
    shown = _run(run, node, reader.payloads(key, _slots([run])))
    return NodeRuns(shown, runs[-MAX_RUNS:], max(0, len(runs) - MAX_RUNS))


def _not_run(execution_id: str, node_id: str, iteration: int | None, attempt: int | None) -> NotFound:
    message = f"Node '{node_id}' has not run in execution '{execution_id}'"
    asked = {"iteration": iteration, "attempt": attempt}
    said = {name: number for name, number in asked.items() if number is not None}
    message += "".join(f", {name} {number}" for name, number in said.items())
    return NotFound(message, executionId=execution_id, nodeId=node_id, **said)


def _slots(runs: Iterable[NodeKey]) -> list[str]:
    return [node_slot(run, slot) for run in runs for slot in ("input", "output")]


def _run(run: NodeKey, node: Node, payloads: Mapping[str, bytes]) -> NodeRun:
    return NodeRun(run, node, payloads.get(node_slot(run, "input")), payloads.get(node_slot(run, "output")))
