"""Who asks: every address turns its connection into a principal here before it does anything else.

`app` makes the guard by the settings. With `MONITOR_AUTH=off`, which the settings allow on a loopback address only,
everybody is the local principal (`anybody`); else a connection shows a token as `Authorization: Bearer mon_...`, never
in its URL, which proxies log and browsers keep.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import Scope as Connection

from monitor.access.principal import LOCAL, Principal
from monitor.access.roles import Scope
from monitor.access.tokens import Token, read_token
from monitor.errors import (
    AddressNotAllowed,
    InsufficientPermissions,
    TokenInUrl,
    TokenMalformed,
    TokenMissing,
)
from monitor.executions.credentials import Credentials

Authenticate = Callable[[Connection], Awaitable[Principal]]
"""What addresses take: the principal of an HTTP or WebSocket connection. Raises a ClientError for one that is none."""

IN_URL: Final = frozenset({"token", "access_token", "api_key", "apikey", "api-key", "authorization", "bearer"})
"""Parameters (in lower case) that people put credentials into."""

_CURE: Final = "ask an administrator of your team for a token that has it"


async def anybody(_connection: Connection) -> Principal:
    """The local principal, whoever asks."""
    return LOCAL


class Guard:
    """Lets in who shows a token. Implements Authenticate."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def __call__(self, connection: Connection) -> Principal:
        """Whose token the connection shows. Raises Unauthenticated, TokenInUrl, AddressNotAllowed, StoreUnavailable."""
        _check_url(connection)
        token = await self._credentials.holder(_bearer(connection["headers"]))
        address = client_address(connection)
        _check_address(token, address)
        return token.principal(address)


def permit(who: Principal, needed: Scope) -> None:
    """Raises InsufficientPermissions, naming the scope, unless `who` has it."""
    if not who.may(needed):
        raise InsufficientPermissions(f"this needs the scope '{needed}': {_CURE}", requiredPermission=needed)


def client_address(connection: Connection) -> str | None:
    """Where the connection comes from; None where the server does not know."""
    client = connection.get("client")
    return str(client[0]) if client else None


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What stands behind `Bearer` (RFC 6750, 2.1; the scheme in any case, RFC 9110, 11.1)."""
    said = [value for name, value in headers if name == b"authorization"]
    if not said:
        raise TokenMissing
    scheme, _, token = said[0].strip().partition(b" ")
    if len(said) > 1 or scheme.lower() != b"bearer":
        raise TokenMalformed
    return token.strip().decode("latin-1")


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
