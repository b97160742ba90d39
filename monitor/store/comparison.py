"""Whether two stores hold the same, table by table: a sum over rows that no order changes, and where they differ.

Compared is what a rebuild makes anew: executions, sums and history. Both sides are read side by side in the order of
their keys, so that nothing of them is held in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sqlalchemy import Table

from monitor.store import rows
from monitor.store.kinds import tables_of
from monitor.store.sqlite_rebuild import SQLiteRebuild
from monitor.store.tables import METADATA

NAMED_DIFFERENCES: Final = 20
"""Of a table; all of them are counted."""

_ADVANCE_ROWS: Final = 5_000

Row = Sequence[Any]


class Difference(NamedTuple):
    """A row that is not the same in both."""

    # An execution's team and id, or the key of a row of sums, or partition and offset.
    of: str
    # missing: only the live store has it; extra: only the new one has.
    kind: str
    # Names of the columns that differ; empty for a row that one side lacks.
    columns: Sequence[str]


class TableComparison(NamedTuple):
    """What became of a table."""

    name: str
    # Rows, and their sum: 16 hexadecimal digits, equal for equal rows in any order.
    live: tuple[int, str]
    fresh: tuple[int, str]
    differing: int
    # The first ones.
    differences: Sequence[Difference]


def compare(rebuild: SQLiteRebuild, advance: Callable[[int], None]) -> list[TableComparison]:
    """Every table that a rebuild makes anew; `advance` hears how many of the live store's rows were looked at."""
    names = [*tables_of("executions"), *tables_of("sums"), *tables_of("history")]
    return [_compare(rebuild, METADATA.tables[name], advance) for name in names]


def _compare(rebuild: SQLiteRebuild, table: Table, advance: Callable[[int], None]) -> TableComparison:
    _, keys = _columns(table)
    live, fresh = _Side(_rows(rebuild, table, live=True)), _Side(_rows(rebuild, table, live=False))
    differing, named = 0, list[Difference]()
    passed = 0
    while live.row is not None or fresh.row is not None:
        mine, other = live.key(keys), fresh.key(keys)
        if mine is not None and other is not None and mine == other:
            kind = "changed" if live.row != fresh.row else ""
        else:
            kind = "missing" if other is None or (mine is not None and mine < other) else "extra"
        if kind:
            differing += 1
            if len(named) < NAMED_DIFFERENCES:
                named.append(_difference(rebuild, table, kind, live.row, fresh.row))
        if kind != "extra":
            live.go_on()
            passed += 1
            if passed % _ADVANCE_ROWS == 0:
                advance(_ADVANCE_ROWS)
        if kind != "missing":
            fresh.go_on()
    advance(passed % _ADVANCE_ROWS)
    return TableComparison(table.name, live.sum(), fresh.sum(), differing, named)


class _Side:
    """One of the two, row by row."""

    def __init__(self, found: Iterable[Row]) -> None:
        self._rows = iter(found)
        self._count, self._sum = 0, 0
        self.row: Row | None = next(self._rows, None)

    def key(self, keys: int) -> tuple[Any, ...] | None:
        return None if self.row is None else tuple(self.row[:keys])

    def go_on(self) -> None:
        digest = blake2b(repr(self.row).encode(), digest_size=8).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % (1 << 64)
        self._count += 1
        self.row = next(self._rows, None)

    def sum(self) -> tuple[int, str]:
        return self._count, f"{self._sum:016x}"


def _difference(rebuild: SQLiteRebuild, table: Table, kind: str, live: Row | None, fresh: Row | None) -> Difference:
    row = fresh if kind == "extra" else live
    assert row is not None
    columns, keys = _columns(table)
    key = [str(value) for value in row[:keys]]
    if table.name in tables_of("executions"):
        key = ["/".join(rebuild.name_of(row[0])), *key[1:]]
    changed = list[str]()
    if kind == "changed" and live is not None and fresh is not None:
        changed = [name for name, mine, other in zip(columns, live, fresh, strict=True) if mine != other]
    return Difference(" ".join(key), kind, changed)


# --- rows ------------------------------------------------------------------------------------------------------------


def _columns(table: Table) -> tuple[list[str], int]:
    """The columns of the rows that are compared, those of the key first, and how many these are."""
    if table.name == "releases":
        return ["partition", "offset", "place", "release"], 3
    key = [column.name for column in table.primary_key]
    if not key:
        [unique] = (index for index in table.indexes if index.unique)
        key = [column.name for column in unique.columns]
    return key + [column.name for column in table.columns if column.name not in key], len(key)


def _rows(rebuild: SQLiteRebuild, table: Table, *, live: bool) -> Iterator[Row]:
    if table.name == "releases":
        # How commits were cut is no difference, nor what the janitor has not yet removed with its records.
        stored = rebuild.rows_of("releases", ("partition", "body"), ("partition", "next"), live=live)
        for partition, body in stored:
            at, place = -1, 0
            for release in rows.unpack_releases(body):
                at, place = release.offset, place + 1 if release.offset == at else 0
                if at >= rebuild.starts[partition]:
                    yield partition, at, place, release
        return
    columns, keys = _columns(table)
    found = rebuild.rows_of(table.name, columns, columns[:keys], live=live)
    # A cell that everything has left is as good as none.
    counted = [place for place, name in enumerate(columns) if name in ("count", "total_us")]
    for row in found:
        if not counted or any(row[place] for place in counted):
            yield row
