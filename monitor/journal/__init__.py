"""The journal: the contract in `base`, one opener per driver.

Kafka's client loads only when its opener is called.
"""

from monitor.events.model import Place
from monitor.journal.base import Bounds, Consumer, FindOffsets, Journal
from monitor.journal.kafka import ensure_topic, open_kafka_journal
from monitor.journal.memory import MemoryJournal
from monitor.journal.sqlite import open_sqlite_journal

__all__ = [
    "Bounds",
    "Consumer",
    "FindOffsets",
    "Journal",
    "MemoryJournal",
    "Place",
    "ensure_topic",
    "open_kafka_journal",
    "open_sqlite_journal",
]
