"""Position tokens: how far somebody has read, in the form that strangers carry between two visits.

Sealed with the deployment's key, so that tenants can neither read offsets nor make them up. Every face uses these two
functions: REST headers and `minPosition`, ingest answers, frames and resume.
"""

from typing import Final

from monitor.access.sealing import Sealer, Unopenable
from monitor.errors import InvalidPosition
from monitor.events.position import Position, from_bytes, to_bytes

_PURPOSE: Final = "position"


def position_token(sealer: Sealer, position: Position) -> str:
    """The token of `position`: in `[A-Za-z0-9_-]`, at most 128 characters up to 12 partitions."""
    return sealer.token(_PURPOSE, to_bytes(position))


def open_position(sealer: Sealer, token: str) -> Position:
    """The position in `token`. Raises InvalidPosition for anything that this deployment did not make."""
    try:
        return from_bytes(sealer.untoken(_PURPOSE, token))
    except Unopenable:
        raise InvalidPosition from None
