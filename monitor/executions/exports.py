"""Exports: every execution of a list, page by page, with as much memory as one page takes however many there are.

Each page is a short read of its own: nobody waits for an export, and nothing is held open while its reader is slow.
What changes meanwhile is exported as it is when its page is read; what is new pushes nothing out, since the list goes
on behind the last row that was read.
"""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from monitor.access.principal import Principal
from monitor.events.position import Position
from monitor.executions.reads import Asked, Found, Reads

PAGE_ROWS: Final = 500
"""Read at once: some 20 ms of one thread. With payloads a page ends earlier, by their size."""


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

    async def begin(self, who: Principal, asked: Asked, at_least: Position | None) -> Export:
        """The first page is read; the others are as they are asked for, and raise StoreUnavailable.

        Raises what `Reads.listed` raises.
        """
        asked = asked._replace(limit=PAGE_ROWS)
        first, position = await self._reads.listed(who, asked, at_least)

        async def pages() -> AsyncIterator[list[Found]]:
            page = first
            while True:
                yield page.rows
                if page.after is None:
                    return
                count = (first.total, first.total_is_lower_bound)
                page, _ = await self._reads.listed(who, asked._replace(after=page.after, counted=count), None)

        return Export(first.total, first.total_is_lower_bound, position, pages())
