"""The store port: projections, releases, quarantine, statistics, webhooks and the offsets that they belong to.

Promises, held by one conformance suite over every driver:
- `write` runs its work in ONE transaction: all of it is stored, or nothing. Two writers never run at once on a
  partition.
- `Writer.commit` moves each partition's offset by compare-and-set; a stale expectation, and a halted partition, raise
  Fenced.
- `read` runs its work on one consistent snapshot; what a finished `write` stored is seen by every later `read`.
- Work runs in a thread, must not await, and gets a session that is void afterwards.
Tables are of three kinds: ledger (endpoints, deliveries, attempts, quarantine decisions, tokens, audit; never
rebuilt), projections (executions, nodes, payloads, log lines, statistics; rebuilt from the journal), history
(releases).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from monitor.errors import JournalMismatch
from monitor.events.model import Place, Poison, Record
from monitor.events.position import Position
from monitor.projections.bursts import Halt
from monitor.projections.execution import Details, Execution, Node, NodeKey
from monitor.projections.filter import Filter
from monitor.projections.fold import Changes, ExecutionId, Release
from monitor.projections.loglines import LogLine, Spot
from monitor.projections.view import Summary
from monitor.store.access import AccessReader, AccessWriter
from monitor.store.command_port import CommandReader
from monitor.store.counting import Counts
from monitor.store.expiry import ExpiryReader, ExpiryWriter
from monitor.store.export_port import ExportReader, ExportWriter
from monitor.store.order_port import OrderReader, OrderWriter
from monitor.store.quarantine_port import RETENTION_CUT, QuarantineReader, QuarantineWriter
from monitor.store.watches import WatchReader, WatchWriter
from monitor.webhooks.delivery import AttemptDetail, Claimed, DeliveryState, Outcome, Planned, Trigger
from monitor.webhooks.endpoint import MOST_IN_FLIGHT, Endpoint
from monitor.webhooks.lane import Lane

T = TypeVar("T")


class Moved(NamedTuple):
    """How far a commit moves a partition."""

    # Next offset that must be stored now, else Fenced.
    expected: int
    next: int
    # Hash of the record at `next - 1`: recognises the journal at the next start.
    anchor: bytes


class OffsetRow(NamedTuple):
    """How far a partition is folded."""

    next: int
    # Deliveries are planned from here on; no rebuild lowers it.
    planned: int
    # Hash of the record at `next - 1`; empty before the first.
    anchor: bytes


class Commit(msgspec.Struct, frozen=True):
    """Everything that one batch writes."""

    changes: Changes
    moved: Mapping[int, Moved]
    deliveries: Sequence[Planned]
    # Partitions that stand still from here on, where `moved` leaves them.
    halts: Mapping[int, Halt] = {}


class StoredRelease(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A release at rest. The event itself is in the journal; `derived` names one that the fold concluded from it."""

    offset: int
    derived: str | None
    workflow_id: str
    workflow_name: str | None
    mode: str | None
    version: int
    status: str
    completed: int
    total: int
    current: str | None
    message: str | None
    started_us: int | None
    duration_us: int | None
    tags: list[str]
    details: Details
    created_us: int


class Page(NamedTuple):
    """One page of a list."""

    rows: list[Summary]
    # Whether rows follow in the direction of the page.
    has_more: bool
    # Exact where statistics hold it (status, workflow), else counted up to a bound.
    total: int
    total_is_lower_bound: bool


Sort = Literal["startedAt", "-startedAt", "duration", "-duration"]


class ListQuery(NamedTuple):
    """A page of executions of a team. Deleted ones are never listed."""

    team: str
    filter: Filter
    sort: Sort
    limit: int
    # (value of the sort column or None, key) of the row that the page starts behind; None = the first page.
    after: tuple[int | None, int] | None = None
    # The page ends before that row instead: the one that precedes it. Rows stand in the list's order all the same.
    backwards: bool = False
    # The number of rows in the list and whether that is a lower bound, as the first page told it; None = count them.
    counted: tuple[int, bool] | None = None
    # Rows that are passed by first, as lists by page number ask for: each costs a step along an index.
    skip: int = 0
    # In lower case (`searching.fold_text`): only what has it in its error, or ran a node with it in its name or id.
    text: str | None = None
    # How far rows are counted where no sum tells them; None = as far as takes no time.
    most_counted: int | None = None
    # Only what was first heard of by then.
    created_until_us: int | None = None


class DeliveryRow(NamedTuple):
    """A delivery and how it stands."""

    key: int
    id: str
    endpoint_key: int
    team: str
    event_id: str
    event_type: str
    execution_id: str
    state: DeliveryState
    # Why it failed, is held or cancelled: a stable word; None where there is nothing to say.
    reason: str | None
    trigger: Trigger
    attempts: int
    step: int
    due_us: int | None
    planned_us: int
    body: bytes


class DeliveryQuery(NamedTuple):
    """Which deliveries of an endpoint; every test that is None lets all of them through."""

    endpoint_key: int
    # As people see them: one that is pending but `halted` counts as held.
    states: tuple[DeliveryState, ...] | None = None
    # Each a type, or the beginning of types with a star: `node.*`.
    event_types: tuple[str, ...] | None = None
    execution_id: str | None = None
    # When they were planned: from `since_us` up to, not including, `until_us`.
    since_us: int | None = None
    until_us: int | None = None
    # Only those with smaller keys.
    before_key: int | None = None
    # What the last attempt was made for, or the next one will be.
    triggers: tuple[Trigger, ...] | None = None


class AttemptRow(NamedTuple):
    """One send of a delivery; `finished_us` is None while it runs. `interrupted`: the process ended over it."""

    n: int
    trigger: Trigger
    started_us: int
    finished_us: int | None
    status: int | None
    error: str | None
    answer: bytes
    detail: AttemptDetail | None


class Backlog(NamedTuple):
    """What is owed to one endpoint, or to all."""

    # Deliveries by state, those that are not final: pending, leased, held (with those that are halted).
    counts: Mapping[str, int]
    # When the oldest pending one was planned; None when nothing is pending.
    oldest_us: int | None


REDELIVERABLE: Final[tuple[DeliveryState, ...]] = ("pending", "delivered", "failed", "held")
"""States from which a delivery can be sent again: nobody works on it, and nobody has called it off."""

ReplayState = Literal["running", "done", "cancelled"]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A job that queues an endpoint's deliveries once more, in portions."""

    # The store's integer key; 0 until it is stored.
    key: int = 0
    id: str
    team: str
    endpoint_key: int
    query: DeliveryQuery
    state: ReplayState = "running"
    created_us: int
    finished_us: int | None = None
    # How many there were when it was asked for.
    matched: int
    # How many of them it has queued so far, and the key up to which it has looked.
    queued: int = 0
    cursor: int = 0


class Reader(
    AccessReader,
    ExpiryReader,
    CommandReader,
    Counts,
    OrderReader,
    ExportReader,
    QuarantineReader,
    WatchReader,
    Protocol,
):
    """Questions about one consistent snapshot."""

    def position(self) -> Position:
        """How far the snapshot is folded."""
        ...

    def offsets(self) -> Mapping[int, OffsetRow]:
        """The offset row of every partition."""
        ...

    def execution(self, team: str, execution_id: str) -> tuple[Summary, int] | None:
        """The view of an execution and its key; None when there is none, it is deleted, or it is another team's."""
        ...

    def executions(self, query: ListQuery) -> tuple[Page, list[int]]:
        """A page and the key of each row (for the cursor), by keyset: page 1000 costs what page 1 does."""
        ...

    def nodes(self, key: int) -> Mapping[NodeKey, Node]:
        """Every stored node run of an execution."""
        ...

    def places(self, key: int) -> Sequence[Place]:
        """Where every applied event of an execution stands in the journal, in order of arrival; no repeats."""
        ...

    def payloads(self, key: int, slots: Collection[str] | None = None) -> Mapping[str, bytes]:
        """JSON bytes by slot name; all slots when `slots` is None."""
        ...

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
        """The first `limit` lines in order of (time, event, place), `falling` the last ones; both times included.

        Those behind the spot `beyond` alone, in the direction of reading.
        """
        ...

    def releases(self, partition: int, start: int, end: int) -> Sequence[StoredRelease]:
        """Releases with `start <= offset < end`, in commit order; offsets without one (repeats, poison) are missing."""
        ...

    def endpoints(self, team: str | None, *, after_key: int = 0, limit: int | None = None) -> Sequence[Endpoint]:
        """Endpoints of a team in order of registration, behind `after_key`; of every team for None. Removed ones are
        gone.
        """
        ...

    def endpoint_count(self, team: str) -> int:
        """How many a team has."""
        ...

    def endpoint(self, team: str, endpoint_id: str) -> Endpoint | None:
        """One of a team; None when it has none of that id."""
        ...

    def endpoint_of(self, key: int) -> Endpoint | None:
        """The one of a key; None when it is gone."""
        ...

    def lane(self, endpoint_key: int) -> Lane:
        """What is remembered of an endpoint's receiver."""
        ...

    def deliveries(self, query: DeliveryQuery, limit: int) -> Sequence[DeliveryRow]:
        """The latest deliveries that fit, newest first."""
        ...

    def delivery_count(self, query: DeliveryQuery) -> int:
        """How many fit."""
        ...

    def keys_of(self, query: DeliveryQuery, after_key: int, limit: int) -> Sequence[int]:
        """Keys of the first deliveries that fit behind `after_key`, oldest first."""
        ...

    def delivery(self, team: str, delivery_id: str) -> DeliveryRow | None:
        """One of a team, also when its endpoint is removed."""
        ...

    def attempts(self, delivery_id: str) -> Sequence[AttemptRow]:
        """Every attempt of a delivery, in order."""
        ...

    def backlog(self, endpoint_key: int | None) -> Backlog:
        """What is owed to an endpoint; to all of them for None."""
        ...

    def next_look_us(self) -> int | None:
        """When there may be something to do for a deliverer: a lane to look at or a lease that ends; None = never."""
        ...

    def replay(self, team: str, replay_id: str) -> Replay | None:
        """One of a team."""
        ...

    def replays(self, endpoint_key: int | None) -> Sequence[Replay]:
        """Those of an endpoint, newest first; for None all that run."""
        ...

    def untried(self, replay_key: int) -> int:
        """How many deliveries a replay has queued that nobody has sent yet."""
        ...

    def key_check(self) -> bytes | None:
        """What `set_key_check` stored."""
        ...


class Writer(Reader, ExpiryWriter, AccessWriter, OrderWriter, ExportWriter, QuarantineWriter, WatchWriter, Protocol):
    """A transaction. It reads what it wrote; leaving `write` by an exception undoes everything."""

    def load(self, ids: Collection[ExecutionId]) -> dict[ExecutionId, Execution]:
        """The stored executions among `ids`, complete for the fold (registers, nodes, ids of events), in few reads."""
        ...

    def endpoints_version(self) -> int:
        """Changes whenever an endpoint does: the planner's table is made anew then."""
        ...

    def commit(self, commit: Commit) -> None:
        """Write a batch. Executions without a key get the next ones, in order of first appearance.

        Raises Fenced when a partition's offset is not the expected one or it is halted, or a row changed since it was
        loaded (its version differs from `stored_version`); on return every execution's `stored_version` is its
        `version`.
        """
        ...

    def bind(self, incarnation: str, starts: Sequence[int]) -> None:
        """Tie an empty store to a journal whose partitions begin at `starts`, and make their offset rows there.

        Again with the same incarnation and number of partitions it changes nothing; raises JournalMismatch when the
        store is tied to another journal.
        """
        ...

    def pass_cut(self, partition: int, expected: int, next_offset: int) -> None:
        """Move past records that are gone from the journal, leaving a quarantine row (`retention_cut`) that names them.

        Raises Fenced.
        """
        ...

    def forget_releases(self, partition: int, before: int) -> None:
        """Remove the releases of batches that ended at `before` or earlier: their records are gone from the journal."""
        ...

    def set_key_check(self, sealed: bytes) -> None:
        """Keep a constant that was sealed with the deployment's key."""
        ...

    # Endpoints and their lanes

    def add_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """Store it with a lane of its own and return it with its key."""
        ...

    def update_endpoint(self, endpoint: Endpoint) -> None:
        """Replace the stored one of its key. Its lane is looked at next time."""
        ...

    def remove_endpoint(self, team: str, endpoint_id: str) -> int | None:
        """Remove it with its lane and cancel what is owed to it: how much that was; None = there is no such one."""
        ...

    def put_lane(self, endpoint_key: int, lane: Lane) -> None:
        """Replace what is remembered of its receiver. Whoever does so has it looked at, by `finish` or
        `update_endpoint`.
        """
        ...

    # What is owed

    def owe(self, planned: Sequence[Planned]) -> None:
        """Store deliveries that are not there yet, to endpoints that still are, beside a commit's."""
        ...

    def claim(
        self, *, now_us: int, lease: str, until_us: int, limit: int, share: int = MOST_IN_FLIGHT
    ) -> list[Claimed]:
        """Lease due deliveries, lanes in turns, each as far as it has room (`lane.room`); attempts count as started.

        `limit` in all, and no lane beyond `share` in flight.

        A lane that waited longest comes first. Leases that have ended by `now_us` are taken back first: their attempts
        stay, as `interrupted`, and use up nothing of the schedule. A test that was interrupted has failed: whoever
        asked for it is gone.
        """
        ...

    def begin(self, planned: Planned, trigger: Trigger, *, now_us: int, lease: str, until_us: int) -> Claimed | None:
        """Store a delivery that is leased at once, whatever its lane says: a test. None: the endpoint is gone."""
        ...

    def finish(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Record ended attempts; returns the keys of deliveries whose lease held. Where one was lost, only the attempt
        is recorded. What waited for one that ended is due now.
        """
        ...

    def release_leases(self, lease_prefix: str, now_us: int) -> int:
        """Take back what a deliverer of that name holds, as `claim` takes back leases that ended; returns how many."""
        ...

    # What people decide

    def redeliver(
        self,
        keys: Sequence[int],
        trigger: Trigger,
        *,
        due_us: int,
        rank: int = 0,
        replay_key: int | None = None,
        states: Collection[DeliveryState] = REDELIVERABLE,
    ) -> int:
        """Make those that are in one of `states`, of endpoints that still are, pending again, with a fresh schedule.
        Returns how many.

        Rank 0 is live, 1 is served when nothing live is due. Where an order is kept, each waits for those before it
        that are of the same rank.
        """
        ...

    def cancel(self, keys: Sequence[int], reason: str, now_us: int) -> int:
        """End deliveries that are pending, leased or held; what waited for them is due now. Returns how many."""
        ...

    def hold_overflow(self, limit: int, now_us: int, most: int) -> Mapping[int, int]:
        """Hold (`overflow`) what is pending beyond `limit` in each lane: the oldest events of nodes, progress and logs,
        never the end of an execution, nor who is halted; `most` of a lane at once. Returns how many by endpoint.
        """
        ...

    def put_replay(self, replay: Replay) -> Replay:
        """Store it, or replace the stored one of its key."""
        ...

    def end_replayed(self, replay_key: int, now_us: int) -> int:
        """Take back what a replay queued and nobody has sent yet: delivered if it once was, else failed."""
        ...

    def forget_deliveries(self, before_us: int, after_key: int, limit: int) -> tuple[int, int]:
        """Remove deliveries planned before, of the first `limit` behind `after_key`, that are delivered, failed or
        cancelled, with their attempts. The latest delivery of all stays, for keys are never given again. Returns how
        many, and the key up to which it looked; 0 = to the end.
        """
        ...

    def set_back(self, by_us: int) -> None:
        """Bring every time that a delivery, a lease or a lane waits for nearer by so much: the clock was set back."""
        ...


class Store(Protocol):
    """Everything at rest but the journal."""

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False) -> T:
        """Run `work` in one transaction and return its answer once that is committed.

        `durable=True` also survives a loss of power (fsync): for what a user is told is done. Without it a power cut
        may take back the latest commits as a whole, which the journal then repeats. Raises StoreUnavailable (disk full,
        I/O error): nothing was stored. Cancelled, the transaction still runs to its end.
        """
        ...

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on a snapshot. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Release everything. Safe to call twice."""
        ...


def journal_mismatch(bound: tuple[str, int], asked: tuple[str, int]) -> JournalMismatch:
    """Why a store that is tied to one journal (incarnation, partitions) does not take another."""
    return JournalMismatch(
        f"The store was built from journal {bound[0]} with {bound[1]} partition(s), not {asked[0]} with {asked[1]};"
        " put that journal back, or restore both from one backup with `monitor restore` into an empty folder. Or move"
        " store.db away to fold this journal from its beginning, without webhooks and tokens."
    )


def cut_away(partition: int, first: int, next_offset: int) -> Poison:
    """What quarantine says of records `first` up to, not including, `next_offset`, which nobody can read any more."""
    record = Record(partition, first, None, None, (), 0)
    message = f"records {first} to {next_offset - 1} of partition {partition} are gone from the journal"
    return Poison(record, RETENTION_CUT, None, message)


def blanked_release(release: StoredRelease) -> StoredRelease:
    """What history keeps of it once its execution is deleted: no words of the producer's own."""
    return msgspec.structs.replace(release, current=None, message=None, tags=[])


def stored_release(release: Release, derived: bool) -> StoredRelease:
    """What history keeps of a release."""
    event, progress = release.event, release.progress
    return StoredRelease(
        event.record.offset,
        event.type if derived else None,
        release.workflow_id,
        release.workflow_name,
        release.mode,
        release.version,
        release.status,
        progress.completed,
        progress.total,
        progress.current,
        progress.message,
        release.started_us,
        release.duration_us,
        release.tags,
        release.details,
        release.created_us,
    )
