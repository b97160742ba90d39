"""The bound on what waits to be written: fullness is an answer, never a queue that grows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from monitor.errors import JournalUnavailable
from monitor.events.model import Entry

# Sixty-four events of the largest size, or 140,000 of the usual 450 bytes: more waiting is more delay, not more speed.
MAX_WAITING_BYTES: Final = 64 << 20

# What an entry without key, headers and value still takes in memory, so that a million empty ones are bounded too.
_ENTRY_OVERHEAD_BYTES: Final = 100


class Backlog:
    """Counts the bytes that were handed in and are not yet durable."""

    def __init__(self, limit_bytes: int = MAX_WAITING_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self.waiting_bytes = 0

    @contextmanager
    def admit(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Count `entries` while the body runs. Raises JournalUnavailable when too much waits already.

        An append that is larger than the whole limit is taken when nothing else waits.
        """
        size_bytes = sum(map(entry_bytes, entries))
        if self.waiting_bytes and self.waiting_bytes + size_bytes > self._limit_bytes:
            raise JournalUnavailable(f"The journal has {self.waiting_bytes} bytes waiting to be written; try again.")
        self.waiting_bytes += size_bytes
        try:
            yield
        finally:
            self.waiting_bytes -= size_bytes


def entry_bytes(entry: Entry) -> int:
    """Roughly what an entry takes on its way into the journal."""
    headers_bytes = sum(len(name) + len(value) for name, value in entry.headers)
    return _ENTRY_OVERHEAD_BYTES + len(entry.key) + len(entry.value) + headers_bytes
