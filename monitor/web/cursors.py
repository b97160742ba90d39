"""Cursors of lists: where the next page starts, sealed together with the question that it belongs to.

The question (team, face, sort, filters as they were sent) is part of the seal, so a cursor opens for the same question
alone: it can neither be read, made up, carried to another team, nor combined with another filter. What is sealed begins
with a version: a cursor that another version of this service made is refused as such, never misread.
"""

from collections.abc import Sequence
from typing import Final, NotRequired

import msgspec
from typing_extensions import TypedDict

from monitor.access.sealing import Sealer, Unopenable
from monitor.errors import InvalidCursor
from monitor.projections.loglines import Spot

VERSION: Final = 2
"""Raised when what stands in a cursor, or the order of a list that it points into, is another one."""

After = tuple[int | None, int]
"""(value of the sort column, key) of the last row of the page before."""


class Pagination(TypedDict):
    """Where a page stands in its list."""

    limit: int
    hasMore: bool
    nextCursor: str | None
    """Null on the last page."""


class TwoWayPagination(Pagination):
    """Where a page stands in its list, which is read in both directions."""

    previousCursor: str | None
    """Null on the first page."""


class FullPagination(TwoWayPagination):
    """Where a page stands in its list, which is read in both directions, and how long the list is."""

    total: int
    totalIsLowerBound: NotRequired[bool]
    """There only where counting was given up."""


class CountedPagination(Pagination):
    """Where a page stands in its list, and how long the list is."""

    total: int


_OUTDATED: Final = "The cursor was made by another version of this service; start again without it"

_decoder: Final[msgspec.json.Decoder[After]] = msgspec.json.Decoder(After)
_spot_decoder: Final[msgspec.json.Decoder[Spot]] = msgspec.json.Decoder(Spot)


def cursor_token(sealer: Sealer, question: Sequence[str], after: After | Spot) -> str:
    """The cursor of the page that starts behind `after`."""
    return sealer.token(_purpose(question), bytes((VERSION,)) + msgspec.json.encode(after))


def open_cursor(sealer: Sealer, question: Sequence[str], token: str) -> After:
    """The inverse of `cursor_token` for the same question. Raises InvalidCursor for everything else."""
    said, _ = _opened(sealer, [question], token)
    return _decoder.decode(said)


def turn_token(sealer: Sealer, question: Sequence[str], after: After | Spot, *, backwards: bool) -> str:
    """The cursor of the page that starts behind a row, or of the one that ends before it."""
    return cursor_token(sealer, _turned(question) if backwards else question, after)


def open_turn(sealer: Sealer, question: Sequence[str], token: str) -> tuple[After, bool]:
    """The row, and whether the page ends before it. Raises InvalidCursor."""
    said, backwards = _opened(sealer, [question, _turned(question)], token)
    return _decoder.decode(said), backwards


def open_line_turn(sealer: Sealer, question: Sequence[str], token: str) -> tuple[Spot, bool]:
    """The same of a log: the line, and whether the page ends before it. Raises InvalidCursor."""
    said, backwards = _opened(sealer, [question, _turned(question)], token)
    return _spot_decoder.decode(said), backwards


def _opened(sealer: Sealer, questions: Sequence[Sequence[str]], token: str) -> tuple[bytes, bool]:
    """What is sealed for one of these questions, and whether it is not for the first one."""
    for place, question in enumerate(questions):
        try:
            sealed = sealer.untoken(_purpose(question), token)
        except Unopenable:
            continue
        if sealed[:1] != bytes((VERSION,)):
            raise InvalidCursor(_OUTDATED, field="cursor")
        return sealed[1:], place > 0
    raise InvalidCursor(field="cursor")


def _turned(question: Sequence[str]) -> Sequence[str]:
    return [*question, "backwards"]


def _purpose(question: Sequence[str]) -> str:
    return f"cursor:{msgspec.json.encode(question).decode()}"
