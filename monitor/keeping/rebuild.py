"""`rebuild`: the store folded anew from the journal, beside the one in use, which it replaces in one step.

Promises: killed at any instruction, one of the two is in place, whole; nothing is sent twice, for what was planned
stays planned; settings, webhooks and what is owed to them stay as they are. No service may be running.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from monitor.access.decoding import Decoding, decoding_of
from monitor.anchors import check_rows
from monitor.clock import Clock, SystemClock
from monitor.errors import DataFolderBusy, StartupError
from monitor.events.blanking import anchor_of
from monitor.events.model import Record
from monitor.journal.base import Journal
from monitor.opening import need_own_store, open_folder
from monitor.projections.fold import FOLD_VERSION
from monitor.settings import Settings
from monitor.store.base import Moved, journal_mismatch
from monitor.store.comparison import TableComparison, compare
from monitor.store.copying import Course
from monitor.store.sqlite_rebuild import SQLiteRebuild, discard, keep_old, open_rebuild, settle, take_over, told_plainly

Spans = Mapping[int, tuple[int, int]]
"""By partition: the first offset that is folded, and the one after the last."""

P = ParamSpec("P")
T = TypeVar("T")

BEFORE: Final = "store.db.before-rebuild"
_FRESH: Final = "store.db.rebuild"

_BATCH: Final = 2_000
"""Records of a transaction, as the pipeline takes them under pressure."""


class Rebuilt(NamedTuple):
    """What a rebuild came to."""

    records: int
    # Executions of the live store, and how many of them were copied: their first record is gone from the journal, or
    # they are deleted.
    executions: int
    carried: int
    # The rules that the live store was folded by, and those of now.
    fold_versions: tuple[int, int]
    tables: Sequence[TableComparison]
    # Where the store of before is kept; None when nothing was replaced.
    before: Path | None = None

    @property
    def differing(self) -> int:
        """Rows that are not the same in both."""
        return sum(table.differing for table in self.tables)


async def rebuild(
    settings: Settings, course: Course, *, check: bool = False, rate: float | None = None, clock: Clock | None = None
) -> Rebuilt:
    """Fold the store of the data folder anew and take it into use; with `check` compare only, and change nothing.

    `rate`: records a second at most. Raises StartupError, naming the cure, when it cannot be done.
    """
    need_own_store(
        settings,
        "name an empty database with MONITOR_STORE, which is folded from the beginning of the topic, without webhooks "
        "and tokens; or restore a copy of the database",
    )
    live, fresh = settings.data / "store.db", settings.data / _FRESH
    if not live.exists():
        raise StartupError(
            f"{live} is missing: there is nothing to build anew; the next start folds the journal into one"
        )
    try:
        async with open_folder(settings, clock) as journal, _discarding(fresh):
            decoding = decoding_of(settings, exclusive=journal.exclusive)
            async with _open_work(live, fresh) as work:
                rebuilt = await work.fold_anew(journal, decoding, _Pace(rate, clock or SystemClock()), course)
                if check:
                    return rebuilt
                await work.call(SQLiteRebuild.keep_versions)
            await asyncio.to_thread(_switch, live, fresh)
            return rebuilt._replace(before=live.with_name(BEFORE))
    except DataFolderBusy as busy:
        raise DataFolderBusy(f"{busy.message}; a store is built anew while its service is stopped") from None


@asynccontextmanager
async def _discarding(fresh: Path) -> AsyncIterator[None]:
    """Leave nothing of an unfinished file behind; what a kill leaves, the next rebuild removes."""
    try:
        yield
    finally:
        await asyncio.to_thread(discard, fresh)


def _switch(live: Path, fresh: Path) -> None:
    with told_plainly():
        settle(live)
        keep_old(live, live.with_name(BEFORE))
        take_over(fresh, live)


class _Pace:
    """Holds a loop to so many records a second."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate, self._clock = rate, clock
        self._began_s, self._count = clock.monotonic_s(), 0

    async def keep(self, count: int) -> None:
        """Return when it is time for more than the `count` records that were just done."""
        self._count += count
        if self._rate is not None:
            ahead_s = self._count / self._rate - (self._clock.monotonic_s() - self._began_s)
            await self._clock.sleep(max(0.0, ahead_s))


class _Work:
    """The steps, on the thread that the new file belongs to."""

    def __init__(self, path: Path, file: SQLiteRebuild, thread: ThreadPoolExecutor) -> None:
        self._path, self._file, self._thread = path, file, thread

    async def call(self, step: Callable[Concatenate[SQLiteRebuild, P], T], *args: P.args, **options: P.kwargs) -> T:
        """Run a step. Raises StartupError when a file cannot be read or written."""
        return await _on(self._thread, partial(step, self._file, *args, **options))

    async def fold_anew(self, journal: Journal, decoding: Decoding, pace: _Pace, course: Course) -> Rebuilt:
        """Make the new file whole, and compare it with the live one."""
        fold_version = await self.call(SQLiteRebuild.prepare, self._path)
        spans = await self._spans(journal)
        records = sum(end - start for start, end in spans.values())
        with course("Copying", self._file.executions, "executions") as advance:
            carried = await self.call(SQLiteRebuild.carry_over, advance)
        with course("Folding", records, "records") as advance:
            await self._fold(journal, spans, decoding, pace, advance)
        await self.call(SQLiteRebuild.finish)
        with course("Comparing", None, "rows") as advance:
            tables = await self.call(compare, advance)
        return Rebuilt(records, self._file.executions, carried, (fold_version, FOLD_VERSION), tables)

    async def _spans(self, journal: Journal) -> Spans:
        """From where the journal begins now up to where the live store stands, which must belong to it."""
        file, asked = self._file, (journal.incarnation, journal.partitions)
        if file.journal != asked:
            raise journal_mismatch(file.journal, asked)
        await check_rows(journal, file.offsets)
        bounds = await journal.bounds()
        spans = {at: (min(bounds[at].start, row.next), row.next) for at, row in file.offsets.items()}
        await self.call(SQLiteRebuild.begin_at, {at: start for at, (start, _) in spans.items()})
        return spans

    async def _fold(
        self, journal: Journal, spans: Spans, decoding: Decoding, pace: _Pace, advance: Callable[[int], None]
    ) -> None:
        async for at, records in _batches(journal, spans):
            last = records[-1]
            moved = {last.partition: Moved(at, last.offset + 1, anchor_of(last))}
            await self.call(SQLiteRebuild.fold, await asyncio.to_thread(decoding.events, records), moved)
            advance(len(records))
            await pace.keep(len(records))


@asynccontextmanager
async def _open_work(live: Path, fresh: Path) -> AsyncIterator[_Work]:
    with ThreadPoolExecutor(1, "rebuild") as thread:
        file = await _on(thread, partial(open_rebuild, live, fresh))
        try:
            yield _Work(live, file, thread)
        finally:
            await _on(thread, file.close)


async def _on(thread: ThreadPoolExecutor, step: Callable[[], T]) -> T:
    def run() -> T:
        with told_plainly():
            return step()

    return await asyncio.get_running_loop().run_in_executor(thread, run)


async def _batches(journal: Journal, spans: Spans) -> AsyncIterator[tuple[int, Sequence[Record]]]:
    """Records batch by batch, each with the offset that follows the batch before."""
    for partition, (at, end) in spans.items():
        start = at
        while records := await journal.read(partition, start, end, _BATCH):
            yield start, records
            start = records[-1].offset + 1
