"""Rehearsal: which of the latest events an endpoint would have been sent. Nothing is stored, and nothing sent.

The planner decides, as it does for events that come; the releases are read again from the journal's tail.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from msgspec.structs import replace

from monitor.errors import RetentionCut
from monitor.events.position import Position
from monitor.fanout.replay import PAGE_RECORDS, Replay
from monitor.projections.fold import Release
from monitor.store.base import Store
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.payload import Bodies
from monitor.webhooks.planner import Planner

MOST_RECORDS: Final = 10_000
"""About a second's reading, and enough to show a filter that fits nothing."""

MOST_EXAMPLES: Final = 5


class Rehearsed(NamedTuple):
    """What would have been sent."""

    endpoint: Endpoint
    # Events of the team among the records that were read.
    looked_at: int
    matched: int
    # The latest of those that matched, newest first.
    examples: tuple[Release, ...]


class Rehearsal:
    """Plans for what is over. One at a time: streams that come back read through the same replay."""

    def __init__(self, replay: Replay, store: Store, bodies: Bodies) -> None:
        self._replay, self._store, self._bodies = replay, store, bodies
        self._turn = asyncio.Lock()

    async def of(self, endpoint: Endpoint) -> Rehearsed:
        """For an endpoint as if it had always been there. Raises Unavailable."""
        # Bodies are made and thrown away; thin ones cost little, and who is sent something does not depend on them.
        planner = Planner([replace(endpoint, since={}, payload="thin")], self._bodies)

        def is_sent(release: Release) -> bool:
            return bool(planner.plan([release], {}, 0))

        async with self._turn:
            looked_at, matched, examples = await self._look(endpoint.team, is_sent)
        return Rehearsed(endpoint, looked_at, matched, examples)

    async def _look(self, team: str, is_sent: Callable[[Release], bool]) -> tuple[int, int, tuple[Release, ...]]:
        cut = await self._store.read(lambda reader: reader.position())
        position = _tail(cut)
        looked_at = matched = 0
        examples: list[Release] = []
        while not position.includes(cut):
            try:
                page = await self._replay.page(position, cut, PAGE_RECORDS, team)
            except RetentionCut as gone:
                position = position.advanced(gone.partition, min(gone.first, cut.offsets[gone.partition]))
                continue
            sent = [release for release in page.releases if is_sent(release)]
            looked_at, matched = looked_at + len(page.releases), matched + len(sent)
            examples = sorted([*sent, *examples], key=_stored_us, reverse=True)[:MOST_EXAMPLES]
            position = page.position
        return looked_at, matched, tuple(examples)


def _tail(cut: Position) -> Position:
    """Where the last records before `cut` begin, as many of each partition; some of them may be gone."""
    most = MOST_RECORDS // len(cut.offsets)
    return Position(cut.incarnation, tuple(max(0, end - most) for end in cut.offsets))


def _stored_us(release: Release) -> tuple[int, int]:
    record = release.event.record
    return record.stored_us, record.offset
