"""Who asks: every address turns its connection into a principal here before it does anything else.

`app` makes the guard by the settings. With `MONITOR_AUTH=off`, which the settings allow on a loopback address only,
everybody is the local principal (`anybody`); else a connection shows a token as `Authorization: Bearer mon_...`, never
in its URL, which proxies log and browsers keep. A browser shows a ticket instead (`Authorization: Ticket ...`, or
`?ticket=` where it can send no header), or the cookie of its session: that counts for pages of this service alone, and
changes nothing without the token that only their scripts can read (OWASP: synchronizer token, verified origin).
"""

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.types import Scope as Connection

from monitor.access.principal import LOCAL, Principal
from monitor.access.roles import Scope
from monitor.access.tokens import Token, read_token
from monitor.errors import (
    AddressNotAllowed,
    CsrfTokenMissing,
    ForeignOrigin,
    InsufficientPermissions,
    TokenInUrl,
    TokenInvalid,
    TokenMalformed,
    TokenMissing,
)
from monitor.executions.credentials import Credentials
from monitor.executions.sessions import Sessions
from monitor.web.faces import Face, face_at
from monitor.web.origins import is_own_page
from monitor.web.paths import sent_path

Authenticate = Callable[[Connection], Awaitable[Principal]]
"""What addresses take: the principal of an HTTP or WebSocket connection. Raises a ClientError for one that is none."""

IN_URL: Final = frozenset({"token", "access_token", "api_key", "apikey", "api-key", "authorization", "bearer"})
"""Parameters (in lower case) that people put credentials into."""

COOKIE: Final = "monitor_session"
TICKET: Final = "ticket"

_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
"""They change nothing (RFC 9110, 9.2.1)."""

_CURE: Final = "ask an administrator of your team for a token that has it"


async def anybody(_connection: Connection) -> Principal:
    """The local principal, whoever asks."""
    return LOCAL


class Guard:
    """Lets in who shows a token, or what stands for one. Implements Authenticate."""

    def __init__(
        self,
        credentials: Credentials,
        sessions: Sessions,
        origins: Collection[str] = (),
        faces: Collection[Face] = (),
    ) -> None:
        """`origins` are of pages elsewhere that may use sessions as pages of this service do; `faces` are those beside
        the native one.
        """
        self._credentials, self._sessions, self._origins = credentials, sessions, frozenset(origins)
        self._faces = faces

    async def __call__(self, connection: Connection) -> Principal:
        """Whose token the connection shows.

        Raises Unauthenticated, TokenInUrl, AddressNotAllowed, ForeignOrigin, CsrfTokenMissing, RateLimited,
        StoreUnavailable.
        """
        _check_url(connection)
        address = client_address(connection)
        token, session_id = await self._holder(connection, address)
        _check_address(token, address)
        return token.principal(address, session_id)

    async def _holder(self, connection: Connection, address: str | None) -> tuple[Token, str | None]:
        """And the session, where it comes by one."""
        headers, face = Headers(scope=connection), face_at(sent_path(connection), self._faces)
        if "authorization" in headers or face.header in headers:
            scheme, said = _shown(headers, face)
            if scheme == "ticket":
                return await self._sessions.redeemed(said, address), None
            _check_kind(said, face)
            return await self._credentials.holder(said, address), None
        if ticket := QueryParams(connection.get("query_string", b"")).get(TICKET):
            if _changes(connection):
                # A page elsewhere could have a browser send it, and so sign it in as somebody else.
                raise TokenInUrl("a ticket in an address only reads; send 'Authorization: Ticket ...'", field=TICKET)
            return await self._sessions.redeemed(ticket, address), None
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if not cookie:
            raise TokenMissing
        if not is_own_page(headers, self._origins):
            raise ForeignOrigin("sessions are for pages of this service; those of others show a token or a ticket")
        came = await self._sessions.holder(cookie, address)
        if _changes(connection):
            self._check_csrf(cookie, headers)
        return came

    def _check_csrf(self, cookie: str, headers: Headers) -> None:
        if not self._sessions.is_csrf_of(cookie, headers.get("x-csrf-token", "")):
            raise CsrfTokenMissing


def permit(who: Principal, needed: Scope) -> None:
    """Raises InsufficientPermissions, naming the scope, unless `who` has it."""
    if not who.may(needed):
        raise InsufficientPermissions(f"this needs the scope '{needed}': {_CURE}", requiredPermission=needed)


def client_address(connection: Connection) -> str | None:
    """Where the connection comes from; None where the server does not know."""
    client = connection.get("client")
    return str(client[0]) if client else None


def _changes(connection: Connection) -> bool:
    return connection["type"] == "http" and connection["method"] not in _SAFE_METHODS


def _authorization(headers: Headers) -> tuple[str, str]:
    """Scheme, in small letters, and what stands behind it (RFC 6750, 2.1; RFC 9110, 11.1). Raises TokenMalformed."""
    said = headers.getlist("authorization")
    scheme, _, credentials = said[0].strip().partition(" ")
    if len(said) > 1 or scheme.lower() not in ("bearer", "ticket"):
        raise TokenMalformed
    return scheme.lower(), credentials.strip()


def _shown(headers: Headers, face: Face) -> tuple[str, str]:
    """What stands for somebody, with its scheme, where the face looks for it. Raises TokenMalformed."""
    if face.header == "Authorization" or face.header not in headers:
        return _authorization(headers)
    said = [*headers.getlist(face.header), *headers.getlist("authorization")]
    if len(said) > 1:
        raise TokenMalformed
    return "bearer", said[0].strip()


def _check_kind(text: str, face: Face) -> None:
    """Raises TokenInvalid for a token that is spelt as those of another API."""
    shown = read_token(text)
    if shown is not None and shown.kind not in ("mon", face.spelling):
        known = " or ".join(f"'{kind}_'" for kind in dict.fromkeys((face.spelling, "mon")))
        raise TokenInvalid(f"a token begins with {known} here, not with '{shown.kind}_'")


def _check_url(connection: Connection) -> None:
    query = connection.get("query_string", b"")
    if not query:
        return
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name.lower() in IN_URL or read_token(value):
            raise TokenInUrl(field=name)


def _check_address(token: Token, address: str | None) -> None:
    if token.networks and not _is_in(token.networks, address):
        raise AddressNotAllowed


def _is_in(networks: Iterable[str], address: str | None) -> bool:
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    # A socket that listens for both kinds shows IPv4 addresses as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in ipaddress.ip_network(network) for network in networks)
