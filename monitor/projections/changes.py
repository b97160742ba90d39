"""What a batch did to the state: the commit writes exactly this, and its releases go to streams and webhooks."""

from typing import Any

import msgspec

from monitor.events.model import Event, Poison, Record
from monitor.projections.commands import Command
from monitor.projections.execution import Details, Execution, NodeKey, Progress, RunContribution
from monitor.projections.fingerprint import ErrorKind
from monitor.projections.loglines import LogLine
from monitor.projections.statistics import Amount, Cell, RunKey

ExecutionId = tuple[str, str]
"""(team, execution id)."""


class Release(msgspec.Struct, frozen=True, gc=False):
    """What a commit says to streams and webhooks about one fresh event: the event and the state that it left behind.

    Its members carry the names that `filter.matches` asks for, as those of `Summary` do.
    """

    event: Event
    workflow_id: str
    workflow_name: str | None
    mode: str | None
    version: int
    status: str
    progress: Progress
    started_us: int | None
    duration_us: int | None
    tags: list[str]
    details: Details
    created_us: int

    @property
    def id(self) -> str:
        """The execution's id."""
        return self.event.execution_id

    @property
    def stopped_us(self) -> int | None:
        """When it ended; None while it has not."""
        return self.details.stopped_us

    @property
    def trigger_type(self) -> str:
        """What kind of thing set it off; empty where nobody said it."""
        return self.details.trigger_type

    @property
    def retry_of(self) -> str | None:
        """The execution that it repeats."""
        return self.details.retry_of

    @property
    def parent_id(self) -> str | None:
        """The execution that started it."""
        return self.details.parent_id

    @property
    def error_type(self) -> str | None:
        """The error's type; None where there is no error."""
        return self.details.error_type


class Touched(msgspec.Struct, gc=False):
    """What a batch did to one execution."""

    execution: Execution
    nodes: set[NodeKey] = set()
    # The events that were not known yet, in order.
    fresh: list[Event] = []
    # Payload bytes by slot.
    payloads: dict[str, bytes] = {}
    # Slots that were filled before: the store may hold something there. Most never are.
    refilled: set[str] = set()
    lines: list[LogLine] = []
    # What was heard of commands, each fact by itself.
    commands: list[Command] = []
    # A new epoch or a deletion: nodes and payloads that were stored before this batch are void.
    cleared: bool = False
    # The log is void as well.
    deleted: bool = False
    # The registers' view was made anew: it may count elsewhere now.
    restated: bool = False
    # What its nodes had added to the statistics when it was deleted, which they go on to count; None = it was not.
    last_runs: dict[NodeKey, RunContribution] | None = None
    # An engine was heard of it, live.
    heard: bool = False
    # Somebody has to look at it by then, by the service's clock; None = no other time than was asked for before.
    look_us: int | None = None

    def clear(self) -> None:
        """Void nodes and payloads, those of this batch and those that are stored."""
        execution = self.execution
        execution.nodes, execution.node_ids, execution.finished_ids = {}, set(), set()
        self.nodes.clear()
        self.payloads.clear()
        self.cleared = True

    def fill_slot(self, slot: str, event: Event, tie: int, value: Any) -> bool:
        """Keep the payload of the latest event that carries one; True when this is it.

        The bytes go to the store, only their order stays in the registers.
        """
        slots, order = self.execution.registers.slots, (event.time_us, tie)
        held = slots.get(slot)
        if held is not None and held >= order:
            return False
        slots[slot] = order
        self.keep_payload(slot, value, refilled=held is not None)
        return True

    def keep_payload(self, slot: str, value: Any, *, refilled: bool) -> None:
        """Have the store keep `value`; `refilled` when the slot held another one."""
        if refilled:
            self.refilled.add(slot)
        self.payloads[slot] = msgspec.json.encode(value)


class Changes(msgspec.Struct):
    """What a batch did to the state."""

    touched: dict[ExecutionId, Touched] = {}
    releases: list[Release] = []
    poison: list[Poison] = []
    # Additive: count and sum of durations by cell, of executions and of their nodes' runs.
    statistics: dict[Cell, Amount] = {}
    run_statistics: dict[RunKey, Amount] = {}
    # When it was said last, and what: by team and workflow.
    workflow_names: dict[tuple[str, str], tuple[int, str]] = {}
    # Kinds of errors that were counted, by team and fingerprint.
    error_kinds: dict[tuple[str, str], ErrorKind] = {}
    duplicates: int = 0
    # Deleted executions that this batch told of, and from which offset to which the journal holds bytes of them; from
    # 0: all that it ever took.
    erasures: dict[ExecutionId, tuple[Execution, int, int]] = {}

    def erase(self, execution: Execution, record: Record, *, all_before: bool) -> None:
        """Have what the journal holds of a deleted execution blanked: this record, or all up to it."""
        id_ = (execution.team, execution.id)
        first = 0 if all_before else record.offset
        held = self.erasures.get(id_)
        self.erasures[id_] = (execution, first if held is None else min(held[1], first), record.offset)
