"""Who asks: every desk function, subscription and endpoint belongs to a principal, and through it to one team."""

from dataclasses import dataclass

from monitor.access.roles import ROLES, Role, Scope
from monitor.events.model import DEFAULT_TEAM


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated asker. It sees its own team's data and nothing else, whatever it names."""

    team: str
    name: str
    role: Role
    # Narrower than the role's where a token says so; None = all of the role's.
    scopes: frozenset[Scope] | None = None
    # Of the token that it came with, and where from; None where nobody was asked.
    token_id: str | None = None
    address: str | None = None
    # Requests in a second; None = as many as the service grants to each token.
    rate: int | None = None
    # Of a browser that came in by a cookie.
    session_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it has `scope`: by its role, and by its token."""
        return scope in ROLES[self.role] and (self.scopes is None or scope in self.scopes)


LOCAL = Principal(team=DEFAULT_TEAM, name="local", role="admin")
"""Whoever reaches a service without authentication, which listens on loopback only."""
