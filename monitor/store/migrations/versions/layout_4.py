"""Has what deleted executions told blanked in the journal, also that of those which were deleted before."""

from typing import Final

from alembic import op

from monitor.store.columns import number

revision: Final = "4"
down_revision: Final = "3"

# From the first offset on: all that the journal ever took of them.
_ERASE: Final = """
INSERT INTO erasures ("key", first, last)
SELECT "key", 0, (SELECT max(next) FROM offsets) - 1 FROM executions
WHERE deleted = 1 AND EXISTS (SELECT 1 FROM offsets WHERE next > 0)
"""


def upgrade() -> None:
    """Of those that were deleted all is to be erased that the journal ever took."""
    op.create_table(
        "erasures",
        number("key", key=True),
        number("first"),
        number("last"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.execute(_ERASE)
