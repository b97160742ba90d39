"""Who asks: every route turns its connection into a principal here before it does anything else.

With `MONITOR_AUTH=off`, which the settings allow on a loopback address only, everybody is the local principal.
"""

from collections.abc import Callable

from starlette.types import Scope

from monitor.access.principal import LOCAL, Principal

Authenticate = Callable[[Scope], Principal]
"""What routes take: the principal of an HTTP or WebSocket connection. Raises a ClientError for one that is none."""


def authenticate(_scope: Scope) -> Principal:
    """The local principal, whoever asks."""
    return LOCAL
