"""A window: records that were read ahead of the store, by partition and bounded, until their commits are known."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from monitor.events.model import Record

MAX_RECORDS: Final = 2000
"""What a projector takes in one batch."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""Give or take what one poll of the journal brings."""


_OBJECT_BYTES: Final = 400
"""What a record costs beside its bytes."""


class Window:
    """Records in order, each partition's without a gap."""

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records, self._max_bytes = max_records, max_bytes
        self._records: dict[int, deque[Record]] = {}
        # Behind the last record that was added.
        self._ends: dict[int, int] = {}
        self._count = self._size_bytes = 0
        # Of what came last.
        self._mean_bytes = _OBJECT_BYTES

    @property
    def room(self) -> int:
        """How many more records it takes: as many as are likely to fit."""
        room_bytes = max(0, self._max_bytes - self._size_bytes)
        return min(self._max_records - self._count, -(-room_bytes // self._mean_bytes))

    def add(self, records: Sequence[Record]) -> None:
        """Take what was read, behind what is here."""
        if not records:
            return
        added_bytes = sum(map(_size_bytes, records))
        for record in records:
            self._records.setdefault(record.partition, deque()).append(record)
            self._ends[record.partition] = record.offset + 1
        self._count += len(records)
        self._size_bytes += added_bytes
        self._mean_bytes = added_bytes // len(records)

    def take(self, partition: int, before: int, most: int | None = None) -> list[Record]:
        """Give up to `most` records of the partition below the offset `before`, the oldest first; None = all."""
        held: deque[Record] = self._records.get(partition, deque())
        taken: list[Record] = []
        while held and held[0].offset < before and len(taken) != most:
            record = held.popleft()
            self._size_bytes -= _size_bytes(record)
            taken.append(record)
        self._count -= len(taken)
        return taken

    def end(self, partition: int) -> int:
        """Behind the partition's last record that was here; 0 when there was none."""
        return self._ends.get(partition, 0)

    def holds(self, partition: int) -> bool:
        """Whether records of the partition are here."""
        return bool(self._records.get(partition))

    def drop_largest(self) -> int:
        """Forget the records of the partition that holds most bytes, and say which."""
        partition = max(self._records, key=lambda at: sum(map(_size_bytes, self._records[at])))
        dropped = self._records.pop(partition)
        self._size_bytes -= sum(map(_size_bytes, dropped))
        self._count -= len(dropped)
        del self._ends[partition]
        return partition


def _size_bytes(record: Record) -> int:
    return _OBJECT_BYTES + len(record.key or b"") + len(record.value or b"")
