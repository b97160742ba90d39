"""How long records have waited: since when the oldest one of a range lies in the journal.

For lag in seconds, which tells people more than a number of records does.
"""

from monitor.errors import RetentionCut
from monitor.journal.base import Bounds, Journal


async def waiting_since_us(journal: Journal, partition: int, unread: Bounds) -> int | None:
    """When the first record of `unread` was stored, in microseconds since 1970; None where it holds none.

    Of a record that was removed meanwhile the next one that is left stands for it. Raises JournalUnavailable.
    """
    start = unread.start
    while start < unread.end:
        try:
            records = await journal.read(partition, start, unread.end, 1)
        except RetentionCut as cut:
            start = cut.first
        else:
            return records[0].stored_us if records else None
    return None
