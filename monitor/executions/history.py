"""The raw history of an execution: its events as they came, read from the journal, and its state as it was then.

The store knows the place of every applied event, so nothing is kept twice. What the journal's retention has removed is
counted, never silently missing. Events come through the same door as everywhere, masked unless `revealed` asks for
them as they were written: that is for `reveals` alone, which guards it and tells the audit. Part of the desk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from monitor.access.decoding import Decoding
from monitor.access.principal import Principal
from monitor.errors import ExecutionNotFound, HistoryGone, InvalidCursor, InvalidPosition, TooLarge
from monitor.events.model import NOWHERE, Event, Place, Record
from monitor.events.position import Position, beginning
from monitor.executions.contents import MAX_NODES_INLINE, MAX_PAGE_BYTES, Contents, Found, data_of
from monitor.executions.finding import find_execution
from monitor.executions.lines import lines_for
from monitor.executions.reads import FIRST_LINES, Reading, Reads
from monitor.journal.base import Journal
from monitor.projections.execution import Execution, Node, NodeKey
from monitor.projections.fold import fold
from monitor.projections.loglines import LogLine
from monitor.projections.view import summary
from monitor.store.base import Reader

T = TypeVar("T")

MOST_FOLDED: Final = 20_000
"""Events that are folded for a state of then: some seconds."""

MOST_FOLDED_BYTES: Final = 64 << 20
"""Of such events together."""

_PORTION: Final = 200
_FIRST_PORTION: Final = 16
"""Nobody knows how large events are before some were read: up to a mebibyte each."""
_PORTION_BYTES: Final = 1 << 20
_SLICE_BYTES: Final = 128 << 10
"""Decoded and masked in one go; then other tasks of the loop have their turn."""
_MOST_SEEN: Final = 5_000
"""Events that are looked through for a page of some types; beyond it the page ends early, and the next one goes on."""


class Past(NamedTuple):
    """An event of then, and the position behind it: that of the execution with this event as its latest."""

    event: Event
    place: Place
    position: Position


class Passage(NamedTuple):
    """A page of a history, in order of arrival."""

    events: list[Past]
    # Events that the journal has no more.
    removed: int
    # Where the pages before and behind it start; None where nothing is there.
    before: Place | None
    after: Place | None


class History:
    """Reads histories. Every method raises ExecutionNotFound, PositionNotReached and Unavailable."""

    def __init__(self, reads: Reads, journal: Journal, decoding: Decoding) -> None:
        self._reads, self._journal, self._decoding = reads, journal, decoding

    async def events(
        self,
        who: Principal,
        execution_id: str,
        at_least: Position | None,
        *,
        types: Collection[str] | None,
        start: Place | None,
        backwards: bool,
        limit: int,
        revealed: bool = False,
    ) -> Reading[Passage]:
        """The first `limit` events behind `start`, or the last ones before it. Raises InvalidCursor."""
        places, position = await self._places(who, execution_id, at_least)
        removed = await self._removed(places)
        # Those that are nowhere are all the same, and so no place to go on from.
        places = [place for place in places if place.offset != NOWHERE]
        if start is not None and start not in places:
            raise InvalidCursor(field="cursor")
        if backwards:
            span = range(places.index(start) if start else len(places))
        else:
            span = range(places.index(start) + 1 if start else 0, len(places))
        found: dict[int, Event] = {}
        seen, size_bytes, portion = 0, 0, _FIRST_PORTION
        while seen < min(len(span), _MOST_SEEN) and len(found) < limit and size_bytes < MAX_PAGE_BYTES:
            some = span[max(0, len(span) - seen - portion) : len(span) - seen]
            some = some if backwards else span[seen : seen + portion]
            events = await self._read([places[index] for index in some], revealed=revealed)
            portion = _next_portion(portion, events)
            for index in reversed(some) if backwards else some:
                seen += 1
                event = events.get(places[index])
                if event is not None and (types is None or event.type in types):
                    found[index] = event
                    size_bytes += _size_bytes(event)
                    if len(found) == limit or size_bytes >= MAX_PAGE_BYTES:
                        break
        rest = len(span) - seen
        first, last = (rest, span.stop - 1) if backwards else (span.start, span.start + seen - 1)
        nearest = min(found, default=last + 1)
        ahead = self._behind(places[:nearest])
        shown: list[Past] = []
        for index in range(nearest, last + 1):
            place = places[index]
            ahead = ahead.advanced(place.partition, place.offset + 1)
            if index in found:
                shown.append(Past(found[index], place, ahead))
        return Reading(
            Passage(
                shown,
                removed,
                places[first] if first > 0 and first < len(places) else None,
                places[last] if -1 < last < len(places) - 1 else None,
            ),
            position,
        )

    async def as_of(
        self, who: Principal, execution_id: str, moment: Position | int, *, with_data: bool, with_lines: bool
    ) -> Reading[Found]:
        """The execution folded from its events up to a position, or up to a time of their arrival (microseconds).

        Raises HistoryGone when its first events are not in the journal any more, TooLarge when it has too many, and
        InvalidPosition for a position of another journal.
        """
        at_least = moment if isinstance(moment, Position) else None
        if at_least is not None and at_least.incarnation != self._journal.incarnation:
            raise InvalidPosition(field="asOf")
        places, position = await self._places(who, execution_id, at_least)
        if removed := await self._removed(places):
            raise _gone(execution_id, removed)
        wanted = [place for place in places if at_least is None or at_least.covers(*place)]
        then = _Then(who.team, execution_id)
        async for past in self._in_portions(wanted):
            then.apply([it for it in past if isinstance(moment, Position) or it.record.stored_us <= moment])
        if not then.execution.version:
            message = f"Execution with ID '{execution_id}' was not known then"
            raise ExecutionNotFound(message, executionId=execution_id)
        found = Found(
            summary(then.execution),
            data_of(then, 0, MAX_NODES_INLINE, MAX_PAGE_BYTES) if with_data else None,
            lines=lines_for(who, then.lines) if with_lines else None,
        )
        return Reading(found, position)

    async def revealed(
        self, who: Principal, execution_id: str, at_least: Position | None, work: Callable[[Contents], T]
    ) -> Reading[T]:
        """What `work` finds in the execution as it is, folded from its events as their producers wrote them.

        Raises HistoryGone unless the journal holds all of them, and TooLarge when they are too many.
        """
        places, position = await self._places(who, execution_id, at_least)
        removed = await self._removed(places)
        now, folded = _Then(who.team, execution_id), 0
        if not removed:
            async for events in self._in_portions(places, revealed=True):
                now.apply(events)
                folded += len(events)
            removed = len(places) - folded
        if removed:
            raise _gone(execution_id, removed)
        return Reading(work(now), position)

    async def _in_portions(self, places: Sequence[Place], *, revealed: bool = False) -> AsyncIterator[list[Event]]:
        """What these places hold, in their order, some at a time; what is gone is missing. Raises TooLarge."""
        if len(places) > MOST_FOLDED:
            raise TooLarge(f"A state is folded from up to {MOST_FOLDED} events; this has {len(places)}")
        at, size_bytes, portion = 0, 0, _FIRST_PORTION
        while at < len(places):
            some = places[at : at + portion]
            events = await self._read(some, revealed=revealed)
            at, portion = at + len(some), _next_portion(portion, events)
            size_bytes += sum(map(_size_bytes, events.values()))
            if size_bytes > MOST_FOLDED_BYTES:
                raise TooLarge(f"A state is folded from up to {MOST_FOLDED_BYTES} bytes of events")
            yield [events[place] for place in some if place in events]

    async def _places(self, who: Principal, execution_id: str, at_least: Position | None) -> Reading[Sequence[Place]]:
        def work(reader: Reader) -> Sequence[Place]:
            _, key = find_execution(reader, who, execution_id)
            return reader.places(key)

        return await self._reads.read(at_least, work)

    async def _removed(self, places: Sequence[Place]) -> int:
        bounds = await self._journal.bounds()
        return sum(place.offset < bounds[place.partition].start for place in places)

    async def _read(self, places: Iterable[Place], *, revealed: bool = False) -> dict[Place, Event]:
        """What these places hold; what is gone is missing."""
        by_partition: dict[int, list[int]] = {}
        for place in places:
            by_partition.setdefault(place.partition, []).append(place.offset)
        records: list[Record] = []
        for partition, offsets in by_partition.items():
            left = sorted(offsets)
            while left and (picked := await self._journal.pick(partition, left)):
                records += picked
                left = [offset for offset in left if offset > picked[-1].offset]
        return {
            Place(event.record.partition, event.record.offset): event
            for some in _slices(records)
            for event in await self._decoded(some, revealed)
        }

    async def _decoded(self, records: Sequence[Record], revealed: bool) -> list[Event]:
        await asyncio.sleep(0)
        read = self._decoding.revealed if revealed else self._decoding.events
        return [event for event in read(records) if isinstance(event, Event)]

    def _behind(self, places: Sequence[Place]) -> Position:
        position = beginning(self._journal.incarnation, self._journal.partitions)
        for partition, offset in dict(places).items():  # of each partition the last one, which is the highest
            position = position.advanced(partition, offset + 1)
        return position


def _gone(execution_id: str, removed: int) -> HistoryGone:
    message = f"The journal has no more the first {removed} event(s) of execution '{execution_id}'"
    return HistoryGone(message, executionId=execution_id, removedEvents=removed)


def _size_bytes(event: Event) -> int:
    return len(event.record.value or b"")


def _next_portion(portion: int, events: Mapping[Place, Event]) -> int:
    """More at a time as long as they are small."""
    size_bytes = sum(map(_size_bytes, events.values()))
    return min(2 * portion, _PORTION) if size_bytes < _PORTION_BYTES else _FIRST_PORTION


def _slices(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    start, size_bytes = 0, 0
    for end, record in enumerate(records, 1):
        size_bytes += len(record.value or b"")
        if size_bytes >= _SLICE_BYTES or end == len(records):
            yield records[start:end]
            start, size_bytes = end, 0


class _Then:
    """An execution as it was, with what the store would have held of it: reads as a store's snapshot does."""

    def __init__(self, team: str, execution_id: str) -> None:
        self.execution = Execution(team, execution_id)
        # The first ones: no more are shown.
        self.lines: list[LogLine] = []
        self._payloads: dict[str, bytes] = {}

    def apply(self, events: Sequence[Event]) -> None:
        id_ = (self.execution.team, self.execution.id)
        touched = fold(events, {id_: self.execution}).touched.get(id_)
        if touched is None:
            return
        if touched.cleared:
            self._payloads.clear()
        self._payloads |= touched.payloads
        lines = touched.lines if touched.deleted else [*self.lines, *touched.lines]
        self.lines = sorted(lines, key=lambda line: line[:3])[:FIRST_LINES]

    def nodes(self, _key: int) -> Mapping[NodeKey, Node]:
        return self.execution.nodes

    def payloads(self, _key: int, slots: Collection[str] | None = None) -> Mapping[str, bytes]:
        return {slot: value for slot, value in self._payloads.items() if slots is None or slot in slots}
