"""What an execution holds beside its view: its nodes' runs, and payloads as far as they fit an answer."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from monitor.errors import NotFound
from monitor.projections.execution import Node, NodeKey
from monitor.projections.loglines import LogLine
from monitor.projections.nodes import node_slot
from monitor.projections.view import Summary, latest_runs, runs_in_order

MAX_NODES_INLINE: Final = 500
"""Nodes shown within an execution; its data's own address shows more."""

MAX_PAGE_BYTES: Final = 4 << 20
"""Payloads of one page of a list, or of one execution in it. A page that would be larger ends early, and the next one
goes on from there."""

MAX_DATA_BYTES: Final = 32 << 20
"""Payloads of all nodes at the data's own address; beyond it each node has one of its own."""

MAX_RUNS: Final = 1000
"""Runs of a node that are listed."""

_NODES_AT_ONCE: Final = 50
"""Read together: one query for nearly every execution, and never much more than an answer takes."""


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


class Contents(Protocol):
    """What holds the nodes and payloads of executions: a store's snapshot, or a state of then."""

    def nodes(self, key: int, /) -> Mapping[NodeKey, Node]: ...
    def payloads(self, key: int, /, slots: Collection[str] | None = None) -> Mapping[str, bytes]: ...


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
