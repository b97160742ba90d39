"""A store's file built anew beside the live one, which is read and never written. Blocking: called in one thread.

The ledger is copied. Executions whose first record the journal has lost, and those that are deleted, are copied as they
are, and so are the statistics, from which everything else is taken back: it is folded again by `fold`. What is copied
knows its events, so that records of it that are left in the journal change nothing. Keys stay what they were.
"""

import json
import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, StaticPool
from sqlalchemy.exc import DBAPIError

from monitor.errors import StartupError
from monitor.events.model import Event, Poison
from monitor.events.types import DERIVED
from monitor.projections.execution import Execution
from monitor.projections.fold import FOLD_VERSION, Changes, ExecutionId, Release, Touched, fold, withdraw
from monitor.store import rows
from monitor.store.base import Commit, Moved, OffsetRow
from monitor.store.copying import flush
from monitor.store.kinds import tables_of
from monitor.store.queries import Queries
from monitor.store.releases import StoredRelease, stored_release
from monitor.store.sqlite import check_layout, connect, driver_error, engine_over
from monitor.store.sqlite_write import SQLiteWriter
from monitor.store.tables import METADATA, make_tables

_CACHE_KIB: Final = 64 * 1024

PORTION: Final = 1_000
"""Executions that are copied or taken back at a time."""

_NOTE_QUARANTINED: Final = """
CREATE TEMP TABLE quarantined AS SELECT DISTINCT "partition", "offset" FROM live.quarantine ORDER BY 1, 2
"""
_SEEN: Final = """
SELECT p.key, p.tail FROM live.progress AS p JOIN live.executions AS e ON e.key = p.key
WHERE p.key > ? AND e.deleted = 0 ORDER BY p.key LIMIT ?
"""
_CARRIED_AMONG: Final = """
SELECT carried.key FROM json_each(?) AS wanted CROSS JOIN carried ON carried.key = wanted.value
"""
_FOLDED_ANEW: Final = """
SELECT key, team, id FROM live.executions
WHERE key > ? AND key NOT IN (SELECT key FROM carried) ORDER BY key LIMIT ?
"""
_KEYS: Final = """
SELECT e.key, e.team, e.id FROM json_each(?) AS wanted
CROSS JOIN live.executions AS e ON e.team = wanted.value ->> 0 AND e.id = wanted.value ->> 1
"""
_COUNT_TOTALS: Final = """
INSERT INTO totals (team, workflow_id, status, count)
SELECT team, workflow_id, status, count(*) FROM executions WHERE deleted = 0 GROUP BY team, workflow_id, status
"""
_KEEP_HEARD: Final = """
UPDATE progress SET heard_us = before.heard_us FROM live.progress AS before WHERE before.key = progress.key
"""
_KEEP_VERSIONS: Final = """
UPDATE progress SET version = before.version FROM live.progress AS before
WHERE before.key = progress.key AND before.version > progress.version
"""


class SQLiteRebuild:
    """The new file; made by `open_rebuild`, and taken into use by `take_over`."""

    def __init__(self, live: Path, fresh: Path) -> None:
        self._driver = connect(fresh, _CACHE_KIB)
        # Nobody needs half of it: until it is whole the disk may have it in any order.
        self._driver.execute("PRAGMA journal_mode = MEMORY")
        self._driver.execute("PRAGMA synchronous = OFF")
        self._driver.execute("ATTACH DATABASE ? AS live", (str(live),))
        # An immediate one would lock the live file too.
        self._engine = engine_over("BEGIN", poolclass=StaticPool, creator=lambda: self._driver)
        self._live = connect(live, _CACHE_KIB)
        self._live.execute("PRAGMA query_only = ON")
        self._live_engine = engine_over("BEGIN", poolclass=StaticPool, creator=lambda: self._live)
        # Of the live store.
        self.offsets: Mapping[int, OffsetRow] = {}
        # Of the new one: history begins there.
        self.starts: Mapping[int, int] = {}
        # The journal that it was folded from: incarnation and number of partitions.
        self.journal = ("", 0)
        # How many executions the live store has.
        self.executions = 0

    def prepare(self, path: Path) -> int:
        """Make the tables and copy the ledger; returns the version of the rules that the live store was folded by.

        Raises StartupError when `path`, the live one, is no store of this layout.
        """
        with self._live_engine.begin() as live:
            fold_version = check_layout(live, path)
            self.offsets = Queries(live).offsets()
            self.journal = self._live.execute(
                "SELECT coalesce(incarnation, ''), coalesce(partitions, 0) FROM meta"
            ).fetchone()
            self.executions = self._live.execute("SELECT count(*) FROM executions").fetchone()[0]
        with self._writing() as writer:
            make_tables(writer.connection)
            for name in ("meta", *tables_of("ledger"), *tables_of("sums"), *tables_of("words")):
                self._copy(name)
            self._driver.execute("DELETE FROM totals")
            self._driver.execute("UPDATE meta SET fold_version = ?", (FOLD_VERSION,))
            self._driver.execute("DELETE FROM sqlite_sequence")
            self._driver.execute("INSERT INTO sqlite_sequence SELECT * FROM live.sqlite_sequence")
            self._driver.execute(_NOTE_QUARANTINED)
            self._driver.execute('CREATE INDEX temp.quarantined_by_place ON quarantined ("partition", "offset")')
            self._driver.execute("CREATE TEMP TABLE carried (key INTEGER PRIMARY KEY)")
        return fold_version

    def begin_at(self, starts: Mapping[int, int]) -> None:
        """The offsets from which partitions are folded: where the journal begins, or the store stands before it."""
        self.starts = starts
        with self._writing():
            values = [(at, starts[at], row.planned, b"") for at, row in self.offsets.items()]
            self._driver.executemany(
                "INSERT INTO offsets (partition, next, planned, anchor) VALUES (?, ?, ?, ?)", values
            )

    def carry_over(self, advance: Callable[[int], None]) -> int:
        """Copy what cannot be folded anew, and take everything else back from the statistics; returns how many
        executions were copied. `advance` hears of every portion of executions.
        """
        with self._writing():
            self._driver.execute("INSERT INTO carried SELECT key FROM live.executions WHERE deleted = 1 ORDER BY key")
            if any(self.starts.values()):
                self._note_begun_before()
        [(carried,)] = self._driver.execute("SELECT count(*) FROM carried")
        after = 0
        while keys := self._page("SELECT key FROM carried WHERE key > ? ORDER BY key LIMIT ?", after):
            with self._writing():
                for name in tables_of("executions"):
                    span = "WHERE key BETWEEN ? AND ? AND key IN (SELECT key FROM carried)"
                    self._copy(name, span, (keys[0][0], keys[-1][0]))
            after = keys[-1][0]
            advance(len(keys))
        self._take_back(advance)
        return int(carried)

    def _note_begun_before(self) -> None:
        """Records of these are gone from the journal."""
        after = 0
        while found := self._page(_SEEN, after):
            gone = [(key,) for key, tail in found if self._has_lost(key, tail)]
            self._driver.executemany("INSERT INTO carried VALUES (?)", gone)
            after = found[-1][0]

    def _has_lost(self, key: int, tail: bytes) -> bool:
        chunks = self._driver.execute("SELECT entries FROM live.seen WHERE key = ? ORDER BY chunk", (key,))
        places = rows.unpack_places([*(entries for (entries,) in chunks), tail])
        return any(offset < self.starts[partition] for partition, offset in places)

    def _take_back(self, advance: Callable[[int], None]) -> None:
        after = 0
        while found := self._page(_FOLDED_ANEW, after):
            with self._live_engine.begin() as live:
                stored = SQLiteWriter(live).load([(team, id_) for _, team, id_ in found])
            changes = Changes()
            for execution in stored.values():
                withdraw(changes, execution)
            with self._writing() as writer:
                writer.commit(Commit(changes, {}, ()))
            after = found[-1][0]
            advance(len(found))

    def fold(self, events: Sequence[Event | Poison], moved: Mapping[int, Moved]) -> None:
        """Fold a batch. It owes nothing to anybody."""
        with self._writing() as writer:
            ids = {(event.team, event.execution_id) for event in events if isinstance(event, Event)}
            stored = writer.load(ids)
            executions = {id_: stored.get(id_) or Execution(*id_) for id_ in ids}
            writer.carried = self._carried(stored.values())
            writer.kept_offsets = {
                (event.record.partition, event.record.offset)
                for event in events
                if isinstance(event, Event) and executions[event.team, event.execution_id].key in writer.carried
            }
            writer.commit(Commit(fold(events, executions), moved, ()))

    def _carried(self, stored: Iterable[Execution]) -> set[int]:
        wanted = json.dumps([execution.key for execution in stored])
        found = self._driver.execute(_CARRIED_AMONG, (wanted,))
        return {key for (key,) in found}

    def finish(self) -> None:
        """Add up what is counted in lists, and stand where the live store stands; watch what it watches."""
        with self._writing():
            self._driver.execute("DELETE FROM totals")
            self._driver.execute(_COUNT_TOTALS)
            self._driver.execute("DELETE FROM offsets")
            self._copy("offsets")
            # Not before: nothing moves a partition that stands still.
            self._copy("halts")
            # When engines were heard of is no matter of records.
            self._driver.execute(_KEEP_HEARD)
            # What is to be looked at, and what is still to be blanked, is so however it is folded; of an execution that
            # the live store does not know, the fold says it.
            for name in ("watches", "erasures"):
                self._driver.execute(f"DELETE FROM {name} WHERE key IN (SELECT key FROM live.executions)")  # noqa: S608 - constants
                self._copy(name)

    def keep_versions(self) -> None:
        """Versions never go back: whoever has seen one takes only newer ones. After the comparison, which sees them."""
        with self._writing():
            self._driver.execute(_KEEP_VERSIONS)

    def rows_of(
        self, name: str, columns: Sequence[str], order: Sequence[str], *, live: bool
    ) -> Iterator[Sequence[Any]]:
        """Every row of a table, of the live store or of the new one, in order."""
        names, ordered = (", ".join(f'"{column}"' for column in part) for part in (columns, order))
        source = "live" if live else "main"
        return self._driver.execute(f'SELECT {names} FROM {source}."{name}" ORDER BY {ordered}')  # noqa: S608 - constants

    def name_of(self, key: int) -> tuple[str, str]:
        """Team and id of an execution, in whichever store it is."""
        for source in ("live", "main"):
            found = self._driver.execute(
                f"SELECT team, id FROM {source}.executions WHERE key = ?",  # noqa: S608 - constants
                (key,),
            ).fetchone()
            if found is not None:
                return found[0], found[1]
        return "", str(key)

    def close(self) -> None:
        """Let go of both files. Safe to call twice."""
        self._engine.dispose()
        self._live_engine.dispose()
        self._driver.close()
        self._live.close()

    @contextmanager
    def _writing(self) -> Iterator["_RebuildWriter"]:
        with self._engine.begin() as connection:
            yield _RebuildWriter(connection)

    def _copy(self, name: str, where: str = "", values: Sequence[int] = ()) -> None:
        columns = ", ".join(f'"{column.name}"' for column in METADATA.tables[name].columns)
        statement = f'INSERT INTO main."{name}" ({columns}) SELECT {columns} FROM live."{name}" {where}'  # noqa: S608 - constants
        self._driver.execute(statement, values)

    def _page(self, statement: str, after: int) -> list[Any]:
        return self._driver.execute(statement, (after, PORTION)).fetchall()


class _RebuildWriter(SQLiteWriter):
    """Writes batches with the keys, and about what was carried over the history, of the live store."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.connection = connection
        # Keys of executions in the batch that are carried over, and where its records of them stand.
        self.carried: set[int] = set()
        self.kept_offsets: set[tuple[int, int]] = set()

    def _new_keys(self, changes: Changes) -> Iterable[int]:
        new = [_id_of(touched) for touched in changes.touched.values() if not touched.execution.key]
        held = {(team, id_): key for key, team, id_ in self._driver.execute(_KEYS, (_ids(new),))}
        unheard = count(self._highest_key() + 1)
        return [held[id_] if id_ in held else next(unheard) for id_ in new]

    def _highest_key(self) -> int:
        [(highest,)] = self._driver.execute(
            "SELECT max(coalesce((SELECT max(key) FROM main.executions), 0),"
            " coalesce((SELECT max(key) FROM live.executions), 0))"
        )
        return int(highest)

    def _add_releases(self, releases: Iterable[Release], moved: Mapping[int, Moved]) -> None:
        """What was said of executions that are carried over was said by the rules of then."""
        bodies: dict[int, list[StoredRelease]] = defaultdict(list)
        for release in releases:
            record = release.event.record
            if (record.partition, record.offset) not in self.kept_offsets:
                bodies[record.partition].append(stored_release(release, release.event.type in DERIVED))
        for partition, (first, next_offset, _) in moved.items():
            kept = self._live_releases(partition, first, next_offset)
            bodies[partition] += [it for it in kept if (partition, it.offset) in self.kept_offsets]
        statement = "INSERT INTO releases (partition, first, next, body) VALUES (?, ?, ?, ?)"
        for partition, body in bodies.items():
            if body:
                packed = rows.pack_stored(sorted(body, key=lambda it: it.offset))
                self._many(statement, [(partition, moved[partition].expected, moved[partition].next, packed)])

    def _live_releases(self, partition: int, start: int, end: int) -> Iterator[StoredRelease]:
        found = self._driver.execute(
            "SELECT body FROM live.releases WHERE partition = ? AND next > ? AND first < ? ORDER BY next",
            (partition, start, end),
        )
        return (release for (body,) in found for release in rows.unpack_releases(body) if start <= release.offset < end)

    def _add_quarantine(self, poison: Iterable[Poison]) -> None:
        """What is in quarantine stays there; only what these rules refuse for the first time is new."""
        super()._add_quarantine(bad for bad in poison if not self._is_quarantined(bad))

    def _is_quarantined(self, bad: Poison) -> bool:
        place = (bad.record.partition, bad.record.offset)
        statement = 'SELECT 1 FROM quarantined WHERE "partition" = ? AND "offset" = ?'
        return self._driver.execute(statement, place).fetchone() is not None


def _id_of(touched: Touched) -> ExecutionId:
    return touched.execution.team, touched.execution.id


def _ids(ids: Iterable[ExecutionId]) -> str:
    return json.dumps(list(ids))


# --- files -----------------------------------------------------------------------------------------------------------


def open_rebuild(live: Path, fresh: Path) -> SQLiteRebuild:
    """A new file at `fresh`, for the store at `live`, which nobody may be using. What was left there is removed."""
    discard(fresh)
    settle(live)
    return SQLiteRebuild(live, fresh)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Say in one line why files cannot be worked on. The live one is as it was."""
    try:
        yield
    except (sqlite3.Error, DBAPIError, OSError) as error:
        raise StartupError(
            f"the store cannot be built anew: {driver_error(error)}; the one in use is as it was. See that the disk "
            "has room for a second one. If store.db is damaged, restore a backup"
        ) from error


def settle(path: Path) -> None:
    """Have everything that a store's file consists of in that one file."""
    connection = connect(path, _CACHE_KIB)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def discard(path: Path) -> None:
    """Remove a store's file, if there is one, with what belongs to it."""
    for suffix in ("-wal", "-shm", "-journal", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def keep_old(live: Path, before: Path) -> None:
    """Give the live file a second name, which stays when `take_over` gives away its first one."""
    named = before.with_name(f"{before.name}.new")
    discard(named)
    try:
        os.link(live, named)
    except OSError:  # a file system without links
        shutil.copyfile(live, named)
        flush(named)
    named.replace(before)


def take_over(fresh: Path, live: Path) -> None:
    """Put the new file in the place of the live one, in one step."""
    flush(fresh)
    for suffix in ("-wal", "-shm"):  # of a file that was closed, but they would be taken for those of the new one
        live.with_name(live.name + suffix).unlink(missing_ok=True)
    fresh.replace(live)
    flush(live.parent)
