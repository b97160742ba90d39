"""What waits to be written is bounded, and fullness is an answer."""

import pytest

from monitor.errors import JournalUnavailable
from monitor.events.model import Entry
from monitor.journal.backlog import Backlog, entry_bytes

ENTRY = Entry(b"key", b"x" * 900, (("name", b"value"),))


def test_full_backlog_refuses_and_recovers() -> None:
    """What would go over the limit is refused while others wait, and taken afterwards."""
    backlog = Backlog(limit_bytes=2 * entry_bytes(ENTRY))
    with backlog.admit([ENTRY, ENTRY]):
        assert backlog.waiting_bytes == 2 * entry_bytes(ENTRY)
        with pytest.raises(JournalUnavailable, match="try again"), backlog.admit([ENTRY]):
            pass
    with backlog.admit([ENTRY]):
        assert backlog.waiting_bytes == entry_bytes(ENTRY)
    assert backlog.waiting_bytes == 0


def test_append_larger_than_the_limit_is_taken_alone() -> None:
    """A single large import is not refused for ever."""
    backlog = Backlog(limit_bytes=10)
    with backlog.admit([ENTRY] * 5):
        assert backlog.waiting_bytes > 10


def test_failed_append_leaves_the_backlog() -> None:
    """Errors do not leak what was counted."""
    backlog = Backlog()
    with pytest.raises(OSError, match="disk"), backlog.admit([ENTRY]):
        raise OSError("disk")
    assert backlog.waiting_bytes == 0


def test_entry_counts_all_of_its_bytes() -> None:
    """Key, value, header names and header values."""
    assert entry_bytes(ENTRY) - entry_bytes(Entry(b"", b"")) == 3 + 900 + 4 + 5
