"""The tables of export jobs. Ledger, never rebuilt."""

from typing import Final

from sqlalchemy import Index, literal_column

from monitor.store.columns import blob, number, serial, table, text

export_jobs = table(
    "export_jobs",
    serial(),
    text("id"),
    text("team"),
    number("is_open"),
    # NULL until it has ended.
    number("expires_us", null=True),
    # The ExportJob in MessagePack.
    blob("body"),
    sqlite_autoincrement=True,
)
OPEN_EXPORT: Final = export_jobs.c.is_open == literal_column("1")
Index("export_jobs_by_id", export_jobs.c.team, export_jobs.c.id, unique=True)
Index("export_jobs_by_expiry", export_jobs.c.expires_us)
Index("export_jobs_open", export_jobs.c.key, sqlite_where=OPEN_EXPORT)
