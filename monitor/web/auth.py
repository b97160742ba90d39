"""Who asks: every address turns its connection into a principal here before it does anything else.

With `MONITOR_AUTH=off`, which the settings allow on a loopback address only, everybody is the local principal.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Scope as Connection

from monitor.access.principal import LOCAL, Principal
from monitor.access.roles import Scope
from monitor.errors import InsufficientPermissions

Authenticate = Callable[[Connection], Awaitable[Principal]]
"""What addresses take: the principal of an HTTP or WebSocket connection. Raises a ClientError for one that is none."""


async def authenticate(_connection: Connection) -> Principal:
    """The local principal, whoever asks."""
    return LOCAL


def permit(who: Principal, needed: Scope) -> None:
    """Raises InsufficientPermissions, naming the scope, unless `who` has it."""
    if not who.may(needed):
        raise InsufficientPermissions(f"this needs the scope '{needed}': {_CURE}", requiredPermission=needed)


_CURE: Final = "ask an administrator of your team for a token that has it"
