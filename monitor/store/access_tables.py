"""The tables of tokens, tickets and the audit. Ledger, never rebuilt."""

from sqlalchemy import Index

from monitor.store.columns import blob as _bytes
from monitor.store.columns import number as _int
from monitor.store.columns import serial as _serial
from monitor.store.columns import table as _table
from monitor.store.columns import text as _text

tokens = _table(
    "tokens",
    _serial(),
    _text("id"),
    _text("team"),
    # The Token in MessagePack.
    _bytes("body"),
    # `tokens_version` when it was made or revoked.
    _int("changed"),
    _int("last_used_us", null=True),
    sqlite_autoincrement=True,
)
Index("tokens_by_id", tokens.c.id, unique=True)
Index("tokens_by_team", tokens.c.team)
Index("tokens_by_change", tokens.c.changed)

# What is kept of each is the SHA-256 of what is shown.
tickets = _table("tickets", _bytes("digest"), _text("token_id"), _int("expires_us"))
Index("tickets_by_digest", tickets.c.digest, unique=True)
Index("tickets_by_end", tickets.c.expires_us)

audit = _table(
    "audit",
    _serial(),
    _text("team"),
    _text("action"),
    _text("principal"),
    _text("object"),
    # The AuditEntry in MessagePack.
    _bytes("body"),
    sqlite_autoincrement=True,
)
Index("audit_by_team", audit.c.team)
Index("audit_by_action", audit.c.team, audit.c.action)
Index("audit_by_principal", audit.c.team, audit.c.principal)
Index("audit_by_object", audit.c.team, audit.c.object)
