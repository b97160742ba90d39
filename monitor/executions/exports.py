"""Exports: every execution of a list, page by page, with as much memory as one page takes however many there are.

Each page is a short read of its own: nobody waits for an export, and nothing is held open while its reader is slow.
What changes meanwhile is exported as it is when its page is read; what is new pushes nothing out, since the list goes
on behind the last row that was read; what moves within the list, for it has another start than was thought, comes once
at most.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from monitor.access.principal import Principal
from monitor.events.position import Position
from monitor.executions.contents import Found
from monitor.executions.pages import Listed
from monitor.executions.reads import Asked, Reads

PAGE_ROWS: Final = 500
"""Read at once: some 20 ms of one thread. With payloads a page ends earlier, by their size."""


class RowForm(Protocol):
    """How rows stand in a file. Pure."""

    def head(self) -> bytes:
        """What the file begins with."""
        ...

    def rows(self, found: Sequence[Found], *, is_first: bool) -> bytes:
        """These rows; whether none stand before them."""
        ...

    def end(self) -> bytes:
        """What the file ends with."""
        ...


class Once:
    """Lets each execution pass once: a bit for each that the store knows, so that a million of them take 125 kB."""

    def __init__(self, keys: Iterable[int] = ()) -> None:
        """`keys` have passed already."""
        self._bits = bytearray()
        for key in keys:
            self._is_new(key)

    def only(self, page: Listed) -> tuple[list[Found], list[int]]:
        """The rows of a page that were not seen before, and their keys."""
        new = [(row, key) for row, key in zip(page.rows, page.keys, strict=True) if self._is_new(key)]
        return [row for row, _ in new], [key for _, key in new]

    def _is_new(self, key: int) -> bool:
        place, bit = key >> 3, 1 << (key & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits))))
        is_new = not self._bits[place] & bit
        self._bits[place] |= bit
        return is_new


class Export(NamedTuple):
    """What is going to be exported."""

    # Rows in the list when it began; at least so many, where that is not counted to its end.
    total: int
    total_is_lower_bound: bool
    # How far the state was folded when it began.
    position: Position
    pages: AsyncIterator[list[Found]]


class Exports:
    """The exporting part of the desk."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def begin(
        self, who: Principal, asked: Asked, at_least: Position | None, *, since_us: int | None = None
    ) -> Export:
        """The first page is read; the others are as they are asked for, and raise StoreUnavailable.

        With `since_us`, a list that begins with the newest ends before the first one of an earlier time: of its start,
        or of when it was first heard of where it has not started. Raises what `Reads.listed` raises.
        """
        assert since_us is None or asked.sort == "-startedAt"
        asked = asked._replace(limit=PAGE_ROWS)
        first, position = await self._reads.listed(who, asked, at_least)

        async def pages() -> AsyncIterator[list[Found]]:
            page, once = first, Once()
            while True:
                rows = once.only(page)[0]
                yield [row for row in rows if since_us is None or row.summary.at_us >= since_us]
                if page.after is None or (since_us is not None and page.rows[-1].summary.at_us < since_us):
                    return
                count = (first.total, first.total_is_lower_bound)
                page, _ = await self._reads.listed(who, asked._replace(after=page.after, counted=count), None)

        return Export(first.total, first.total_is_lower_bound, position, pages())
