"""Lets people decide about records in quarantine, and partitions stand still for a burst of them."""

from typing import Final

from alembic import op
from sqlalchemy import text as sql

from monitor.store.columns import blob, number, serial, text

revision: Final = "6"
down_revision: Final = "5"

# Nobody knew then whose a record was, or what stood in its headers: they are everybody's of the default team, and none.
_CARRY_OVER: Final = """
INSERT INTO quarantine (id, team, "partition", "offset", stored_us, reason, field, message, "key", value, headers)
SELECT id, 'default', "partition", "offset", stored_us, reason, field, message, "key", value, x'90' FROM quarantine_5
"""


def upgrade() -> None:
    """What is in quarantine stays there, undecided, and is searched by team from now on."""
    op.rename_table("quarantine", "quarantine_5")
    op.create_table(
        "quarantine",
        serial("id"),
        text("team"),
        number("partition"),
        number("offset"),
        number("stored_us"),
        text("reason"),
        text("field", null=True),
        text("message"),
        text("decision", null=True),
        number("decided_us", null=True),
        text("decided_by", null=True),
        blob("key", null=True),
        blob("value", null=True),
        blob("headers"),
        sqlite_strict=True,
    )
    op.execute(_CARRY_OVER)
    op.drop_table("quarantine_5")
    op.create_index("quarantine_by_team", "quarantine", ["team"])
    op.create_index("quarantine_undecided", "quarantine", ["partition", "offset"], sqlite_where=sql("decision IS NULL"))
    op.create_table(
        "halts",
        number("partition", key=True),
        number("offset"),
        number("first"),
        number("records"),
        text("reason"),
        number("halted_us"),
        number("until", null=True),
        number("resumed_us", null=True),
        text("resumed_by", null=True),
        sqlite_strict=True,
    )
