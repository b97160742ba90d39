"""The audit at the desk: every command, token change and reveal leaves a line that nobody can change.

For other desks: `audit.note(writer, who, "execution.cancel", execution_id, reason="...")` inside the transaction that
does it, or `await audit.record(who, ...)` where there is none, also for what was refused. Details hold no secrets.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from monitor.access.audit import AuditEntry, AuditOutcome, AuditQuery
from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.store.base import Store, Writer


class AuditPage(NamedTuple):
    """Entries, newest first."""

    rows: Sequence[AuditEntry]
    has_more: bool


class Audit:
    """Writes the audit, and reads it to administrators."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def note(
        self,
        writer: Writer,
        who: Principal,
        action: str,
        object_: str,
        *,
        team: str | None = None,
        outcome: AuditOutcome = "done",
        **detail: Any,
    ) -> None:
        """Tell in this transaction that `who` did `action` (`webhook.remove`) to the object of that id.

        `detail` is more about it, fit for JSON. Where the object is another `team`'s, that team reads it too, without
        token and address.
        """
        entry = AuditEntry(
            at_us=self._clock.now_us(),
            team=who.team,
            principal=who.name,
            token_id=who.token_id,
            address=who.address,
            action=action,
            object=object_,
            outcome=outcome,
            detail=detail,
        )
        writer.note(entry)
        if team not in (None, who.team):
            writer.note(_seen_from(team or "", entry))

    async def record(
        self, who: Principal, action: str, object_: str, *, outcome: AuditOutcome = "done", **detail: Any
    ) -> None:
        """The same in a transaction of its own; durable when this returns. Raises StoreUnavailable."""
        await self._store.write(
            lambda writer: self.note(writer, who, action, object_, outcome=outcome, **detail), durable=True
        )

    async def listed(
        self,
        who: Principal,
        limit: int,
        *,
        before_key: int | None = None,
        action: str | None = None,
        principal: str | None = None,
        object_: str | None = None,
    ) -> AuditPage:
        """The latest `limit` entries of the team that fit, older than the one with `before_key`."""
        query = AuditQuery(who.team, action, principal, object_, before_key)
        found = await self._store.read(lambda reader: reader.audit(query, limit + 1))
        return AuditPage(found[:limit], len(found) > limit)


def _seen_from(team: str, entry: AuditEntry) -> AuditEntry:
    return AuditEntry(
        at_us=entry.at_us,
        team=team,
        principal=f"{entry.team}/{entry.principal}",
        token_id=None,
        address=None,
        action=entry.action,
        object=entry.object,
        outcome=entry.outcome,
        detail=entry.detail,
    )
