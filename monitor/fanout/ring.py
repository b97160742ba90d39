"""A ring: the latest items under growing sequence numbers, bounded by bytes. Readers keep cursors of their own.

A cursor is the sequence number of the item that its reader wants next. A reader that is too slow finds its cursor below
`first`: the items between are gone, and the ring says so (`Fallen`) instead of skipping them.
"""

from typing import Final, Generic, TypeVar

T = TypeVar("T")

_COMPACT_AT: Final = 512
"""Dead places at the front of the list before it is compacted: removal then costs less than one move per item."""


class Fallen(Exception):
    """The cursor points at an item that the ring holds no more."""


class Ring(Generic[T]):
    """Holds items until they together exceed `limit_bytes`; the newest one always stays, however large it is."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        # Sequence number of the item to come.
        self.next = 0
        # The item that was dropped last.
        self.dropped: T | None = None
        self._items: list[tuple[T, int] | None] = []
        # Index in `_items` of the oldest item.
        self._head = 0

    def __len__(self) -> int:
        return len(self._items) - self._head

    @property
    def first(self) -> int:
        """Sequence number of the oldest item still held; `next` when there is none."""
        return self.next - len(self)

    def append(self, item: T, size_bytes: int) -> None:
        """Add the newest item and drop the oldest ones beyond the limit."""
        self._items.append((item, size_bytes))
        self.size_bytes += size_bytes
        self.next += 1
        while self.size_bytes > self.limit_bytes and len(self) > 1:
            self._drop()

    def clear(self) -> None:
        """Drop everything; sequence numbers go on."""
        while len(self):
            self._drop()

    def since(self, cursor: int, max_items: int) -> list[T]:
        """Up to `max_items` items from `cursor` on; empty at the end of the ring. Raises Fallen."""
        if cursor < self.first:
            raise Fallen
        start = self._head + cursor - self.first
        return [slot[0] for slot in self._items[start : start + max_items] if slot is not None]

    def at(self, sequence: int) -> T:
        """The item with this sequence number. Raises Fallen."""
        return self.since(sequence, 1)[0]

    def _drop(self) -> None:
        slot = self._items[self._head]
        assert slot is not None
        self.dropped = slot[0]
        self.size_bytes -= slot[1]
        # The place is freed at once, the list is shortened now and then.
        self._items[self._head] = None
        self._head += 1
        if self._head >= _COMPACT_AT and self._head * 2 >= len(self._items):
            del self._items[: self._head]
            self._head = 0
