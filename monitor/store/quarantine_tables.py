"""The tables of records that could not be applied, and of partitions that stand still. Ledger, never rebuilt."""

from typing import Final

from sqlalchemy import Index

from monitor.store.columns import blob as _bytes
from monitor.store.columns import number as _int
from monitor.store.columns import serial as _serial
from monitor.store.columns import table as _table
from monitor.store.columns import text as _text

quarantine = _table(
    "quarantine",
    _serial("id"),
    _text("team"),
    _int("partition"),
    _int("offset"),
    _int("stored_us"),
    _text("reason"),
    _text("field", null=True),
    _text("message"),
    # NULL while nobody has decided.
    _text("decision", null=True),
    _int("decided_us", null=True),
    _text("decided_by", null=True),
    _bytes("key", null=True),
    _bytes("value", null=True),
    # Names and values in MessagePack.
    _bytes("headers"),
)

UNDECIDED: Final = quarantine.c.decision.is_(None)
Index("quarantine_by_team", quarantine.c.team)
Index("quarantine_undecided", quarantine.c.partition, quarantine.c.offset, sqlite_where=UNDECIDED)

halts = _table(
    "halts",
    _int("partition", key=True),
    _int("offset"),
    _int("first"),
    _int("records"),
    _text("reason"),
    _int("halted_us"),
    # NULL while it stands still.
    _int("until", null=True),
    _int("resumed_us", null=True),
    _text("resumed_by", null=True),
)
