"""Cursors of lists: where the next page starts, sealed together with the question that it belongs to.

The question (team, face, sort, filters as they were sent) is part of the seal, so a cursor opens for the same question
alone: it can neither be read, made up, carried to another team, nor combined with another filter.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from typing_extensions import TypedDict

from monitor.access.sealing import Sealer, Unopenable
from monitor.errors import InvalidCursor

After = tuple[int | None, int]
"""(value of the sort column, key) of the last row of the page before."""


class Pagination(TypedDict):
    """Where a page stands in its list."""

    limit: int
    hasMore: bool
    nextCursor: str | None
    """Null on the last page."""


class CountedPagination(Pagination):
    """Where a page stands in its list, and how long the list is."""

    total: int


_decoder: Final[msgspec.json.Decoder[After]] = msgspec.json.Decoder(After)


def cursor_token(sealer: Sealer, question: Sequence[str], after: After) -> str:
    """The cursor of the page that starts behind `after`."""
    return sealer.token(_purpose(question), msgspec.json.encode(after))


def open_cursor(sealer: Sealer, question: Sequence[str], token: str) -> After:
    """The inverse of `cursor_token` for the same question. Raises InvalidCursor for everything else."""
    try:
        return _decoder.decode(sealer.untoken(_purpose(question), token))
    except Unopenable:
        raise InvalidCursor(field="cursor") from None


def turn_token(sealer: Sealer, question: Sequence[str], after: After, *, backwards: bool) -> str:
    """The cursor of the page that starts behind a row, or of the one that ends before it."""
    return cursor_token(sealer, _turned(question) if backwards else question, after)


def open_turn(sealer: Sealer, question: Sequence[str], token: str) -> tuple[After, bool]:
    """The row, and whether the page ends before it. Raises InvalidCursor."""
    try:
        return open_cursor(sealer, question, token), False
    except InvalidCursor:
        return open_cursor(sealer, _turned(question), token), True


def _turned(question: Sequence[str]) -> Sequence[str]:
    return [*question, "backwards"]


def _purpose(question: Sequence[str]) -> str:
    return f"cursor:{msgspec.json.encode(question).decode()}"
