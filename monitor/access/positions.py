"""Position tokens: how far somebody has read, in the form that strangers carry between two visits.

Sealed with the deployment's key, so that tenants can neither read offsets nor make them up. Every face uses these two
functions: REST headers and `minPosition`, ingest answers, frames and resume.
"""

from typing import Final

from monitor.access.sealing import Sealer, Unopenable
from monitor.errors import InvalidPosition
from monitor.events.position import Position, from_bytes, to_bytes

_PURPOSE: Final = "position"

_ENDED: Final = "e."
"""Marks the token behind the last frame of a stream that is complete; sealed tokens hold no dot."""


def position_token(sealer: Sealer, position: Position) -> str:
    """The token of `position`: in `[A-Za-z0-9_-]`, at most 128 characters up to 12 partitions."""
    return sealer.token(_PURPOSE, to_bytes(position))


def open_position(sealer: Sealer, token: str) -> Position:
    """The position in `token`, also of one that marks an end.

    Raises InvalidPosition for anything that this deployment did not make.
    """
    try:
        return from_bytes(sealer.untoken(_PURPOSE, token.removeprefix(_ENDED)))
    except Unopenable:
        raise InvalidPosition from None


def ended_token(token: str) -> str:
    """The same position, behind which nothing follows."""
    return _ENDED + token


def is_ended(token: str) -> bool:
    """Whether nothing follows: whoever comes back with it need not come again."""
    return token.startswith(_ENDED)
