"""Audit: who did what to what, when, from where, and how that ended. Written once, never changed; without secrets."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

AuditOutcome = Literal["done", "refused"]


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit."""

    # The store's integer key; 0 until it is stored.
    key: int = 0
    at_us: int
    team: str
    # Name of the principal, and id of its token; None where nobody was asked.
    principal: str
    token_id: str | None
    address: str | None
    # `token.create`, `execution.cancel`: a kind of object, and what was done to it.
    action: str
    # Id of what it was done to.
    object: str
    outcome: AuditOutcome = "done"
    # More about it, fit for JSON.
    detail: Mapping[str, Any] = {}


class AuditQuery(NamedTuple):
    """Entries of a team; every test that is None lets all of them through."""

    team: str
    action: str | None = None
    principal: str | None = None
    object: str | None = None
    # Only those with smaller keys.
    before_key: int | None = None
