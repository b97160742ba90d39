"""Adds jobs that export to files, and counts the answered requests of each team."""

from typing import Final

from alembic import op
from sqlalchemy import text as sql

from monitor.store.columns import blob, number, serial, text

revision: Final = "5"
down_revision: Final = "4"


def upgrade() -> None:
    """There are no jobs yet."""
    op.create_table(
        "export_jobs",
        serial(),
        text("id"),
        text("team"),
        number("is_open"),
        number("expires_us", null=True),
        blob("body"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("export_jobs_by_id", "export_jobs", ["team", "id"], unique=True)
    op.create_index("export_jobs_by_expiry", "export_jobs", ["expires_us"])
    op.create_index("export_jobs_open", "export_jobs", ["key"], sqlite_where=sql("is_open = 1"))
    op.create_index("idempotent_requests_by_team", "idempotent_requests", ["team"])
