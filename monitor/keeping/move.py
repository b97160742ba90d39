"""`move`: what an embedded service has, taken to the topic and the database of a cluster that has nothing yet.

The journal's records are appended to the topic as they are, and the store is copied, not folded anew: executions whose
records are gone long since come along, nobody is told of anything again, and what is owed is owed on. Where the journal
is that topic already, the store alone is copied.

Promises: the folder stays as it is. Killed at any instruction and run again, it goes on where it stopped: of each
partition the topic holds the first records then, which are compared instead of appended, and the database is filled in
one transaction, last. What holds anything else is refused.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from typing import Final, NamedTuple

from monitor.access.audit import AuditEntry, AuditQuery
from monitor.access.principal import LOCAL
from monitor.access.teams import team_rule
from monitor.anchors import check_rows
from monitor.clock import Clock, SystemClock
from monitor.errors import DataFolderBusy, JournalUnavailable, RetentionCut, StartupError
from monitor.events.blanking import anchor_of
from monitor.events.codec import decode, encode
from monitor.events.model import DEFAULT_TEAM, TEAM_HEADER, Entry, Event, Place, Record
from monitor.events.relocation import Relocation
from monitor.journal.base import Bounds, Journal
from monitor.journal.partitioner import partition_for
from monitor.journal.sqlite import look_at_sqlite_journal
from monitor.opening import lock_folder, open_journal, proven_sealer
from monitor.settings import Settings
from monitor.sqlite_looks import connect_to_look
from monitor.store.base import Binding, OffsetRow, Reader, journal_mismatch
from monitor.store.copying import Course
from monitor.store.sqlite_look import SQLiteLook, look_at_sqlite_store

ACTION: Final = "data.move"
"""In the audit of the database, by the one who moved it: it is whole."""

_BATCH: Final = 2_000

_AS_TAKEN_IN: Final = team_rule(exclusive=True, trust_body=False)
_AS_SAID: Final = team_rule(exclusive=False, trust_body=True)


class Moved(NamedTuple):
    """What was moved."""

    # False: it had been, by an earlier run.
    is_news: bool
    records: int
    # By table.
    rows: Mapping[str, int]
    # Deliveries that somebody still waits for.
    owed: int


class _Log(NamedTuple):
    """The journal in the folder, which has one partition: its first and its next offset."""

    journal: Journal
    start: int
    end: int


class _Folder(NamedTuple):
    """What the folder holds."""

    store: SQLiteLook
    # None where the store belongs to a topic.
    log: _Log | None
    incarnation: str
    offsets: Mapping[int, OffsetRow]

    @property
    def name(self) -> str:
        """Of this state: what a folder got that was served on after it had been moved is not taken for moved."""
        ends = [self.log.end] if self.log else [row.next for row in self.offsets.values()]
        return f"{self.incarnation}-{sum(ends)}"


async def move(settings: Settings, course: Course, *, clock: Clock | None = None) -> Moved:
    """Move what the data folder holds to the journal and the store that the settings name.

    Raises StartupError, naming the cure, when that cannot be done.
    """
    if not settings.journal or not settings.shares_store:
        raise StartupError(
            "name where to: MONITOR_JOURNAL=kafka://host:port/topic and MONITOR_STORE=postgresql://...; MONITOR_DATA "
            "names the folder"
        )
    clock = clock or SystemClock()
    async with AsyncExitStack() as opened:
        folder = await _open_folder(settings, clock, opened)
        return await _move(settings, folder, course, clock, opened)


async def _open_folder(settings: Settings, clock: Clock, opened: AsyncExitStack) -> _Folder:
    path = settings.data / "store.db"
    if not path.exists():
        raise StartupError(f"{path} is missing: there is nothing to move; name the folder with MONITOR_DATA")
    try:
        lock_folder(settings.data, opened)
    except DataFolderBusy as busy:
        raise DataFolderBusy(f"{busy.message}; a folder is moved while its service is stopped") from None
    store = await look_at_sqlite_store(path)
    opened.push_async_callback(store.close)
    if not store.is_current:
        raise StartupError(f"{path} was folded by other rules: run `monitor rebuild` on it first")
    incarnation, offsets, proof = await store.read(_look)
    if proof is not None:
        proven_sealer(settings, proof)
    log = None
    if (settings.data / "journal.db").exists():
        journal = await look_at_sqlite_journal(settings.data / "journal.db", clock=clock)
        opened.push_async_callback(journal.close)
        incarnation = incarnation or journal.incarnation
        log = _Log(journal, *(await journal.bounds())[0])
    folder = _Folder(store, log, incarnation, offsets)
    if log:
        await _check_fit(folder, log.journal)
    return folder


def _look(reader: Reader) -> tuple[str, Mapping[int, OffsetRow], bytes | None]:
    return reader.position().incarnation, reader.offsets(), reader.key_check()


async def _check_fit(folder: _Folder, journal: Journal) -> None:
    """Raise JournalMismatch unless the store was folded from it."""
    if folder.incarnation != journal.incarnation:
        bound, asked = (folder.incarnation, len(folder.offsets)), (journal.incarnation, journal.partitions)
        raise journal_mismatch(bound, asked)
    await check_rows(journal, folder.offsets)


async def _move(settings: Settings, folder: _Folder, course: Course, clock: Clock, opened: AsyncExitStack) -> Moved:
    # The driver is optional.
    from monitor.store import postgres_filling as filling  # noqa: PLC0415

    url = settings.store.get_secret_value()
    source = opened.enter_context(closing(connect_to_look(settings.data / "store.db")))
    _check_teams(settings, filling.teams_in(source))
    owed = sum((await folder.store.read(lambda reader: reader.backlog(None))).counts.values())
    if await asyncio.to_thread(filling.is_filled, url, AuditQuery(DEFAULT_TEAM, ACTION, None, folder.name)):
        return Moved(False, 0, {}, owed)
    # That of the store is there.
    topic = await open_journal(settings if folder.log else settings.model_copy(update={"create_topics": False}), clock)
    opened.push_async_callback(topic.close)
    binding = await _moved_records(folder, folder.log, topic, course) if folder.log else await _bound(folder, topic)
    records = folder.log.end - folder.log.start if folder.log else 0
    mark = AuditEntry(
        at_us=clock.now_us(),
        team=DEFAULT_TEAM,
        principal=LOCAL.name,
        token_id=None,
        address=None,
        action=ACTION,
        object=folder.name,
        detail={"folder": str(settings.data.absolute()), "records": records},
    )
    with course("Filling the database", filling.count_rows(source), "rows") as advance:
        rows = await asyncio.to_thread(filling.fill, url, source, binding, mark, advance)
    return Moved(True, records, rows, owed)


async def _bound(folder: _Folder, topic: Journal) -> Binding:
    """To the topic from which the store was folded all the time."""
    await _check_fit(folder, topic)
    return Binding(topic.incarnation, folder.offsets, lambda place: place, lambda since: since)


def _check_teams(settings: Settings, teams: set[str]) -> None:
    others = sorted(teams - {DEFAULT_TEAM})
    if others and not settings.trust_team:
        raise StartupError(
            f"the folder holds the teams {', '.join(others)}, which a topic tells apart by what its events say alone: "
            "set MONITOR_TRUST_TEAM=on, here and for every process of the cluster, and let nobody write to the topic "
            "whom you do not trust"
        )


# --- records ---------------------------------------------------------------------------------------------------------


async def _moved_records(folder: _Folder, log: _Log, topic: Journal, course: Course) -> Binding:
    """To the topic, once it holds every record of the folder, and nothing else."""
    moved = await _move_records(log, topic, course)
    # All that the folder's store was folded from is folded, and planned.
    folded = folder.offsets[0].next if folder.offsets else log.start
    offsets = {at: OffsetRow(end, end, await _anchor(topic, at, end)) for at, end in moved.ends(folded).items()}
    return Binding(topic.incarnation, offsets, moved.of, lambda since: moved.ends(max(folded, since.get(0, 0))))


async def _anchor(topic: Journal, partition: int, end: int) -> bytes:
    """Of the record before `end`; empty where none is left."""
    try:
        records = await topic.read(partition, end - 1, end, 1) if end else []
    except RetentionCut:  # it was old enough to be gone already
        records = []
    return anchor_of(records[0]) if records else b""


async def _move_records(log: _Log, topic: Journal, course: Course) -> Relocation:
    """Where the records stand then."""
    held = await topic.bounds()
    if any(bounds.start for bounds in held.values()):
        raise _foreign("its first ones are gone")
    records = log.end - log.start
    if any(bounds.end for bounds in held.values()):
        with course("Comparing", records, "records") as advance:
            await _compare(log, topic, held, advance)
    moved = Relocation(log.start, topic.partitions)
    with course("Copying the journal", records, "records") as advance:
        async for batch in _walk(log, moved, topic.partitions):
            fresh = [(entry, place) for entry, place in batch if place.offset >= held[place.partition].end]
            if await _append(topic, [entry for entry, _ in fresh]) != [place for _, place in fresh]:
                raise _foreign("somebody writes to it")
            advance(len(batch))
    return moved


async def _append(topic: Journal, entries: Sequence[Entry]) -> list[Place]:
    try:
        return await topic.append(entries)
    except JournalUnavailable as error:
        raise StartupError(f"{error.message} Run the same command again: it goes on where it stopped.") from error


async def _walk(log: _Log, moved: Relocation, partitions: int) -> AsyncIterator[list[tuple[Entry, Place]]]:
    """Every record of the folder, batch by batch, each with its place in the topic."""
    at = log.start
    while records := await log.journal.read(0, at, log.end, _BATCH):
        entries = await asyncio.to_thread(_entries, records)
        yield [(entry, moved.add(partition_for(entry.key, partitions))) for entry in entries]
        at = records[-1].offset + 1


def _entries(records: Sequence[Record]) -> list[Entry]:
    return [_entry(record) for record in records]


def _entry(record: Record) -> Entry:
    """The record as a topic takes it: where its team was told by a header of ours, which nobody believes there, its
    event says it itself.
    """
    entry = Entry(record.key or b"", record.value or b"", record.headers, record.stored_us)
    if dict(record.headers).get(TEAM_HEADER, DEFAULT_TEAM.encode()) == DEFAULT_TEAM.encode():
        return entry
    event, said = decode(record, _AS_TAKEN_IN), decode(record, _AS_SAID)
    if not isinstance(event, Event) or event.team == said.team:
        return entry
    # Attributes of a CloudEvent would be read as the event.
    headers = tuple(header for header in record.headers if header[0] == TEAM_HEADER)
    return entry._replace(value=encode(event), headers=headers)


async def _compare(log: _Log, topic: Journal, held: Mapping[int, Bounds], advance: Callable[[int], None]) -> None:
    """Raise StartupError unless each partition holds the first records that belong there, as an earlier run left it."""
    moved = Relocation(log.start, topic.partitions)
    read: dict[int, deque[Record]] = defaultdict(deque)
    async for batch in _walk(log, moved, topic.partitions):
        for entry, place in batch:
            if place.offset < held[place.partition].end:
                ahead = read[place.partition]
                if not ahead:
                    ahead += await topic.read(place.partition, place.offset, held[place.partition].end, _BATCH)
                there = ahead.popleft()
                if there[1:5] != (place.offset, *entry[:3]):
                    raise _foreign("they are not those of this folder")
        advance(len(batch))
    ends = moved.ends(moved.end)
    if any(held[partition].end > end for partition, end in ends.items()):
        raise _foreign("they are more than this folder has")


def _foreign(why: str) -> StartupError:
    return StartupError(
        f"the topic of MONITOR_JOURNAL holds records already: {why}; name a topic that does not exist yet, or is new, "
        "and start producers when all is moved"
    )
