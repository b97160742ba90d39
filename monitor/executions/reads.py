"""Reading executions: lists, one execution, its data and its log, each from one snapshot that knows its position.

Every question is a principal's and sees its team alone: another team's execution is not found. `at_least` makes a read
wait until the state has got that far. Called by the native face and the dialects, which do the spelling.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from monitor.access.principal import Principal
from monitor.errors import ExecutionNotFound, NotFound, PositionNotReached
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.events.position import Position
from monitor.fanout.hub import Hub
from monitor.projections.execution import Node, NodeKey
from monitor.projections.filter import Filter
from monitor.projections.loglines import LogLine
from monitor.projections.nodes import node_slot
from monitor.projections.view import Summary, latest_runs
from monitor.store.base import ListQuery, Page, Reader, Sort, Store

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

_NODES_AT_ONCE: Final = 50
"""Read together: one query for nearly every execution, and never much more than an answer takes."""

FIRST_LINES: Final = 100
"""Log lines shown within an execution."""


class Reading(NamedTuple, Generic[T]):
    """An answer, and how far the snapshot was folded that it was read from."""

    value: T
    position: Position


class NodeRun(NamedTuple):
    """The latest run of a node. Payloads are JSON as stored; None where there is none."""

    key: NodeKey
    node: Node
    input: bytes | None
    output: bytes | None

    @property
    def size_bytes(self) -> int:
        """Of its payloads."""
        return len(self.input or b"") + len(self.output or b"")


class Data(NamedTuple):
    """What an execution was given, and what it and its nodes made of it."""

    nodes: list[NodeRun]
    # Nodes that were left out, since they were too many or too large.
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
    lines: Sequence[LogLine] | None = None


class Asked(NamedTuple):
    """A page of a list."""

    filter: Filter
    sort: Sort
    limit: int
    # Where the page before ended, as `Listed.after` told it.
    after: tuple[int | None, int] | None
    with_data: bool
    # The total and whether it is a lower bound, where a page before told them: they are not counted again.
    counted: tuple[int, bool] | None = None


class Listed(NamedTuple):
    """The page."""

    rows: list[Found]
    # Where the next page starts; None = this is the last one.
    after: tuple[int | None, int] | None
    total: int
    total_is_lower_bound: bool


class Reads:
    """The reading half of the desk. Every method raises PositionNotReached, InvalidPosition and StoreUnavailable."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    async def listed(self, who: Principal, asked: Asked, at_least: Position | None) -> Reading[Listed]:
        """A page of the team's executions."""
        query = ListQuery(who.team, asked.filter, asked.sort, asked.limit, asked.after, counted=asked.counted)
        return await self.read(at_least, lambda reader: _listed(reader, query, asked.with_data))

    async def execution(
        self, who: Principal, execution_id: str, at_least: Position | None, *, with_data: bool, with_lines: bool
    ) -> Reading[Found]:
        """One execution. Raises ExecutionNotFound."""

        def work(reader: Reader) -> Found:
            summary, key = _find(reader, who, execution_id)
            return Found(
                summary,
                _data(reader, key, MAX_NODES_INLINE, MAX_PAGE_BYTES) if with_data else None,
                reader.log_lines(key, levels=None, node_id=None, limit=FIRST_LINES) if with_lines else None,
            )

        return await self.read(at_least, work)

    async def data(self, who: Principal, execution_id: str, at_least: Position | None) -> Reading[Data]:
        """The payloads of an execution and of its nodes, as many as fit one answer. Raises ExecutionNotFound."""

        def work(reader: Reader) -> Data:
            _, key = _find(reader, who, execution_id)
            return _data(reader, key, None, MAX_DATA_BYTES)

        return await self.read(at_least, work)

    async def node(
        self, who: Principal, execution_id: str, node_id: str, at_least: Position | None
    ) -> Reading[NodeRun]:
        """The latest run of one node. Raises ExecutionNotFound, and NotFound where that node has not run."""
        return await self.read(at_least, lambda reader: _node(reader, who, execution_id, node_id))

    async def lines(
        self,
        who: Principal,
        execution_id: str,
        at_least: Position | None,
        *,
        levels: Collection[str] | None,
        node_id: str | None,
        limit: int,
        from_us: int | None = None,
        to_us: int | None = None,
    ) -> Reading[Sequence[LogLine]]:
        """The first `limit` log lines in order of time, of these levels and this node, from one time to another.

        Both times are included. Raises ExecutionNotFound.
        """

        def work(reader: Reader) -> Sequence[LogLine]:
            _, key = _find(reader, who, execution_id)
            return reader.log_lines(key, levels=levels, node_id=node_id, limit=limit, from_us=from_us, to_us=to_us)

        return await self.read(at_least, work)

    async def read(self, at_least: Position | None, work: Callable[[Reader], T]) -> Reading[T]:
        """What `work` finds on a snapshot that is at least as new."""
        if at_least is not None and not await self._hub.reached(at_least, MAX_WAIT_S):
            raise PositionNotReached
        return await self._store.read(lambda reader: Reading(work(reader), reader.position()))


def _find(reader: Reader, who: Principal, execution_id: str) -> tuple[Summary, int]:
    """The view and its key. Words that can be no id are not even asked for: databases choke on some of them."""
    could_be = 0 < len(execution_id) <= MAX_ID_CHARACTERS and execution_id.isprintable()
    found = reader.execution(who.team, execution_id) if could_be else None
    if found is None:
        raise ExecutionNotFound(f"Execution with ID '{execution_id}' not found", executionId=execution_id)
    return found


def _listed(reader: Reader, query: ListQuery, with_data: bool) -> Listed:
    page, keys = reader.executions(query)
    rows = _with_data(reader, page, keys) if with_data else [Found(summary) for summary in page.rows]
    has_more = page.has_more or len(rows) < len(page.rows)
    after = (_sorted_by(rows[-1].summary, query.sort), keys[len(rows) - 1]) if has_more else None
    return Listed(rows, after, page.total, page.total_is_lower_bound)


def _with_data(reader: Reader, page: Page, keys: Sequence[int]) -> list[Found]:
    rows: list[Found] = []
    size_bytes = 0
    for summary, key in zip(page.rows, keys, strict=True):
        if size_bytes > MAX_PAGE_BYTES:
            break
        data = _data(reader, key, MAX_NODES_INLINE, MAX_PAGE_BYTES)
        rows.append(Found(summary, data))
        size_bytes += data.size_bytes
    return rows


def _sorted_by(summary: Summary, sort: Sort) -> int | None:
    return summary.at_us if sort.endswith("startedAt") else summary.duration_us


def _data(reader: Reader, key: int, most_nodes: int | None, most_bytes: int) -> Data:
    latest = list(latest_runs(dict(reader.nodes(key))).values())
    own = reader.payloads(key, ["input", "output", "trigger"])
    shown: list[NodeRun] = []
    size_bytes = 0
    for run in _runs(reader, key, latest[:most_nodes]):
        size_bytes += run.size_bytes
        if shown and size_bytes > most_bytes:
            break
        shown.append(run)
    return Data(shown, len(latest) - len(shown), own.get("input"), own.get("output"), own.get("trigger"))


def _runs(reader: Reader, key: int, latest: Sequence[tuple[NodeKey, Node]]) -> Iterator[NodeRun]:
    """These runs with their payloads, read some at a time."""
    for at in range(0, len(latest), _NODES_AT_ONCE):
        some = latest[at : at + _NODES_AT_ONCE]
        payloads = reader.payloads(key, _slots(run for run, _ in some))
        yield from (_run(run, node, payloads) for run, node in some)


def _node(reader: Reader, who: Principal, execution_id: str, node_id: str) -> NodeRun:
    _, key = _find(reader, who, execution_id)
    found = latest_runs(dict(reader.nodes(key))).get(node_id)
    if found is None:
        message = f"Node '{node_id}' has not run in execution '{execution_id}'"
        raise NotFound(message, executionId=execution_id, nodeId=node_id)
    run, node = found
    return _run(run, node, reader.payloads(key, _slots([run])))


def _slots(runs: Iterable[NodeKey]) -> list[str]:
    return [node_slot(run, slot) for run in runs for slot in ("input", "output")]


def _run(run: NodeKey, node: Node, payloads: Mapping[str, bytes]) -> NodeRun:
    return NodeRun(run, node, payloads.get(node_slot(run, "input")), payloads.get(node_slot(run, "output")))
