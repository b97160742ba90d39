"""Position tokens open to what was sealed, and to nothing else."""

import re

import pytest

from monitor.access.positions import ended_token, is_ended, open_position, position_token
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


def test_a_token_may_say_that_nothing_follows() -> None:
    """It is still the token of its position, in the letters that tokens have."""
    token = position_token(SEALER, POSITION)
    ended = ended_token(token)
    assert (is_ended(token), is_ended(ended)) == (False, True)
    assert open_position(SEALER, ended) == POSITION
    assert re.fullmatch(r"[A-Za-z0-9._-]+", ended)


def test_no_token_says_so_by_chance() -> None:
    """Sealed bytes hold no dot."""
    assert not any("." in position_token(SEALER, Position("0123456789ab", (offset,))) for offset in range(1000))


@pytest.mark.parametrize(
    "token", ["e.", "e.now", "e.e." + position_token(SEALER, POSITION), position_token(SEALER, POSITION) + "."]
)
def test_the_mark_makes_nothing_else_valid(token: str) -> None:
    """It stands in front, once, before a token."""
    with pytest.raises(InvalidPosition):
        open_position(SEALER, token)
