"""Query parameters, strictly: what an address does not know is refused with the nearest word that it does know.

A misspelt filter that is ignored shows somebody the wrong executions; hence nothing is ignored. All raise
InvalidRequest naming the parameter, unless said otherwise. `filter[...]` belongs to `projections.filter`.
"""

import difflib
from collections.abc import Collection

from starlette.datastructures import QueryParams

from monitor.access.positions import open_position
from monitor.access.sealing import Sealer
from monitor.errors import InvalidPosition, InvalidRequest
from monitor.events.position import Position


def check_names(query: QueryParams, known: Collection[str], *, filters: bool = False) -> None:
    """Refuse parameters outside `known`; with `filters`, the filter grammar's are somebody else's to judge."""
    for name in query:
        if name not in known and not (filters and name.startswith("filter")):
            raise InvalidRequest(f"unknown parameter '{name}'{nearest(name, known)}", field=name)


def take_one(query: QueryParams, name: str) -> str | None:
    """The value of a parameter that may stand once; None where it is absent."""
    values = query.getlist(name)
    if len(values) > 1:
        raise InvalidRequest(f"'{name}' is given {len(values)} times", field=name)
    return values[0] if values else None


def take_limit(query: QueryParams, *, default: int, most: int) -> int:
    """`limit`: 1 to `most`."""
    said = take_one(query, "limit")
    if said is None:
        return default
    if not (said.isascii() and said.isdigit() and len(said) < 10 and 1 <= int(said) <= most):
        raise InvalidRequest(f"'limit' is a whole number from 1 to {most}", field="limit")
    return int(said)


def take_words(query: QueryParams, name: str, known: Collection[str]) -> frozenset[str]:
    """A set of words: separated by commas, or the parameter repeated."""
    words = frozenset(word for said in query.getlist(name) for word in said.split(",") if word)
    for word in sorted(words):
        _check_word(name, word, known)
    return words


def take_word(query: QueryParams, name: str, known: Collection[str]) -> str | None:
    """One of `known`; None where the parameter is absent."""
    word = take_one(query, name)
    if word is not None:
        _check_word(name, word, known)
    return word


def take_position(query: QueryParams, sealer: Sealer) -> Position | None:
    """`minPosition`: how far the state must have got. Raises InvalidPosition."""
    token = take_one(query, "minPosition")
    try:
        return open_position(sealer, token) if token is not None else None
    except InvalidPosition as error:
        raise InvalidPosition(error.message, field="minPosition") from None


def nearest(word: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown word: the one that was probably meant, else all of them."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(sorted(known)) or 'none'}"


def _check_word(name: str, word: str, known: Collection[str]) -> None:
    if word not in known:
        raise InvalidRequest(f"'{name}' does not know '{word}'{nearest(word, known)}", field=name)
