"""Rules for `node.*`: what each run of a node (node, iteration, attempt) says, folded into its registers."""

from typing import Any

from monitor.events.model import Event
from monitor.events.payloads import PAYLOADS
from monitor.events.types import EventType, reported_status, status_rank
from monitor.projections.changes import Touched
from monitor.projections.execution import Node, NodeKey
from monitor.projections.members import duration_us, error, text

End = tuple[int, int, int, str]
"""(time, rank, tie, status)."""


def apply_node(touched: Touched, event: Event, kind: EventType, tie: int) -> None:
    """Fold a node event into the run that it names."""
    execution, data = touched.execution, event.data
    node_id = data["nodeId"]
    key = (node_id, data.get("iteration") or 0, data.get("attempt") or 1)
    node = execution.nodes.get(key)
    if node is None:
        node = execution.nodes[key] = Node()
        execution.node_ids.add(node_id)
    touched.nodes.add(key)
    _label(node, data, event.time_us, tie)
    if kind.final:
        execution.finished_ids.add(node_id)
        _take_end(node, event, kind, tie)
    elif kind.status is not None:
        _take_report(node, event, kind.status, tie)
        if event.type == "node.started":
            _take_start(touched, node, event, tie)
    for member, slot in PAYLOADS:
        if member in data:
            order, held = (event.time_us, tie), getattr(node, slot)
            if held is None or held < order:
                setattr(node, slot, order)
                touched.keep_payload(node_slot(key, slot), data[member], refilled=held is not None)


def node_slot(key: NodeKey, slot: str) -> str:
    """Name of the payload slot of a node run: its `input` or its `output`."""
    return f"{slot}:{key[1]}:{key[2]}:{key[0]}"


def run_duration_us(node: Node) -> int | None:
    """How long a run took, as it was told, else from its start to its end; None where that is not known."""
    if node.duration_us is not None or node.stopped_us is None or node.started_us is None:
        return node.duration_us
    return max(0, node.stopped_us - node.started_us)


def _label(node: Node, data: dict[str, Any], time_us: int, tie: int) -> None:
    name, kind = text(data.get("nodeName")) or "", text(data.get("nodeType")) or ""
    if name or kind:
        label = (time_us, tie, name, kind)
        if node.label is None or node.label < label:
            node.label = label


def _take_report(node: Node, event: Event, status: str, tie: int) -> None:
    now = (event.time_us, status_rank(status), tie, status)
    if node.now is None or node.now < now:
        node.now = now


def _take_start(touched: Touched, node: Node, event: Event, tie: int) -> None:
    registers, time_us = touched.execution.registers, event.time_us
    if node.started_us is None or time_us < node.started_us:
        node.started_us = time_us
    current = (time_us, tie, text(event.data.get("nodeName")) or event.data["nodeId"])
    if registers.current is None or registers.current < current:
        registers.current = current


def _take_end(node: Node, event: Event, kind: EventType, tie: int) -> None:
    status = reported_status(kind, event.data.get("status")) or "success"
    end = (event.time_us, status_rank(status), tie, status)
    if node.end is None or _end_order(end) < _end_order(node.end):
        node.end = end
        node.duration_us = duration_us(event.data.get("duration"))
        node.error = error(event.data.get("error"))


def _end_order(end: End) -> tuple[bool, int, int, int]:
    """Smallest wins, as for executions: any end before a crash, the earliest, the strongest rank."""
    time_us, rank, tie, status = end
    return status == "crashed", time_us, -rank, tie
