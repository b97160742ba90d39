"""What a store holds in quarantine, with its bytes."""

from monitor.store import Reader
from monitor.store.quarantine_port import Quarantined


def quarantined(reader: Reader) -> list[Quarantined]:
    """Everything, the oldest first."""
    rows = reversed(reader.quarantine(10_000))
    return [found for row in rows if (found := reader.quarantined(row.id)) is not None]
