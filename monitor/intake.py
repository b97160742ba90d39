"""Intake: the one door into the journal for everything that this service takes in or says itself.

`accept` promises: an accepted item is in the journal, durable, when the call returns; each item gets a verdict of its
own, and a bad one never harms the rest. Called by `POST /v1/events`; sources, engines and the janitor use `publish`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from monitor.access.masking import Masking
from monitor.access.rewriting import rewritten
from monitor.access.teams import team_rule
from monitor.errors import InvalidEvent, JournalUnavailable
from monitor.events.codec import DERIVED_ID_CHARACTERS, ORDINAL_HEADER, TeamOf, decode, derived_id
from monitor.events.model import TEAM_HEADER, Entry, Event, Place, Poison, Record
from monitor.events.position import Position, beginning
from monitor.events.types import MONITOR_SOURCE
from monitor.journal.base import Journal
from monitor.telemetry.metrics import Metrics

Headers = tuple[tuple[str, bytes], ...]
EventKey = tuple[str, str, bytes]
"""(team, execution id, digest of the event id): what makes an event a repeat."""

RECENT_EVENTS: Final = 32_768
"""Accepted events remembered for the verdict `duplicate`: a few requests of the largest size, about 8 MB."""

LATE_S: Final = 2.0
"""What an append may take: a cluster that does not answer is given up much later."""

_ITEMS_PER_SLICE: Final = 256
"""Decoded in one go, about 2 ms; then other tasks of the loop have their turn."""

_FOR_TEAM: Final = team_rule(exclusive=True, trust_body=False)


class Fault(NamedTuple):
    """Why an item was rejected: the words that quarantine uses too."""

    code: str
    field: str | None
    message: str


class Result(NamedTuple):
    """The verdict on one item of a request."""

    # Which item, from 0.
    place: int
    # Given or derived; None where the item is no event.
    id: str | None
    verdict: Literal["accepted", "duplicate", "rejected"]
    fault: Fault | None = None


class Receipt(NamedTuple):
    """The answer to a request, with a result for every item, in order."""

    # Covers each accepted and each repeated item; partitions that hold none stand at 0.
    position: Position
    results: list[Result]

    def number_of(self, verdict: str) -> int:
        """How many items got `verdict`."""
        return sum(result.verdict == verdict for result in self.results)


class Intake:
    """Checks events, derives what they lack and appends them, one journal append per request.

    Repeats within a request and of recent requests are told as `duplicate` and not appended again. An older repeat is
    accepted, and the fold drops it: memory here saves work and tells producers more, the guarantee is the fold's.
    """

    def __init__(
        self,
        journal: Journal,
        metrics: Metrics,
        *,
        trust_team: bool = False,
        masking: Masking | None = None,
        late_s: float = LATE_S,
    ) -> None:
        """`trust_team`: whoever reads a shared journal believes the `teamId` of bodies.

        With `masking` what it hides is never appended; ids and verdicts stay those of what was sent. `late_s`: an
        append that takes longer counts as a failure, for it may come to nothing.
        """
        self._journal = journal
        self._team_of = _checked(team_rule(exclusive=journal.exclusive, trust_body=trust_team))
        self._metrics, self._masking, self._late_s = metrics, masking, late_s
        # Requests that the journal did not take, or not in time: so often somebody may not have been heard.
        self.failures = 0
        # Checksum and place by event, oldest first.
        self._recent: OrderedDict[EventKey, tuple[int, Place]] = OrderedDict()

    async def accept(
        self, items: Sequence[bytes], *, team: str, headers: Headers = (), backfill: bool = True
    ) -> Receipt:
        """Take in events from outside, each as its producer wrote it; without `backfill`, none that is history.

        `headers` belong to every item: the attributes of a CloudEvent in binary mode. Raises JournalUnavailable when
        the append could not be confirmed; sending the same request again is safe.
        """
        return await self._take(items, team, headers, own=False, backfill=backfill)

    async def publish(self, events: Sequence[Mapping[str, Any]], *, team: str) -> Receipt:
        """Take in what this service says itself, as canonical members. Raises InvalidEvent for what is no event."""
        receipt = await self._take([msgspec.json.encode(event) for event in events], team, (), own=True, backfill=True)
        for result in receipt.results:
            if result.fault:
                raise InvalidEvent(f"event {result.place} of our own: {result.fault.message}", field=result.fault.field)
        return receipt

    async def _take(self, items: Sequence[bytes], team: str, headers: Headers, *, own: bool, backfill: bool) -> Receipt:
        request = _Request(team, self._team_of, self._masking, headers, self._recent, own=own, backfill=backfill)
        for index, item in enumerate(items):
            if index % _ITEMS_PER_SLICE == _ITEMS_PER_SLICE - 1:
                await asyncio.sleep(0)
            request.judge(index, item)
        places = await self._append(request.entries)
        self._remember(request.fresh, places)
        self._metrics.appended.inc(len(places))
        self._metrics.refused.inc(sum(result.fault is not None for result in request.results))
        return Receipt(self._position([*places, *request.repeated]), request.results)

    async def _append(self, entries: list[Entry]) -> list[Place]:
        if not entries:
            return []
        late = asyncio.get_running_loop().call_later(self._late_s, self._fail)
        try:
            return await self._journal.append(entries)
        except JournalUnavailable:
            self._fail()
            raise
        finally:
            late.cancel()

    def _fail(self) -> None:
        self.failures += 1

    def _remember(self, fresh: Mapping[EventKey, int], places: Sequence[Place]) -> None:
        for (key, checksum), place in zip(fresh.items(), places, strict=True):
            self._recent[key] = (checksum, place)
        while len(self._recent) > RECENT_EVENTS:
            self._recent.popitem(last=False)

    def _position(self, places: Sequence[Place]) -> Position:
        position = beginning(self._journal.incarnation, self._journal.partitions)
        for partition, last in {place.partition: place for place in sorted(places)}.items():
            position = position.advanced(partition, last.offset + 1)
        return position


class _Request:
    """The items of one request, judged in order: which are appended, and what is said about each."""

    def __init__(
        self,
        team: str,
        team_of: TeamOf,
        masking: Masking | None,
        headers: Headers,
        recent: Mapping[EventKey, tuple[int, Place]],
        *,
        own: bool,
        backfill: bool,
    ) -> None:
        self.entries: list[Entry] = []
        # Checksums of what is appended, in the order of `entries`.
        self.fresh: dict[EventKey, int] = {}
        # Where the events of earlier requests stand that this one repeats.
        self.repeated: list[Place] = []
        self.results: list[Result] = []
        self._headers = ((TEAM_HEADER, team.encode()), *headers)
        self._team_of, self._masking, self._own, self._backfill = team_of, masking, own, backfill
        self._recent = recent
        # How often an event without an id was seen.
        self._copies: dict[EventKey, int] = {}

    def judge(self, index: int, item: bytes) -> None:
        """Give `item` its verdict."""
        event = self._read(item)
        if isinstance(event, Poison):
            self._reject(index, None, Fault(event.reason, event.field, event.message))
        elif event.source == MONITOR_SOURCE and not self._own:
            message = f"the source '{MONITOR_SOURCE}' is the service itself"
            self._reject(index, event.id, Fault("forbidden_source", "source", message))
        elif event.backfill and not self._backfill:
            message = "history needs the scope 'events:backfill'; send it with such a token, or as news"
            self._reject(index, event.id, Fault("forbidden_backfill", "backfill", message))
        else:
            self._admit(index, event)

    def _read(self, item: bytes) -> Event | Poison:
        """The event as the projector will see it; equal items without an id are facts of their own and are counted."""
        record = Record(0, 0, None, item, self._headers, 0)
        event = decode(record, self._team_of)
        if isinstance(event, Event) and _is_derived(event, item):
            ordinal = self._copies.get(_key(event), 0)
            self._copies[_key(event)] = ordinal + 1
            if ordinal:
                record = record._replace(headers=(*self._headers, (ORDINAL_HEADER, b"%d" % ordinal)))
                event = decode(record, self._team_of)
        return event

    def _admit(self, index: int, event: Event) -> None:
        key = _key(event)
        checksum, place = self._recent.get(key, (self.fresh.get(key), None))
        if checksum is None:
            self._append(index, key, event)
        elif checksum == event.checksum:
            self.repeated += [place] if place else []
            self.results.append(Result(index, event.id, "duplicate"))
        else:
            message = f"another event of '{event.execution_id}' has the id '{event.id}' already"
            self._reject(index, event.id, Fault("id_reused", "id", message))

    def _append(self, index: int, key: EventKey, event: Event) -> None:
        record = event.record
        if self._masking is not None and (record := rewritten(event, self._masking)) is not event.record:
            again = decode(record, self._team_of)
            if isinstance(again, Poison):  # masks can be longer than what they hide
                self._reject(index, event.id, Fault(again.reason, again.field, f"once masked, {again.message}"))
                return
        self.fresh[key] = event.checksum
        self.entries.append(Entry(event.execution_id.encode(), record.value or b"", record.headers))
        self.results.append(Result(index, event.id, "accepted"))

    def _reject(self, index: int, event_id: str | None, fault: Fault) -> None:
        self.results.append(Result(index, event_id, "rejected", fault))


def _checked(read_as: TeamOf) -> TeamOf:
    """The team that an event came in for, if the projector, which goes by `read_as`, will see the same one."""

    def team_of(record: Record, said: str | None) -> str | None:
        team = _FOR_TEAM(record, said)
        return team if read_as(record, said) == team else None

    return team_of


def _is_derived(event: Event, item: bytes) -> bool:
    """Whether the event came without an id."""
    return len(event.id) == DERIVED_ID_CHARACTERS and event.id == derived_id(event.source, item)


def _key(event: Event) -> EventKey:
    return (event.team, event.execution_id, event.digest)
