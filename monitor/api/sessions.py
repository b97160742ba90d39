"""`/v1/session` and `/v1/stream-tickets`: how browsers come in.

A page redeems a ticket (`Authorization: Ticket ...`), or shows a token once, and from then on has a cookie that no
script reads. A stream that can send no header, such as an EventSource of another origin, takes `?ticket=`.
"""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.principal import Principal
from monitor.access.roles import ROLES, Scope
from monitor.events.codec import format_time
from monitor.executions.sessions import SESSION_S, TICKET_S, Sessions
from monitor.web.auth import COOKIE
from monitor.web.operations import Answer, Operation
from monitor.web.replies import json_reply

_NOT_KEPT: Final = {"cache-control": "no-store"}


class TicketAnswer(TypedDict):
    """A ticket, good for one use."""

    ticket: str
    expiresAt: str
    expiresIn: int


class SessionAnswer(TypedDict):
    """Who asks."""

    team: str
    name: str
    role: str
    scopes: list[str]
    # To be sent as `X-CSRF-Token` with whatever changes something; null where no cookie lets in.
    csrfToken: str | None
    # Of a session that was just made.
    expiresAt: str | None


def operations(*, sessions: Sessions) -> list[Operation]:
    """The operations of this file."""
    face = _Face(sessions)
    whoever: Scope = "executions:read"
    return [
        Operation("POST", "/v1/stream-tickets", face.ticket, whoever, answers=(Answer(TicketAnswer, 201),)),
        Operation("POST", "/v1/session", face.begin, whoever, answers=(Answer(SessionAnswer, 201),)),
        Operation("GET", "/v1/session", face.show, whoever, answers=(Answer(SessionAnswer),)),
        Operation("DELETE", "/v1/session", face.end, whoever, answers=(Answer(None, 204),)),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    sessions: Sessions

    async def ticket(self, _request: Request, who: Principal) -> Response:
        """A ticket that lets in once, within 30 seconds: as `?ticket=` of a stream, or to begin a session with."""
        made = await self.sessions.ticket(who)
        answer = TicketAnswer(ticket=made.text, expiresAt=format_time(made.expires_us), expiresIn=TICKET_S)
        return json_reply(answer, 201, _NOT_KEPT)

    async def begin(self, request: Request, who: Principal) -> Response:
        """A session: a cookie that stands for the token, for 12 hours at most."""
        made = self.sessions.session(who)
        answer = _session(who, made.csrf if made else None)
        if made is None:
            return json_reply(answer, 201, _NOT_KEPT)
        response = json_reply({**answer, "expiresAt": format_time(made.expires_us)}, 201, _NOT_KEPT)
        _set_cookie(response, request, made.cookie, SESSION_S)
        return response

    async def show(self, request: Request, who: Principal) -> Response:
        """Who asks, and what it may."""
        cookie = request.cookies.get(COOKIE)
        return json_reply(_session(who, self.sessions.csrf(cookie) if cookie else None), headers=_NOT_KEPT)

    async def end(self, request: Request, who: Principal) -> Response:
        """The browser forgets its cookie, which is good no more wherever it was copied to; its streams end."""
        if who.session_id is not None:
            await self.sessions.leave(request.cookies[COOKIE])
        response = Response(status_code=204, headers=_NOT_KEPT)
        _set_cookie(response, request, "", 0)
        return response


def _session(who: Principal, csrf: str | None) -> SessionAnswer:
    scopes = sorted(scope for scope in ROLES[who.role] if who.may(scope))
    return SessionAnswer(
        team=who.team, name=who.name, role=who.role, scopes=list(scopes), csrfToken=csrf, expiresAt=None
    )


def _set_cookie(response: Response, request: Request, value: str, max_age_s: int) -> None:
    """Never for scripts, never for requests from pages of another site, and over TLS alone where there is TLS."""
    is_secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, value, max_age_s, httponly=True, samesite="strict", secure=is_secure)
