"""Position tokens open to what was sealed, and to nothing else."""

import pytest

from monitor.access.positions import open_position, position_token
from monitor.access.sealing import Sealer
from monitor.errors import InvalidPosition
from monitor.events.position import Position

SEALER = Sealer(bytes(32))
POSITION = Position("0123456789ab", (7, 0, 1 << 40))


def test_token_opens_to_its_position() -> None:
    """What was sealed comes back."""
    assert open_position(SEALER, position_token(SEALER, POSITION)) == POSITION


def test_tokens_stay_short() -> None:
    """Twelve partitions with a billion records each fit 128 characters."""
    assert len(position_token(SEALER, Position("0123456789ab", (1 << 30,) * 12))) <= 128


@pytest.mark.parametrize(
    "token",
    [
        "",
        "now",
        "a" * 10_000,
        "Ünicode",
        position_token(SEALER, POSITION)[:-1],
        position_token(Sealer(b"k" * 32), POSITION),
        SEALER.token("cursor", b"anything"),
        SEALER.token("position", b"not a position"),
    ],
)
def test_other_tokens_are_refused(token: str) -> None:
    """Cut, foreign, forged or of another purpose: InvalidPosition."""
    with pytest.raises(InvalidPosition):
        open_position(SEALER, token)
