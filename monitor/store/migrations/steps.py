"""The steps from one layout to the next: which there are, and running them inside the caller's transaction."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Index, inspect, text
from sqlalchemy.schema import SchemaItem

from monitor.errors import StartupError
from monitor.projections.fold import FOLD_VERSION
from monitor.store.postgres_tables import as_postgres
from monitor.store.tables import METADATA, SCHEMA_VERSION

_STAMP: Final = text("UPDATE meta SET schema_version = :layout")
_HAVE_FOLDED_ANEW: Final = text("UPDATE meta SET fold_version = 0")


class Migrated(NamedTuple):
    """What a migration came to, or would."""

    before: int
    now: int
    steps: "Sequence[Step]"
    # Whether `monitor rebuild` is to follow.
    rebuild: bool
    # The file as it was; None when there is none.
    copy: Path | None = None


class Step(NamedTuple):
    """What makes a store one of `layout`, from one of the layout before it."""

    layout: int
    says: str
    upgrade: Callable[[], None]
    # Whether it leaves executions to be folded anew from the journal.
    refolds: bool


def pending(layout: int) -> Sequence[Step]:
    """The steps that a store of this layout has before it, in order."""
    scripts = ScriptDirectory(str(Path(__file__).parent)).walk_revisions()
    steps = [
        Step(int(it.revision), it.doc.rstrip("."), it.module.upgrade, getattr(it.module, "REFOLDS", False))
        for it in scripts
    ]
    return sorted((step for step in steps if step.layout > layout), key=lambda step: step.layout)


def ahead(layout: int, fold_version: int) -> Migrated:
    """What a migration of a store will come to that is of this layout, and was folded by these rules."""
    steps = pending(layout)
    refolds = fold_version != FOLD_VERSION or any(step.refolds for step in steps)
    return Migrated(layout, SCHEMA_VERSION, steps, refolds)


def run(connection: Connection, steps: Sequence[Step], advance: Callable[[int], None]) -> None:
    """Take the steps, and hold what came out against the tables of this version. `advance` hears of each.

    Raises StartupError when they do not agree: the store was of no layout that is known. Nothing is committed here.
    """
    context = MigrationContext.configure(connection, opts={"include_object": _is_ours})
    with Operations.context(context) as op:
        for step in steps:
            step.upgrade()
            op.execute(_STAMP.bindparams(layout=step.layout))
            if step.refolds:
                op.execute(_HAVE_FOLDED_ANEW)
            advance(1)
    if connection.dialect.name == "sqlite":
        order_indexes(connection)
    if found := differences(context):
        raise StartupError(
            "The store's tables are not those of the layout that it is stamped with "
            f"({'; '.join(found[:3])}); start the version that wrote it, or restore a backup."
        )


def differences(context: MigrationContext) -> Sequence[str]:
    """What is not as this version's tables are, each in some words; nothing where all is well."""
    assert context.connection is not None
    ours = METADATA if context.connection.dialect.name == "sqlite" else as_postgres()
    return [_words(it) for it in compare_metadata(context, ours)]


def _is_ours(_item: object, name: str | None, kind: str, _reflected: bool, _same: object) -> bool:
    """Whatever else an operator keeps in the database is nothing to us."""
    return kind != "table" or name in METADATA.tables


def _words(difference: object) -> str:
    if isinstance(difference, list):  # changes of one column
        return ", ".join(map(_words, difference))
    assert isinstance(difference, tuple)
    named = [str(getattr(it, "name", it)) for it in difference if isinstance(it, str | SchemaItem | Index)]
    return " ".join(named)


def order_indexes(connection: Connection) -> None:
    """Have each table's indexes in the order in which a new file has them, making anew those that are out of place.

    Of two that seem to serve equally well SQLite takes the one that was made last: see `tables.make_tables`.
    """
    for table in inspect(connection).get_table_names():
        made = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
            " ORDER BY rowid",
            (table,),
        ).all()
        wanted = sorted(made, key=lambda index: (" WHERE " in index.sql, index.name))
        kept = next((at for at, (is_, should) in enumerate(zip(made, wanted, strict=True)) if is_ != should), len(made))
        for name, _ in made[kept:]:
            connection.exec_driver_sql(f'DROP INDEX "{name}"')
        for _, statement in wanted[kept:]:
            connection.exec_driver_sql(statement)
