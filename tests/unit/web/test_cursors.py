"""A cursor opens for the question that it was made for, and for no other."""

import msgspec
import pytest

from monitor.access.positions import position_token
from monitor.access.sealing import Sealer
from monitor.errors import InvalidCursor
from monitor.events.position import Position
from monitor.projections.loglines import Spot
from monitor.web.cursors import (
    VERSION,
    After,
    cursor_token,
    open_cursor,
    open_line_turn,
    open_turn,
    turn_token,
)

SEALER = Sealer(bytes(32))
QUESTION = ("acme", "-startedAt", "filter[status]=failed")


@pytest.mark.parametrize("after", [(1_700_000_000_000_000, 7), (None, 1), (0, 0)])
def test_the_same_question_opens_it(after: After) -> None:
    """Also where the sort column is empty."""
    assert open_cursor(SEALER, QUESTION, cursor_token(SEALER, QUESTION, after)) == after


@pytest.mark.parametrize(
    "question",
    [
        ("rival", *QUESTION[1:]),
        ("acme", "startedAt", QUESTION[2]),
        QUESTION[:2],
        ("acme,-startedAt", QUESTION[2]),
    ],
)
def test_other_questions_do_not(question: tuple[str, ...]) -> None:
    """Another team, sort or filter: InvalidCursor."""
    with pytest.raises(InvalidCursor):
        open_cursor(SEALER, question, cursor_token(SEALER, QUESTION, (5, 5)))


@pytest.mark.parametrize("token", ["", "eyJpZCI6NX0", "ü", position_token(SEALER, Position("0123456789ab", (1,)))])
def test_other_tokens_do_not(token: str) -> None:
    """Made up, or of another kind: InvalidCursor."""
    with pytest.raises(InvalidCursor):
        open_cursor(SEALER, QUESTION, token)


@pytest.mark.parametrize("backwards", [True, False])
def test_a_turn_tells_its_direction(*, backwards: bool) -> None:
    """Of rows and of lines of a log; another team's question opens neither direction."""
    rows = turn_token(SEALER, QUESTION, (5, 6), backwards=backwards)
    assert open_turn(SEALER, QUESTION, rows) == ((5, 6), backwards)
    spot: Spot = (1, 2, 3)
    lines = turn_token(SEALER, QUESTION, spot, backwards=backwards)
    assert open_line_turn(SEALER, QUESTION, lines) == (spot, backwards)
    for opener, token in ((open_turn, rows), (open_line_turn, lines)):
        with pytest.raises(InvalidCursor):
            opener(SEALER, ("rival", *QUESTION[1:]), token)


@pytest.mark.parametrize("backwards", [True, False])
@pytest.mark.parametrize("sealed", [b"[5,5]", bytes((VERSION + 1,)) + b"[5,5]", b""], ids=["first", "next", "empty"])
def test_a_cursor_of_another_version_is_told_from_garbage(sealed: bytes, *, backwards: bool) -> None:
    """Sealed by this deployment for this question, but before or after a change: with the way on."""
    asked = [*QUESTION, "backwards"] if backwards else QUESTION
    token = SEALER.token(f"cursor:{msgspec.json.encode(asked).decode()}", sealed)
    with pytest.raises(InvalidCursor, match=r"another version of this service; start again without it"):
        open_turn(SEALER, QUESTION, token)
