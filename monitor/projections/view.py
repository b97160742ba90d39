"""The view of an execution that everybody shares: made from its registers, never stored beside them."""

from typing import Any

import msgspec

from monitor.projections.execution import (
    Execution,
    Node,
    NodeKey,
    Progress,
    Registers,
    error_type_of,
    is_late,
    is_stalled,
    latest_report,
    parent_id_of,
    trigger_type_of,
)
from monitor.projections.status import IN_FLIGHT


class Summary(msgspec.Struct, frozen=True, gc=False):
    """The view of an execution that lists, filters, streams and webhooks share. Times in microseconds."""

    team: str
    id: str
    version: int
    status: str
    workflow_id: str
    workflow_name: str | None
    # As its engine counts or calls it.
    workflow_version: str | int | None
    mode: str | None
    trigger: dict[str, Any] | None
    # Order of lists: started, else queued, else first evidence.
    at_us: int
    queued_us: int | None
    started_us: int | None
    stopped_us: int | None
    duration_us: int | None
    error: dict[str, Any] | None
    metadata: dict[str, Any]
    progress: Progress
    waiting: dict[str, Any] | None
    retry_of: str | None
    parent: dict[str, Any] | None
    tags: list[str]
    annotation: dict[str, Any] | None
    reason: str | None
    # An end that only the monitor presumes: a crash, or a start that was asked for in vain.
    provisional: bool
    conflict: bool
    # In flight, and the monitor said so: no sign of life for long; past its deadline.
    stalled: bool
    late: bool
    epoch: int
    log_lines: int
    created_us: int
    updated_us: int

    @property
    def trigger_type(self) -> str:
        """What kind of thing set it off; empty where nobody said it."""
        return trigger_type_of(self.trigger)

    @property
    def parent_id(self) -> str | None:
        """The execution that started it."""
        return parent_id_of(self.parent)

    @property
    def error_type(self) -> str | None:
        """The error's type; None where there is no error."""
        return error_type_of(self.error)


def summary(execution: Execution) -> Summary:
    """What everybody may see of `execution` now."""
    registers = execution.registers
    member = {name: entry[3] for name, entry in registers.members.items()}
    end, now = execution.end, latest_report(registers, "now")
    said: dict[str, Any] = end.data if end else {}
    in_flight = execution.status in IN_FLIGHT
    queued_us = min((s.queued_us for s in registers.sources.values() if s.queued_us is not None), default=None)
    verdict_us = registers.verdict.time_us if registers.verdict else None
    times_us = (execution.started_us, queued_us, registers.first_us, verdict_us)
    return Summary(
        team=execution.team,
        id=execution.id,
        version=execution.version,
        status=execution.status,
        workflow_id=execution.workflow_id,
        workflow_name=execution.workflow_name,
        workflow_version=member.get("workflowVersion"),
        mode=execution.mode,
        trigger=member.get("trigger"),
        at_us=next((at_us for at_us in times_us if at_us is not None), execution.created_us),
        queued_us=queued_us,
        started_us=execution.started_us,
        stopped_us=end.time_us if end else None,
        duration_us=execution.duration_us,
        error=said.get("error"),
        metadata={name[9:]: value for name, value in member.items() if name.startswith("metadata.")},
        progress=execution.progress,
        waiting=now.data if now and execution.status == "waiting" else None,
        retry_of=member.get("retryOf"),
        parent=member.get("parent"),
        tags=execution.tags,
        annotation=annotation_of(registers),
        reason=said.get("reason"),
        provisional=execution.provisional,
        conflict=len(registers.outcomes) > 1,
        stalled=in_flight and is_stalled(registers),
        late=in_flight and is_late(registers),
        epoch=registers.epoch,
        log_lines=registers.log_lines,
        created_us=execution.created_us,
        updated_us=execution.updated_us,
    )


def annotation_of(registers: Registers) -> dict[str, Any] | None:
    """What people noted; a member that was set to null is gone."""
    return {name: value for name, (_, _, value) in registers.notes.items() if value is not None} or None


def latest_runs(nodes: dict[NodeKey, Node]) -> list[tuple[NodeKey, Node]]:
    """The latest iteration and attempt of every node, in the order of their starts."""
    return runs_in_order({key: nodes[key] for key in {key[0]: key for key in sorted(nodes)}.values()})


def runs_in_order(nodes: dict[NodeKey, Node]) -> list[tuple[NodeKey, Node]]:
    """Runs of nodes, in the order of their starts."""
    return sorted(nodes.items(), key=lambda item: (_first_us(item[1]), item[0]))


def _first_us(node: Node) -> int:
    if node.started_us is not None:
        return node.started_us
    fact = node.now or node.end
    return fact[0] if fact else 0
