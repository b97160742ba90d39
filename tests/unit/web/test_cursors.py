"""A cursor opens for the question that it was made for, and for no other."""

import pytest

from monitor.access.positions import position_token
from monitor.access.sealing import Sealer
from monitor.errors import InvalidCursor
from monitor.events.position import Position
from monitor.web.cursors import After, cursor_token, open_cursor

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
