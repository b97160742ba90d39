"""The layout of `journal.db`, and every statement that is run on it. Blocking: called in the journal's threads.

A record's place is one integer, partition and offset side by side, and the table's key: appending writes at the end of
a partition's range, reading scans it in order. The columns `partition` and `offset` are there for people.
"""

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from monitor.errors import JournalMismatch, StartupError
from monitor.events.model import Entry, Original, Place, Record
from monitor.events.position import INCARNATION_BYTES
from monitor.journal.base import Bounds
from monitor.journal.partitioner import partition_for
from monitor.sqlite_errors import unusable
from monitor.sqlite_looks import connect_to_look
from monitor.sqlite_traces import leave_none

SCHEMA_VERSION: Final = 1

# 48 bits of offset: a million events a second for nine years. What is left holds 32,767 partitions.
_OFFSET_BITS: Final = 48
_OFFSET_MASK: Final = (1 << _OFFSET_BITS) - 1

# What one read brings into memory at most, however many records were asked for.
_READ_BYTES: Final = 16 << 20

_CREATE: Final = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE starts (partition INTEGER PRIMARY KEY, "offset" INTEGER NOT NULL);
CREATE TABLE records (
    place INTEGER PRIMARY KEY,
    partition INTEGER AS (place >> {_OFFSET_BITS}) VIRTUAL,
    "offset" INTEGER AS (place & {_OFFSET_MASK}) VIRTUAL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    headers BLOB,
    stored_us INTEGER NOT NULL
);
"""

# Header of a blank: the checksum (four bytes) and the anchor of the record in whose place it stands. Entries cannot
# bring it in: their headers are the team and attributes of a CloudEvent.
_ORIGINAL: Final = "monitor-original"

_WAY_OUT: Final = "begin a new one, together with store.db, which was folded from it"

_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


class Identity(NamedTuple):
    """What a journal's file says of itself."""

    incarnation: str
    partitions: int


# Opening


def open_writer(path: Path, partitions: int) -> sqlite3.Connection:
    """The one connection that writes; makes the file when it is missing. Raises StartupError with the cure."""
    connection = None
    try:
        connection = _connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _prepare(connection, path, partitions)
    except BaseException as error:
        if connection:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise unusable(path, error, kind="journal", way_out=_WAY_OUT) from error
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def open_onlooker(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, to a file that is there. Raises StartupError with the cure."""
    connection = None
    try:
        connection = connect_to_look(path)
        _check(connection, path)
    except BaseException as error:
        if connection:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise unusable(path, error, kind="journal", way_out=_WAY_OUT) from error
        raise
    return connection


def identity(connection: sqlite3.Connection) -> Identity:
    """Incarnation and number of partitions of an opened journal."""
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    return Identity(meta["incarnation"], meta["partitions"])


def _connect(path: Path) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, though not always by the same one.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute("PRAGMA cache_size = -8192")  # 8 MiB: appends and tail reads touch few pages
    leave_none(connection)
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, partitions: int) -> None:
    if not _tables(connection):
        return _create(connection, partitions)
    _check(connection, path)
    if (there := identity(connection).partitions) != partitions:
        raise JournalMismatch(
            f"{path} has {there} partition(s) and {partitions} were asked for; a log keeps its number for life: "
            f"ask for {there}, or move the file away and import its events again."
        )
    return None


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StartupError for what is no journal of this layout."""
    if not _tables(connection) >= {"meta", "records", "starts"}:
        raise StartupError(
            f"{path} is not a journal but another program's database; move it away, or name another folder."
        )
    version = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if version != (SCHEMA_VERSION,):
        raise StartupError(
            f"{path} was written by another version of this program (layout {version and version[0]}, "
            f"this one reads {SCHEMA_VERSION}); start that version, or move the file away."
        )


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def _create(connection: sqlite3.Connection, partitions: int) -> None:
    meta = {
        "schema": SCHEMA_VERSION,
        "incarnation": secrets.token_hex(INCARNATION_BYTES),
        "partitions": partitions,
    }
    with _transaction(connection):
        for statement in filter(str.strip, _CREATE.split(";")):
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.executemany("INSERT INTO starts VALUES (?, 0)", ((number,) for number in range(partitions)))


# Writing


def append(connection: sqlite3.Connection, entries: Sequence[Entry], partitions: int, stored_us: int) -> list[Place]:
    """Write `entries` in one transaction, all or none, and return their places when they are durable."""
    with _transaction(connection):
        # Asked of the file each time: no number kept in memory can go stale by a failed commit.
        offsets = [count(_end_of(connection, partition)) for partition in range(partitions)]
        places = [Place(at, next(offsets[at])) for at in (partition_for(entry.key, partitions) for entry in entries)]
        connection.executemany(
            "INSERT INTO records (place, key, value, headers, stored_us) VALUES (?, ?, ?, ?, ?)",
            _rows(places, entries, stored_us),
        )
    return places


def raise_start(connection: sqlite3.Connection, partition: int, before: int) -> None:
    """Declare the records below `before` gone; `delete_some` then takes them off the file."""
    with _transaction(connection):
        connection.execute(
            'UPDATE starts SET "offset" = ?1 WHERE partition = ?2 AND "offset" < ?1',
            (min(before, _end_of(connection, partition)), partition),
        )


def delete_some(connection: sqlite3.Connection, partition: int, max_records: int) -> int:
    """Delete up to `max_records` records that are declared gone, and say how many it were."""
    with _transaction(connection):
        return connection.execute(
            "DELETE FROM records WHERE place IN (SELECT place FROM records WHERE place >= ? AND place < ? LIMIT ?)",
            (_place(partition, 0), _place(partition, start_of(connection, partition)), max_records),
        ).rowcount


def blank(connection: sqlite3.Connection, blanks: Iterable[Record]) -> None:
    """Write blanks over the records at their places, all or none."""
    with _transaction(connection):
        connection.executemany(
            "UPDATE records SET value = ?, headers = ? WHERE place = ?",
            ((blank.value, _packed_blank(blank), _place(blank.partition, blank.offset)) for blank in blanks),
        )


def _packed_blank(blank: Record) -> bytes:
    assert blank.original is not None
    original = blank.original.checksum.to_bytes(4) + blank.original.anchor
    return msgspec.msgpack.encode((*blank.headers, (_ORIGINAL, original)))


def _rows(
    places: Iterable[Place], entries: Iterable[Entry], stored_us: int
) -> Iterator[tuple[int, bytes, bytes, bytes | None, int]]:
    for place, (key, value, headers, came_us) in zip(places, entries, strict=True):
        packed = msgspec.msgpack.encode(headers) if headers else None
        yield _place(*place), key, value, packed, stored_us if came_us is None else came_us


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


# Reading


def read(connection: sqlite3.Connection, partition: int, start: int, end: int, max_records: int) -> list[Record]:
    """Records of `partition` from `start` up to, not including, `end`; fewer than asked when they are large."""
    rows = connection.execute(
        "SELECT place, key, value, headers, stored_us FROM records "
        "WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
        (_place(partition, start), _place(partition, min(end, _OFFSET_MASK)), max_records),
    )
    return _records(partition, rows)


def pick(connection: sqlite3.Connection, partition: int, offsets: Sequence[int]) -> list[Record]:
    """Records at these offsets of `partition`, those that are left; fewer when they are large."""
    first = start_of(connection, partition)
    # CROSS JOIN keeps the order of the places, and SQLite from scanning the records for them.
    rows = connection.execute(
        "SELECT place, records.key, records.value, headers, stored_us FROM json_each(?) AS wanted "
        "CROSS JOIN records ON place = wanted.value",
        (json.dumps([_place(partition, offset) for offset in offsets if first <= offset < _OFFSET_MASK]),),
    )
    return _records(partition, rows)


def find(connection: sqlite3.Connection, partition: int, start: int, end: int, keys: Collection[bytes]) -> list[int]:
    """Offsets of the records with these keys, `start <= offset < end`."""
    wanted = ", ".join("?" * len(keys))
    found = connection.execute(
        f"SELECT place FROM records WHERE place >= ? AND place < ? AND key IN ({wanted}) ORDER BY place",  # noqa: S608
        (_place(partition, start), _place(partition, end), *keys),
    )
    return [place & _OFFSET_MASK for (place,) in found]


def _records(partition: int, rows: Iterable[tuple[int, bytes, bytes, bytes | None, int]]) -> list[Record]:
    """The first of these rows, up to `_READ_BYTES`."""
    records = []
    size_bytes = 0
    for place, key, value, headers, stored_us in rows:
        unpacked = _decode_headers(headers) if headers else ()
        record = Record(partition, place & _OFFSET_MASK, key, value, unpacked, stored_us)
        records.append(_unpacked_blank(record) if unpacked and unpacked[-1][0] == _ORIGINAL else record)
        size_bytes += len(value)
        if size_bytes >= _READ_BYTES:
            break
    return records


def _unpacked_blank(record: Record) -> Record:
    *headers, (_, original) = record.headers
    return record._replace(headers=tuple(headers), original=Original(int.from_bytes(original[:4]), original[4:]))


def bounds(connection: sqlite3.Connection, partitions: int) -> dict[int, Bounds]:
    """First and next offset of every partition."""
    return {
        partition: Bounds(start_of(connection, partition), _end_of(connection, partition))
        for partition in range(partitions)
    }


def start_of(connection: sqlite3.Connection, partition: int) -> int:
    """Offset of the first record that is not declared gone."""
    (offset,) = connection.execute('SELECT "offset" FROM starts WHERE partition = ?', (partition,)).fetchone()
    return int(offset)


def _end_of(connection: sqlite3.Connection, partition: int) -> int:
    (last,) = connection.execute(
        "SELECT max(place) FROM records WHERE place >= ? AND place <= ?",
        (_place(partition, 0), _place(partition, _OFFSET_MASK)),
    ).fetchone()
    # A partition that was trimmed to its end goes on where it stood.
    return start_of(connection, partition) if last is None else (last & _OFFSET_MASK) + 1


def _place(partition: int, offset: int) -> int:
    return partition << _OFFSET_BITS | offset
