"""The part of the store port that says who may come in, and who did what: tokens and audit. Ledger: never rebuilt."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from monitor.access.audit import AuditEntry, AuditQuery
from monitor.access.tokens import Token


class FoundToken(NamedTuple):
    """A token as it stood at a version of all of them."""

    token: Token | None
    version: int


class Ticket(NamedTuple):
    """Lets in once, soon, whoever shows it, as the holder of a token."""

    # SHA-256 of what is shown.
    digest: bytes
    # Empty: of nobody, since nobody is asked here.
    token_id: str
    # Microseconds.
    expires_us: int


class EndedSession(NamedTuple):
    """A browser's session that was left before its time."""

    # Hexadecimal digits.
    id: str
    token_id: str
    # When it would have ended by itself, in microseconds.
    expires_us: int


class AccessReader(Protocol):
    """Questions about tokens and audit."""

    def tokens_version(self) -> int:
        """Grows whenever a token is made or revoked, or a session left; 0 = there never was one."""
        ...

    def find_token(self, token_id: str) -> FoundToken:
        """The token of an id, of whatever team."""
        ...

    def tokens_changed(self, since_version: int) -> Sequence[Token]:
        """Tokens that were made or revoked after a version."""
        ...

    def ended_sessions(self) -> Sequence[EndedSession]:
        """Sessions that were left and have not been forgotten."""
        ...

    def tokens(self, team: str, *, after_key: int = 0, limit: int | None = None) -> Sequence[Token]:
        """Tokens of a team in the order of their making, behind `after_key`; revoked and expired ones too."""
        ...

    def token_count(self, team: str) -> int:
        """How many a team has, revoked and expired ones too."""
        ...

    def audit(self, query: AuditQuery, limit: int) -> Sequence[AuditEntry]:
        """The latest entries that fit, newest first."""
        ...


class AccessWriter(AccessReader, Protocol):
    """Changes of tokens, and the audit of these and others."""

    def add_token(self, token: Token) -> Token:
        """Store it and return it with its key."""
        ...

    def update_token(self, token: Token) -> None:
        """Replace the stored one of its key."""
        ...

    def note_used(self, used: Mapping[str, int]) -> None:
        """Keep when tokens (by id) were used last, in microseconds; earlier than known changes nothing."""
        ...

    def add_ticket(self, ticket: Ticket) -> None:
        """Store it."""
        ...

    def take_ticket(self, digest: bytes) -> Ticket | None:
        """Remove it and say what it was; None = there is none, or somebody has taken it."""
        ...

    def end_session(self, session: EndedSession) -> None:
        """Keep that it was left; again, it changes nothing."""
        ...

    def forget_tickets(self, before_us: int) -> None:
        """Remove those that expired before, and sessions that were left and would have."""
        ...

    def note(self, entry: AuditEntry) -> None:
        """Add a line to the audit: part of the transaction that does what it tells."""
        ...
