"""`GET /v1/audit`: who did what. Administrators read their own team's."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.audit import AuditEntry, AuditOutcome
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.events.codec import format_time
from monitor.executions.audit import Audit
from monitor.web.cursors import Pagination, cursor_token, open_cursor
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, Limit, Text
from monitor.web.replies import json_reply

_LIMIT: Final = Limit(default=50, most=200)
_ACTION: Final = Text("action", "Only this, such as `token.revoke`.")
_PRINCIPAL: Final = Text("principal", "Only what was done by somebody of this name.")
_OBJECT: Final = Text("object", "Only what was done to the thing of this id.")


class AuditDocument(TypedDict):
    """One line of the audit."""

    timestamp: str
    principal: str
    tokenId: str | None
    address: str | None
    action: str
    object: str
    outcome: AuditOutcome
    detail: dict[str, Any]


class AuditPageDocument(TypedDict):
    """A page of the audit, newest first."""

    data: list[AuditDocument]
    pagination: Pagination


def operations(*, audit: Audit, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    return [
        Operation(
            "GET",
            "/v1/audit",
            _Face(audit, sealer).listing,
            "admin",
            query=(_LIMIT, CURSOR, _ACTION, _PRINCIPAL, _OBJECT),
            answers=(Answer(AuditPageDocument),),
        )
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    audit: Audit
    sealer: Sealer

    async def listing(self, request: Request, who: Principal) -> Response:
        """Every command, change of a token and reveal, newest first. Nobody can change or remove a line."""
        query = request.query_params
        limit, cursor = _LIMIT.take(query), CURSOR.take(query)
        tests = {"action": _ACTION.take(query), "principal": _PRINCIPAL.take(query), "object_": _OBJECT.take(query)}
        question = ("audit", who.team, *(f"{name}={said}" for name, said in tests.items() if said is not None))
        before_key = open_cursor(self.sealer, question, cursor)[1] if cursor is not None else None
        page = await self.audit.listed(who, limit, before_key=before_key, **tests)
        next_cursor = cursor_token(self.sealer, question, (None, page.rows[-1].key)) if page.has_more else None
        pagination: Pagination = {"limit": limit, "hasMore": page.has_more, "nextCursor": next_cursor}
        content: AuditPageDocument = {"data": [_line(entry) for entry in page.rows], "pagination": pagination}
        return json_reply(content, headers={"cache-control": "no-store"})


def _line(entry: AuditEntry) -> AuditDocument:
    return {
        "timestamp": format_time(entry.at_us),
        "principal": entry.principal,
        "tokenId": entry.token_id,
        "address": entry.address,
        "action": entry.action,
        "object": entry.object,
        "outcome": entry.outcome,
        "detail": dict(entry.detail),
    }
