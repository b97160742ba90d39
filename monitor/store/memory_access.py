"""Tokens and audit in memory. `memory` mixes it into its sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from monitor.access.audit import AuditEntry, AuditQuery
from monitor.access.tokens import Token
from monitor.store.access import EndedSession, FoundToken, Ticket


@dataclass(slots=True)
class AccessTables:
    """Everything that is stored. Rows are replaced, never changed."""

    tokens_version: int = 0
    tokens: dict[str, Token] = field(default_factory=dict)
    # The version at which each was changed last.
    changed: dict[str, int] = field(default_factory=dict)
    audit: dict[int, AuditEntry] = field(default_factory=dict)
    tickets: dict[bytes, Ticket] = field(default_factory=dict)
    ended: dict[str, EndedSession] = field(default_factory=dict)

    def copy(self) -> "AccessTables":
        """Tables of their own that share the rows."""
        return AccessTables(
            self.tokens_version,
            dict(self.tokens),
            dict(self.changed),
            dict(self.audit),
            dict(self.tickets),
            dict(self.ended),
        )


class MemoryAccess:
    """The access part of the Reader and Writer ports."""

    _access: AccessTables

    def tokens_version(self) -> int:
        return self._access.tokens_version

    def find_token(self, token_id: str) -> FoundToken:
        return FoundToken(self._access.tokens.get(token_id), self._access.tokens_version)

    def tokens_changed(self, since_version: int) -> Sequence[Token]:
        changed = self._access.changed.items()
        return [self._access.tokens[token_id] for token_id, version in changed if version > since_version]

    def ended_sessions(self) -> Sequence[EndedSession]:
        return list(self._access.ended.values())

    def tokens(self, team: str, *, after_key: int = 0, limit: int | None = None) -> Sequence[Token]:
        return [it for it in self._access.tokens.values() if it.team == team and it.key > after_key][:limit]

    def token_count(self, team: str) -> int:
        return len(self.tokens(team))

    def audit(self, query: AuditQuery, limit: int) -> Sequence[AuditEntry]:
        return [it for it in reversed(self._access.audit.values()) if _fits(it, query)][:limit]

    def add_token(self, token: Token) -> Token:
        stored = replace(token, key=len(self._access.tokens) + 1)
        self.update_token(stored)
        return stored

    def update_token(self, token: Token) -> None:
        self._access.tokens_version += 1
        self._access.tokens[token.id] = token
        self._access.changed[token.id] = self._access.tokens_version

    def note_used(self, used: Mapping[str, int]) -> None:
        tokens = self._access.tokens
        for token_id, at_us in used.items():
            if token_id in tokens and (tokens[token_id].last_used_us or 0) < at_us:
                tokens[token_id] = replace(tokens[token_id], last_used_us=at_us)

    def add_ticket(self, ticket: Ticket) -> None:
        self._access.tickets[ticket.digest] = ticket

    def take_ticket(self, digest: bytes) -> Ticket | None:
        return self._access.tickets.pop(digest, None)

    def end_session(self, session: EndedSession) -> None:
        if session.id not in self._access.ended:
            self._access.ended[session.id] = session
            self._access.tokens_version += 1

    def forget_tickets(self, before_us: int) -> None:
        for ticket in [it for it in self._access.tickets.values() if it.expires_us < before_us]:
            del self._access.tickets[ticket.digest]
        for session in [it for it in self._access.ended.values() if it.expires_us < before_us]:
            del self._access.ended[session.id]

    def note(self, entry: AuditEntry) -> None:
        key = len(self._access.audit) + 1
        self._access.audit[key] = replace(entry, key=key)


def _fits(entry: AuditEntry, query: AuditQuery) -> bool:
    asked = ((query.action, entry.action), (query.principal, entry.principal), (query.object, entry.object))
    is_behind = query.before_key is None or entry.key < query.before_key
    return entry.team == query.team and is_behind and all(said in (None, is_) for said, is_ in asked)
