"""Roles and scopes: a role is a set of scopes, a token narrows its owner's role, and an address asks for one scope."""

from collections.abc import Mapping
from typing import Final, Literal

Role = Literal["viewer", "operator", "builder", "admin"]

Scope = Literal[
    "executions:read",
    "executions:data",
    "executions:reveal",
    "executions:write",
    "workflow:execute",
    "webhooks:read",
    "webhooks:write",
    "events:write",
    "events:backfill",
    "admin",
]

SCOPES: Final[Mapping[Scope, str]] = {
    "executions:read": "See executions, their events, logs and statistics, without payloads.",
    "executions:data": "See payloads: what executions and nodes were given and what they made.",
    "executions:reveal": "See secrets in payloads and events as they came, not masked; the audit tells of it.",
    "executions:write": "Cancel, retry, delete and annotate executions.",
    "workflow:execute": "Run workflows.",
    "webhooks:read": "See webhooks and their deliveries.",
    "webhooks:write": "Register, change and remove webhooks, and have deliveries sent again.",
    "events:write": "Send events.",
    "events:backfill": "Send events that are history: they cause no webhooks.",
    "admin": "Manage tokens, quarantine and rules, and see who is connected.",
}
"""Every scope, and what it permits."""

_VIEWER: Final = frozenset[Scope]({"executions:read"})
_OPERATOR: Final = _VIEWER | frozenset[Scope]({"executions:data", "executions:write", "webhooks:read"})
_BUILDER: Final = _OPERATOR | frozenset[Scope]({"workflow:execute", "webhooks:write", "events:write"})

ROLES: Final[Mapping[Role, frozenset[Scope]]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "builder": _BUILDER,
    "admin": frozenset(SCOPES),
}
"""What each role may do at most: every one whatever those before it may, and more."""


def lesser(one: Role, other: Role) -> Role:
    """The one of two roles that may do less."""
    return min(one, other, key=lambda role: len(ROLES[role]))
