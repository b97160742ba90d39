"""Data folders with many executions at rest, folded by the product's own fold and written by its own store.

Fifteen events each, spread over thirty days. What takes longer to build than to keep is kept in the cache, by layout of
the store; the journal beside it is empty, as if its records had been forgotten.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from monitor.clock import SystemClock
from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, Entry, Event, Record
from monitor.journal import open_sqlite_journal
from monitor.projections.execution import Execution
from monitor.projections.fold import FOLD_VERSION, fold
from monitor.store import Commit, Store, Writer, open_sqlite_store
from monitor.store.tables import SCHEMA_VERSION
from tests.perf._projection import chunks
from tests.support.made_up import STARTED_US, Mix, execution_id_of
from tests.support.traffic import traffic

WORKFLOWS: Final = 100
DAYS: Final = 30
END_US: Final = STARTED_US
"""When the last of them has ended, about: questions are asked of the time before it."""

_EVENTS: Final = 15
_SEED: Final = 1
_ACTIVE: Final = 64
_PERIOD_S: Final = DAYS * 86_400
_KEPT: Final = Path.home() / ".cache" / "execution-monitor"


def id_of(number: int) -> str:
    """The id of the execution of this number."""
    return execution_id_of(_SEED, number)


async def data_folder(executions: int, advance: Callable[[int], None], cache: Path = _KEPT) -> Path:
    """A data folder with so many, built when it is not there; `advance` hears of every portion of events."""
    folder = cache / f"bench-api-{SCHEMA_VERSION}.{FOLD_VERSION}-{executions}"
    if folder.exists():
        return folder
    making = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    await _fill(making, executions, advance)
    making.rename(folder)
    return folder


async def _fill(folder: Path, executions: int, advance: Callable[[int], None]) -> None:
    journal = await open_sqlite_journal(folder / "journal.db", clock=SystemClock())
    store = await open_sqlite_store(folder / "store.db")
    try:
        bounds = await journal.bounds()
        starts = [bounds[partition].start for partition in range(journal.partitions)]
        await store.write(lambda writer: writer.bind(journal.incarnation, starts), durable=True)
        await _fold(store, executions, advance)
    finally:
        await store.close()
        await journal.close()


async def _fold(store: Store, executions: int, advance: Callable[[int], None]) -> None:
    told = traffic(
        _SEED,
        executions,
        mix=Mix(workflows=WORKFLOWS),
        active=_ACTIVE,
        rate_per_s=executions * _EVENTS / _PERIOD_S,
        start_us=END_US - _PERIOD_S * 1_000_000,
    )
    active: dict[tuple[str, str], Execution] = {}
    offset = 0
    for entries in chunks(islice(told, executions * _EVENTS * 2), executions * _EVENTS * 2):
        events = [_event(entry, offset + place) for place, entry in enumerate(entries)]
        offset += len(events)
        await store.write(partial(_commit, events=events, active=active))
        for id_ in [id_ for id_, execution in active.items() if execution.ended_us is not None]:
            del active[id_]
        advance(len(events))


def _commit(writer: Writer, events: Sequence[Event], active: dict[tuple[str, str], Execution]) -> None:
    named = {(event.team, event.execution_id) for event in events}
    active |= writer.load([id_ for id_ in named if id_ not in active])
    for id_ in named:
        active.setdefault(id_, Execution(*id_))
    changes = fold(events, active)
    # Nobody replays them: their records are gone.
    changes.releases.clear()
    writer.commit(Commit(changes, {}, ()))


def _event(entry: Entry, offset: int) -> Event:
    record = Record(0, offset, entry.key, entry.value, (), END_US)
    event = decode(record, lambda _record, _claimed: DEFAULT_TEAM)
    assert isinstance(event, Event)
    return event
