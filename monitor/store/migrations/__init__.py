"""Migrations: how a store of an earlier layout becomes one of this version's, in one transaction, with Alembic.

The layout number in `meta` is the one truth, and the revision of each step in `versions/`: every version of the program
reads it before anything else, so that a table of Alembic's own would only be a second opinion. It is advanced in the
transaction of the step. A store that is current never loads Alembic.

Whoever changes `tables.py` or one of its neighbours:

1. raises SCHEMA_VERSION, and adds `versions/layout_N.py` with `revision = "N"`, `down_revision = "N - 1"` and an
   `upgrade` that works on both databases. Its first docstring line is what people read in `monitor migrate --check`.
   A step is frozen once it is released: it names its own columns and values, and imports no table, for those go on
   changing. There is no way down: the copy beside the file, or a backup, is.
2. keeps to what the version before can work with, for its processes go on while a cluster is migrated: first expand
   (new tables, new indexes, new columns that are NULL or have a default), and contract (drop, rename, tighten) a
   version later, when nobody reads the old shape any more. On PostgreSQL every step waits but seconds for a table's
   lock, and holds it until all is done: what fills millions of rows belongs into a later round of a keeper.
3. touches rows by statements, not one by one through Python, unless they are few (webhooks, tokens), and so needs no
   memory for a large store. Projections that cannot be computed that way are emptied, and the step says
   `REFOLDS = True`: `monitor rebuild` follows then. Ledgers are always carried over.
4. commits the layout that was, as `python -m tests.support.layouts` dumps it, among `tests/data/stores`. From each of
   these a test migrates and compares with freshly made tables, on both databases.
"""
