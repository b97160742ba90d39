"""Adds the table of leases, by which one of several processes does what one alone should."""

from typing import Final

from alembic import op

from monitor.store.columns import number, text

revision: Final = "7"
down_revision: Final = "6"


def upgrade() -> None:
    """Nobody holds one yet."""
    op.create_table(
        "leases",
        text("name", key=True),
        text("holder"),
        number("until_us"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
