"""The store port: projections, releases, quarantine, statistics, webhooks and the offsets that they belong to.

Promises, held by one conformance suite over every driver:
- `write` runs its work in ONE transaction: all of it is stored, or nothing. No other runs beside it, unless both say
  that they may; and never two on one partition.
- `Writer.commit` moves each partition's offset by compare-and-set; a stale expectation, and a halted partition, raise
  Fenced.
- `read` runs its work on one consistent snapshot; what a finished `write` stored is seen by every later `read`.
- Work runs in a thread, must not await, and gets a session that is void afterwards.
Tables are of three kinds: ledger (endpoints, deliveries, attempts, quarantine decisions, tokens, audit; never
rebuilt), projections (executions, nodes, payloads, log lines, statistics; rebuilt from the journal), history
(releases).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from monitor.errors import JournalMismatch
from monitor.events.model import Place, Poison, Record
from monitor.events.position import Position
from monitor.projections.bursts import Halt
from monitor.projections.execution import Execution
from monitor.projections.fold import Changes, ExecutionId
from monitor.store.access import AccessReader, AccessWriter
from monitor.store.command_port import CommandReader
from monitor.store.counting import Counts
from monitor.store.delivery_port import (
    DeliveryReader,
    DeliveryWriter,
)
from monitor.store.endpoint_port import EndpointReader, EndpointWriter
from monitor.store.execution_port import ExecutionReader
from monitor.store.expiry import ExpiryReader, ExpiryWriter
from monitor.store.export_port import ExportReader, ExportWriter
from monitor.store.hints import Hint, Hints
from monitor.store.lease_port import LeaseReader, LeaseWriter
from monitor.store.order_port import OrderReader, OrderWriter
from monitor.store.quarantine_port import RETENTION_CUT, QuarantineReader, QuarantineWriter
from monitor.store.releases import ReleasedBatch, StoredRelease, Stretch
from monitor.store.watches import WatchReader, WatchWriter
from monitor.webhooks.delivery import Planned

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


class Binding(NamedTuple):
    """A journal that a copy of a store is bound to, and how far each partition is folded."""

    incarnation: str
    offsets: Mapping[int, OffsetRow]
    # Where a record stands in it that the store has elsewhere, and from where on an endpoint hears of it.
    of: Callable[[Place], Place]
    since: Callable[[Mapping[int, int]], Mapping[int, int]]


class Commit(msgspec.Struct, frozen=True):
    """Everything that one batch writes."""

    changes: Changes
    moved: Mapping[int, Moved]
    deliveries: Sequence[Planned]
    # Partitions that stand still from here on, where `moved` leaves them.
    halts: Mapping[int, Halt] = {}


class Reader(
    AccessReader,
    ExecutionReader,
    EndpointReader,
    DeliveryReader,
    ExpiryReader,
    CommandReader,
    Counts,
    OrderReader,
    ExportReader,
    QuarantineReader,
    WatchReader,
    LeaseReader,
    Protocol,
):
    """Questions about one consistent snapshot."""

    def position(self) -> Position:
        """How far the snapshot is folded."""
        ...

    def offsets(self) -> Mapping[int, OffsetRow]:
        """The offset row of every partition."""
        ...

    def releases(self, partition: int, start: int, end: int) -> Sequence[StoredRelease]:
        """Releases with `start <= offset < end`, in commit order; offsets without one (repeats, poison) are missing."""
        ...

    def batches(self, stretches: Mapping[int, Stretch]) -> Sequence[ReleasedBatch]:
        """The commits that released something in these stretches of partitions, and cuts that were passed there.

        By partition, each partition's in order; the outer ones may reach beyond their stretch. A stretch in which none
        lies held nothing to release, or what it held was forgotten.
        """
        ...

    def key_check(self) -> bytes | None:
        """What `set_key_check` stored."""
        ...


class Writer(
    Reader,
    EndpointWriter,
    DeliveryWriter,
    ExpiryWriter,
    AccessWriter,
    OrderWriter,
    ExportWriter,
    QuarantineWriter,
    WatchWriter,
    LeaseWriter,
    Protocol,
):
    """A transaction. It reads what it wrote; leaving `write` by an exception undoes everything."""

    def load(self, ids: Collection[ExecutionId]) -> dict[ExecutionId, Execution]:
        """The stored executions among `ids`, complete for the fold (registers, nodes, ids of events), in few reads."""
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
        """Move past records that are gone from the journal, leaving a quarantine row (`retention_cut`) that names them
        and, for who follows, a batch without releases.

        Raises Fenced.
        """
        ...

    def forget_releases(self, partition: int, before: int, limit: int) -> int:
        """Remove the releases of up to `limit` batches that ended at `before` or earlier, the oldest first, and say of
        how many: their records are gone from the journal.
        """
        ...

    def set_key_check(self, sealed: bytes) -> None:
        """Keep a constant that was sealed with the deployment's key."""
        ...


class Store(Protocol):
    """Everything at rest but the journal."""

    @property
    def hints(self) -> Hints:
        """Who wants to hear of commits, of this process and of others."""
        ...

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:
        """Run `work` in one transaction and return its answer once that is committed.

        It is the only one that writes meanwhile. `shared=True` lets others run beside it that say so too, where the
        driver can: for work that nothing but `load` and `commit`, or `claim` and `finish` of deliveries, make up, which
        guard their rows themselves.

        `durable=True` also survives a loss of power (fsync): for what a user is told is done. Without it a power cut
        may take back the latest commits as a whole, which the journal then repeats. Raises StoreUnavailable (disk full,
        I/O error): nothing was stored. Cancelled, the transaction still runs to its end.
        """
        ...

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on a snapshot. Raises StoreUnavailable."""
        ...

    async def wipe(self) -> bool:
        """Have no file of this store hold what was deleted, as far as that is in its hands. Raises StoreUnavailable.

        False when somebody reads what was there before: ask again later.
        """
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


def hints_of(commit: Commit) -> set[Hint]:
    """Of what others hear once a batch is stored."""
    return {"batch", "deliveries"} if commit.deliveries else {"batch"}
