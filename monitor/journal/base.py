"""The journal port: the ordered log of record that every state is folded from.

Promises, held by one conformance suite over every driver:
- `append` returns when the entries are durable; entries with one key keep their order and share a partition.
- Offsets of a partition grow; they may have holes (transaction markers, compaction). A place never changes its bytes,
  but for `blank`, which takes away what the events of a deleted execution told.
- `incarnation` names one life of the log: it changes when the log is created anew, never otherwise.
- Errors of the driver surface as JournalUnavailable (try again) or a JournalError (look at it), never as themselves.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from monitor.events.model import Entry, Place, Record


class Bounds(NamedTuple):
    """What a partition holds: offsets `start` (first one still there) up to, not including, `end`."""

    start: int
    end: int


class Turnover(NamedTuple):
    """How a consumer's place among others has changed since it began."""

    # Times that it was given partitions, be they none.
    rebalances: int
    # Clients that failed and were replaced.
    rebuilds: int


FindOffsets = Callable[[Collection[int]], Awaitable[Mapping[int, int]]]
"""Asked with all partitions that are assigned, whenever they change, be they none; answers the offset to go on from for
each (the store's offset row).

One that is left out stands still until `reload`.
"""


class Consumer(Protocol):
    """Reads on from where the store stands. One task calls it; not for sharing."""

    async def poll(self, max_records: int, wait_s: float) -> Sequence[Record]:
        """Up to `max_records` records, each partition's contiguous from its expected offset, oldest first.

        Waits at most `wait_s` for the first one; an empty answer is normal. Never hands out a record below the expected
        offset of its partition, nor one of a partition that is not assigned any more, whatever the driver's client does
        during a rebalance or a reload. Cancelled, nothing is lost: the records come again.

        Records are in hand until the next `poll`, `reload` or `close`. Partitions that a group gives to somebody else
        go when nothing is in hand, or after some seconds: that one reads on where the other has written it down.

        Raises RetentionCut when the expected record is gone, JournalUnavailable when the log does not answer.
        After RetentionCut other partitions go on; the partition stands still until `reload`.
        """
        ...

    async def reload(self) -> None:
        """Ask `FindOffsets` again for every assigned partition, and go on from there, be it back or forth.

        After a commit that failed, and to pass a reported cut. What it raises is that question's; then ask again.
        """
        ...

    @property
    def assigned(self) -> frozenset[int]:
        """Partitions that this consumer reads now."""
        ...

    @property
    def reached(self) -> Mapping[int, int]:
        """By assigned partition: all records below have been handed out, also where the last offsets hold none.

        It may lag a second behind the log; for reports, not for offsets that are stored.
        """
        ...

    @property
    def turnover(self) -> Turnover:
        """What has happened to it, for reports; embedded logs are nobody's to share, so nothing does."""
        ...

    async def close(self) -> None:
        """Leave; other members take over. Safe to call twice."""
        ...


class Journal(Protocol):
    """An ordered, durable, partitioned log of event bytes."""

    @property
    def incarnation(self) -> str:
        """Twelve hexadecimal digits that name this life of the log."""
        ...

    @property
    def partitions(self) -> int:
        """Number of partitions; fixed for an incarnation."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether only this service can append: then its own headers (the team) can be believed."""
        ...

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        """Make `entries` durable and return their places, in order.

        Returns only when they survive a crash of this process (SQLite: of the machine, after fsync). Raises
        JournalUnavailable when that could not be confirmed: the entries may or may not be there; appending again with
        the same event ids is safe. Cancelled, the same holds.
        """
        ...

    async def bounds(self) -> Mapping[int, Bounds]:
        """First and next offset of every partition, now."""
        ...

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        """Records of `partition` with `start <= offset < end`, oldest first, at most `max_records`; repeatable.

        For replay and checks, not for the projector. Fewer than `max_records` is not the end, for large ones come in
        smaller portions; nothing is. Raises RetentionCut when `start` lies below what is left.
        """
        ...

    async def pick(self, partition: int, offsets: Sequence[int]) -> Sequence[Record]:
        """The records at these growing offsets of `partition`; those that are gone are missing in the answer.

        For the history of an execution, which lies scattered. Fewer may come than are there, once they are large: ask
        again with the offsets behind the last one. At least the first one that is left comes.
        """
        ...

    async def consumer(self, find_offsets: FindOffsets) -> Consumer:
        """A new consumer. Embedded logs assign every partition at once; Kafka assigns as the group decides."""
        ...

    async def tail(self, find_offsets: FindOffsets) -> Consumer:
        """A new consumer of every partition, for who follows what others fold.

        It is in nobody's group: it takes no partition from a `consumer`, tells nobody how far it is, and any number of
        them read the same. For the rest it is as one: from `find_offsets` on, cuts reported, `reload` to go elsewhere.
        """
        ...

    async def trim(self, partition: int, before: int) -> None:
        """Forget records below `before` (embedded logs; Kafka trims itself and does nothing here)."""
        ...

    async def find(self, partition: int, start: int, end: int, keys: Collection[bytes]) -> Sequence[int]:
        """Offsets of the records with these keys, `start <= offset < end`, growing; none of a shared log.

        It looks at every record in between: ask for some thousands at a time.
        """
        ...

    async def blank(self, blanks: Sequence[Record]) -> None:
        """Put blanks in the places that they name; a record that is gone stays gone. Durable when it returns.

        A shared log is nobody's to change: nothing happens there. Raises JournalUnavailable: none or all are blanked.
        """
        ...

    async def wipe(self) -> bool:
        """Have no file of this journal hold bytes that were blanked or trimmed.

        False when somebody reads what was there before: ask again later.
        """
        ...

    async def close(self) -> None:
        """Release everything. Safe to call twice."""
        ...
