"""The store in memory: the reference that says in plain Python what every driver does, and the double for tests.

A transaction works on a copy of the tables, which takes their place when it ends well: rows are never changed, only
replaced, so that the copy is shallow and a snapshot is the tables as they were. Nothing outlives the process.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from monitor.errors import Fenced, StoreUnavailable
from monitor.events.model import Place
from monitor.events.position import Position
from monitor.events.types import DERIVED
from monitor.projections.commands import Command, merged
from monitor.projections.execution import Execution, Node, NodeKey
from monitor.projections.filter import matches
from monitor.projections.fold import Changes, ExecutionId, Touched
from monitor.projections.loglines import LogLine, Spot
from monitor.projections.view import Summary, summary
from monitor.store.base import Commit, Moved, OffsetRow, Reader, Writer, cut_away, hints_of, journal_mismatch
from monitor.store.command_port import CommandRow, CommandSpot
from monitor.store.execution_port import ListQuery, Page
from monitor.store.hints import Hint, Hints
from monitor.store.lease_port import Lease
from monitor.store.memory_access import AccessTables, MemoryAccess
from monitor.store.memory_counting import CountingTables, MemoryCounts
from monitor.store.memory_expiry import MemoryExpiry
from monitor.store.memory_exports import ExportTables, MemoryExports
from monitor.store.memory_leases import MemoryLeases
from monitor.store.memory_ledger import LedgerTables, MemoryLedger
from monitor.store.memory_orders import MemoryOrders, OrderTables
from monitor.store.memory_quarantine import MemoryQuarantine
from monitor.store.quarantine_port import HaltRow, Quarantined
from monitor.store.releases import ReleasedBatch, StoredRelease, Stretch, stored_release
from monitor.store.searching import MOST_CHARACTERS, MOST_NAMES, error_text_of, name_text_of

T = TypeVar("T")


@dataclass(slots=True)
class _Tables:
    """Everything that is stored. Dictionaries keep the order of insertion, which is that of keys."""

    journal: tuple[str, int] | None = None
    offsets: dict[int, OffsetRow] = field(default_factory=dict)
    executions: dict[ExecutionId, Execution] = field(default_factory=dict)
    payloads: dict[int, Mapping[str, bytes]] = field(default_factory=dict)
    places: dict[int, Sequence[Place]] = field(default_factory=dict)
    # By team and workflow.
    node_names: dict[tuple[str, str], frozenset[tuple[str, str]]] = field(default_factory=dict)
    log_lines: dict[int, Mapping[tuple[int, int, int], LogLine]] = field(default_factory=dict)
    commands: dict[int, Mapping[str, Command]] = field(default_factory=dict)
    # When to look at an execution next, by key.
    watches: dict[int, int] = field(default_factory=dict)
    # First and last offset of what is still to be blanked, by key.
    erasures: dict[int, tuple[int, int]] = field(default_factory=dict)
    # (partition, first, next) of a batch -> its releases
    releases: dict[tuple[int, int, int], Sequence[StoredRelease]] = field(default_factory=dict)
    quarantine: dict[int, Quarantined] = field(default_factory=dict)
    halts: dict[int, HaltRow] = field(default_factory=dict)
    ledger: LedgerTables = field(default_factory=LedgerTables)
    access: AccessTables = field(default_factory=AccessTables)
    counting: CountingTables = field(default_factory=CountingTables)
    orders: OrderTables = field(default_factory=OrderTables)
    exports: ExportTables = field(default_factory=ExportTables)
    leases: dict[str, Lease] = field(default_factory=dict)

    def copy(self) -> "_Tables":
        """Tables of their own that share the rows."""
        held = ((member.name, getattr(self, member.name)) for member in fields(self))
        members: dict[str, Any] = {name: dict(it) if isinstance(it, dict) else it for name, it in held}
        own = {name: getattr(self, name).copy() for name in ("ledger", "access", "counting", "orders", "exports")}
        return _Tables(**members | own)


class MemoryStore:
    """Implements the Store port. Work runs in the event loop's own thread, one at a time."""

    def __init__(self) -> None:
        self._tables = _Tables()
        self._hints = Hints()
        self._closed = False

    @property
    def hints(self) -> Hints:
        return self._hints

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:  # noqa: ARG002 - nothing lasts here
        self._check_open()
        tables = self._tables.copy()
        session = _Session(tables, shared=shared)
        answer = work(session)
        self._tables = tables
        self._hints.give(session.hinted)
        return answer

    async def read(self, work: Callable[[Reader], T]) -> T:
        self._check_open()
        return work(_Session(self._tables))

    async def wipe(self) -> bool:
        return True

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The store is closed.")


class _Session(
    MemoryLedger,
    MemoryExpiry,
    MemoryAccess,
    MemoryCounts,
    MemoryOrders,
    MemoryExports,
    MemoryQuarantine,
    MemoryLeases,
):
    """Implements Reader and Writer over tables that nobody else changes meanwhile."""

    def __init__(self, tables: _Tables, *, shared: bool = True) -> None:
        super().__init__(tables.ledger)
        self.hinted: set[Hint] = set() if shared else {"desk"}
        self._leases = tables.leases
        self._tables, self._access, self._orders = tables, tables.access, tables.orders
        self._exports = tables.exports
        self._counting, self._counted_executions = tables.counting, tables.executions
        self._quarantine, self._halts = tables.quarantine, tables.halts
        self._held, self._held_places = tables.executions, tables.places
        self._of_key = (tables.places, tables.payloads, tables.log_lines, tables.watches, tables.erasures)
        self._erasures, self._held_releases = tables.erasures, tables.releases

    # Reading

    def position(self) -> Position:
        incarnation = self._tables.journal[0] if self._tables.journal else ""
        return Position(incarnation, tuple(row.next for _, row in sorted(self._tables.offsets.items())))

    def offsets(self) -> Mapping[int, OffsetRow]:
        return dict(self._tables.offsets)

    def execution(self, team: str, execution_id: str) -> tuple[Summary, int] | None:
        found = self._tables.executions.get((team, execution_id))
        return None if found is None or found.registers.deleted else (summary(found), found.key)

    def executions(self, query: ListQuery) -> tuple[Page, list[int]]:
        found = [
            (summary(execution), execution.key)
            for execution in self._tables.executions.values()
            if execution.team == query.team and not execution.registers.deleted
            if query.text is None or self._contains(execution, query.text)
            if query.created_until_us is None or execution.created_us <= query.created_until_us
        ]
        ordered = _ordered(((view, key) for view, key in found if matches(query.filter, view)), query)
        if query.backwards:
            rest = [row for row in ordered if query.after is None or _is_before(row, query)]
            page = rest[-query.limit :]
        else:
            rest = [row for row in ordered if query.after is None or _is_after(row, query)]
            rest = rest[query.skip :]
            page = rest[: query.limit]
        views, keys = [view for view, _ in page], [key for _, key in page]
        total, is_lower_bound = query.counted or (len(ordered), False)
        return Page(views, len(rest) > query.limit, total, is_lower_bound), keys

    def _contains(self, execution: Execution, text: str) -> bool:
        """Whether a search for `text` finds it."""
        if text in (error_text_of(execution) or ""):
            return True
        known = self._tables.node_names.get((execution.team, execution.workflow_id), frozenset())
        return any(node_id in execution.node_ids and text in name_text_of(node_id, name) for node_id, name in known)

    def nodes(self, key: int) -> Mapping[NodeKey, Node]:
        return next((deepcopy(it.nodes) for it in self._tables.executions.values() if it.key == key), {})

    def places(self, key: int) -> Sequence[Place]:
        return self._tables.places.get(key, ())

    def payloads(self, key: int, slots: Collection[str] | None = None) -> Mapping[str, bytes]:
        stored = self._tables.payloads.get(key, {})
        return {slot: value for slot, value in stored.items() if slots is None or slot in slots}

    def log_lines(
        self,
        key: int,
        *,
        levels: Collection[str] | None,
        node_id: str | None,
        limit: int,
        from_us: int | None = None,
        to_us: int | None = None,
        beyond: Spot | None = None,
        falling: bool = False,
    ) -> Sequence[LogLine]:
        lines = [line for _, line in sorted(self._tables.log_lines.get(key, {}).items())]
        wanted = (line for line in lines if levels is None or line.level in levels)
        wanted = (line for line in wanted if node_id is None or line.node_id == node_id)
        wanted = (line for line in wanted if from_us is None or line.time_us >= from_us)
        wanted = (line for line in wanted if to_us is None or line.time_us <= to_us)
        if beyond is not None:
            wanted = (line for line in wanted if (line.spot < beyond if falling else line.spot > beyond))
        return list(reversed(list(wanted)) if falling else wanted)[:limit]

    def commands(self, key: int) -> Sequence[Command]:
        return sorted(self._tables.commands.get(key, {}).values(), key=lambda it: (it.since_us, it.id))

    def command(self, team: str, command_id: str) -> CommandRow | None:
        return next((row for row in self._commands() if (row.team, row.command.id) == (team, command_id)), None)

    def open_commands(self, before_us: int, limit: int, after: CommandSpot | None = None) -> Sequence[CommandRow]:
        waiting = [row for row in self._commands() if row.command.is_open and row.command.since_us < before_us]
        ahead = [row for row in waiting if after is None or row.spot > after]
        return sorted(ahead, key=lambda row: row.spot)[:limit]

    def _commands(self) -> list[CommandRow]:
        return [
            CommandRow(it.team, it.id, it.workflow_id, command, it.key)
            for it in self._tables.executions.values()
            for command in self._tables.commands.get(it.key, {}).values()
        ]

    def releases(self, partition: int, start: int, end: int) -> Sequence[StoredRelease]:
        batches = (batch for place, batch in self._tables.releases.items() if place[0] == partition)
        return [release for batch in batches for release in batch if start <= release.offset < end]

    def batches(self, stretches: Mapping[int, Stretch]) -> Sequence[ReleasedBatch]:
        held = (ReleasedBatch(*place, batch) for place, batch in sorted(self._tables.releases.items()))
        asked = ((batch, stretches[batch.partition]) for batch in held if batch.partition in stretches)
        return [batch for batch, (start, end) in asked if batch.next > start and batch.first < end]

    # What is watched

    def next_watch_us(self) -> int | None:
        return min(self._tables.watches.values(), default=None)

    def due_watches(self, now_us: int, limit: int) -> Sequence[Execution]:
        of = {execution.key: execution for execution in self._tables.executions.values()}
        due = sorted((due_us, key) for key, due_us in self._tables.watches.items() if due_us <= now_us)
        return [deepcopy(of[key]) for _, key in due[:limit]]

    def watch_again(self, looks: Mapping[int, int | None]) -> None:
        for key, look_us in looks.items():
            if look_us is None:
                del self._tables.watches[key]
            else:
                self._tables.watches[key] = look_us

    # The batch

    def load(self, ids: Collection[ExecutionId]) -> dict[ExecutionId, Execution]:
        executions = self._tables.executions
        return {id_: deepcopy(executions[id_]) for id_ in ids if id_ in executions}

    def commit(self, commit: Commit) -> None:
        for partition, moved in commit.moved.items():
            self._move(partition, moved)
        for partition, halt in commit.halts.items():
            if self._tables.offsets[partition].next != halt.offset:
                raise Fenced(f"partition {partition} does not stand at {halt.offset}")
            self._halts[partition] = HaltRow(halt)
        for id_, touched in commit.changes.touched.items():
            self._check_version(id_, touched.execution)
            self._store(id_, touched)
        for execution, first, last in commit.changes.erasures.values():
            held = self._erasures.get(execution.key, (first, last))
            self._erasures[execution.key] = (min(first, held[0]), max(last, held[1]))
        self._tables.counting.add(commit.changes)
        self._add_releases(commit.changes, commit.moved)
        self._add_quarantine(commit.changes.poison)
        self.owe(commit.deliveries)
        self.hinted |= hints_of(commit)

    def _move(self, partition: int, moved: Moved) -> None:
        row = self._tables.offsets.get(partition)
        halted = self._halts.get(partition)
        if row is None or row.next != moved.expected or (halted and halted.stands):
            raise Fenced(f"partition {partition} is halted, or does not stand at {moved.expected} any more")
        self._tables.offsets[partition] = OffsetRow(moved.next, max(row.planned, moved.next), moved.anchor)

    def _check_version(self, id_: ExecutionId, execution: Execution) -> None:
        stored = self._tables.executions.get(id_)
        if (stored.key if stored else 0) != execution.key:
            raise Fenced(f"execution '{execution.id}' was stored by somebody else first")
        if stored and stored.version != execution.stored_version:
            raise Fenced(f"execution '{execution.id}' changed since it was loaded")

    def _store(self, id_: ExecutionId, touched: Touched) -> None:
        execution, tables = touched.execution, self._tables
        execution.key = execution.key or max((it.key for it in tables.executions.values()), default=0) + 1
        execution.stored_version = execution.version
        tables.executions[id_] = deepcopy(execution)
        key = execution.key
        workflow = (execution.team, execution.workflow_id)
        labels = [(run[0], node.label) for run, node in execution.nodes.items()]
        names = dict.fromkeys((node_id, label[2][:MOST_CHARACTERS] if label else "") for node_id, label in labels)
        known = tables.node_names.get(workflow, frozenset())
        if new := [name for name in names if name not in known]:
            tables.node_names[workflow] = known.union(new[: MOST_NAMES - len(known)])
        fresh = [Place(event.record.partition, event.record.offset) for event in touched.fresh]
        tables.places[key] = [*tables.places.get(key, ()), *fresh]
        held = {} if touched.cleared else tables.payloads.get(key, {})
        tables.payloads[key] = {**held, **touched.payloads}
        lines = {} if touched.deleted else tables.log_lines.get(key, {})
        commands = {} if touched.deleted else dict(tables.commands.get(key, {}))
        for command in touched.commands:
            commands[command.id] = merged(commands.get(command.id), command)
        tables.commands[key] = commands
        if touched.look_us is not None:
            tables.watches[key] = min(touched.look_us, tables.watches.get(key, touched.look_us))
        tables.log_lines[key] = {**lines, **{line[:3]: line for line in touched.lines}}

    def _add_releases(self, changes: Changes, moved: Mapping[int, Moved]) -> None:
        for partition, (first, next_offset, _) in moved.items():
            batch = [it for it in changes.releases if it.event.record.partition == partition]
            if batch:
                stored = [stored_release(release, release.event.type in DERIVED) for release in batch]
                self._tables.releases[partition, first, next_offset] = stored

    # The journal's place

    def bind(self, incarnation: str, starts: Sequence[int]) -> None:
        asked = (incarnation, len(starts))
        if self._tables.journal is None:
            self._tables.journal = asked
            self._tables.offsets = {at: OffsetRow(start, start, b"") for at, start in enumerate(starts)}
        elif self._tables.journal != asked:
            raise journal_mismatch(self._tables.journal, asked)

    def pass_cut(self, partition: int, expected: int, next_offset: int) -> None:
        self._move(partition, Moved(expected, next_offset, b""))
        self._add_quarantine([cut_away(partition, expected, next_offset)])
        self._tables.releases[partition, expected, next_offset] = ()

    def forget_releases(self, partition: int, before: int, limit: int) -> int:
        gone = sorted(at for at in self._tables.releases if at[0] == partition and at[2] <= before)[:limit]
        for at in gone:
            del self._tables.releases[at]
        return len(gone)


def _sort_key(value: int | None, key: int) -> tuple[bool, int, int]:
    """A missing duration is smaller than any."""
    return (value is not None, value or 0, key)


def _row_key(row: tuple[Summary, int], query: ListQuery) -> tuple[bool, int, int]:
    view, key = row
    return _sort_key(view.at_us if query.sort.endswith("startedAt") else view.duration_us, key)


def _ordered(found: Iterable[tuple[Summary, int]], query: ListQuery) -> list[tuple[Summary, int]]:
    return sorted(found, key=lambda row: _row_key(row, query), reverse=query.sort.startswith("-"))


def _is_before(row: tuple[Summary, int], query: ListQuery) -> bool:
    return not _is_after(row, query) and (query.after is None or row[1] != query.after[1])


def _is_after(row: tuple[Summary, int], query: ListQuery) -> bool:
    assert query.after is not None
    here, there = _row_key(row, query), _sort_key(*query.after)
    return here < there if query.sort.startswith("-") else here > there
