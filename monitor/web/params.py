"""Query parameters, strictly: what an address does not know is refused with the nearest word that it does know.

A misspelt filter that is ignored shows somebody the wrong executions; hence nothing is ignored. A parameter is declared
once: the declaration takes its value and describes it in the contract. All raise InvalidRequest naming the parameter,
unless said otherwise. `filter[...]` belongs to `projections.filter`.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from starlette.datastructures import QueryParams

from monitor.access.positions import open_position
from monitor.access.sealing import Sealer
from monitor.errors import InvalidPosition, InvalidRequest
from monitor.events.codec import parse_time_us
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.events.position import Position

_MOST_OF_A_PHRASE: Final = 200
_MOST_OF_A_NUMBER: Final = 999_999_999


class Parameter(Protocol):
    """What a declaration tells of itself."""

    @property
    def name(self) -> str: ...
    @property
    def doc(self) -> str: ...
    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """Any text, once."""

    name: str
    doc: str
    # What it stands for, where that has a name among the formats of JSON Schema or of the contract.
    form: str = ""
    # What it matches; "" = no more than its form says.
    pattern: str = ""
    # Whether nothing is answered without it.
    required: bool = False

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        ends = {"minLength": 1, "maxLength": MAX_ID_CHARACTERS} if self.form == "printable" else {}
        form = {"format": self.form} if self.form else {}
        return {"type": "string", **form, **ends, **({"pattern": self.pattern} if self.pattern else {})}

    def take(self, query: QueryParams) -> str | None:
        """The value; None where it is absent and need not be there."""
        said = take_one(query, self.name)
        if said is None and self.required:
            raise InvalidRequest(f"'{self.name}' is missing", field=self.name)
        return said


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text of some words: 1 to 200 characters that can be printed."""

    name: str
    doc: str

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "string", "minLength": 1, "maxLength": _MOST_OF_A_PHRASE, "format": "words"}

    def take(self, query: QueryParams) -> str | None:
        """The text; None where it is absent."""
        said = take_one(query, self.name)
        if said is not None and not (0 < len(said) <= _MOST_OF_A_PHRASE and said.isprintable()):
            message = f"'{self.name}' takes 1 to {_MOST_OF_A_PHRASE} printable characters"
            raise InvalidRequest(message, field=self.name)
        return said


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a set."""

    name: str
    known: Sequence[str]
    doc: str

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "string", "enum": list(self.known)}

    def take(self, query: QueryParams) -> str | None:
        """The word; None where it is absent."""
        word = take_one(query, self.name)
        if word is not None:
            _check_word(self.name, word, self.known)
        return word


@dataclass(frozen=True, slots=True)
class Words:
    """Several words of a set: separated by commas, or the parameter repeated."""

    name: str
    known: Sequence[str]
    doc: str

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "array", "items": {"type": "string", "enum": list(self.known)}}

    def take(self, query: QueryParams) -> frozenset[str]:
        """The words."""
        words = frozenset(word for said in query.getlist(self.name) for word in said.split(",") if word)
        for word in sorted(words):
            _check_word(self.name, word, self.known)
        return words


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`, which is the default."""

    name: str
    doc: str

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "boolean", "default": False}

    def take(self, query: QueryParams) -> bool:
        """Whether it is set."""
        word = take_one(query, self.name)
        if word is not None:
            _check_word(self.name, word, ("true", "false"))
        return word == "true"


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number from `least` to `most`."""

    name: str
    least: int
    doc: str
    most: int = _MOST_OF_A_NUMBER

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def take(self, query: QueryParams) -> int | None:
        """The number; None where it is absent."""
        said = take_one(query, self.name)
        return None if said is None else _whole_number(self.name, said, self.least, self.most)


@dataclass(frozen=True, slots=True)
class Limit:
    """`limit`: a whole number from 1 to `most`."""

    default: int
    most: int
    # Whether more than `most` means `most`, instead of being refused.
    clamps: bool = False
    name: str = field(default="limit", init=False)

    @property
    def doc(self) -> str:
        """What it does."""
        return f"At most so many; {self.default} where nothing is said."

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        ceiling = {} if self.clamps else {"maximum": self.most}
        return {"type": "integer", "minimum": 1, **ceiling, "default": self.default}

    def take(self, query: QueryParams) -> int:
        """The limit."""
        said = take_one(query, self.name)
        if said is None:
            return self.default
        if self.clamps and _is_whole(said) and len(said.lstrip("0")) > len(str(self.most)):
            return self.most
        most = _MOST_OF_A_NUMBER if self.clamps else self.most
        return min(_whole_number(self.name, said, 1, most), self.most)


@dataclass(frozen=True, slots=True)
class Time:
    """A time in ISO 8601."""

    name: str
    doc: str

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "string", "format": "date-time"}

    def take(self, query: QueryParams) -> int | None:
        """Microseconds; None where it is absent."""
        said = take_one(query, self.name)
        try:
            return None if said is None else parse_time_us(said)
        except ValueError as error:
            raise InvalidRequest(f"'{self.name}' {error}", field=self.name) from None


@dataclass(frozen=True, slots=True)
class MinPosition:
    """`minPosition`: how far the state must have got."""

    name: str = field(default="minPosition", init=False)
    doc: str = field(default="Wait until the state has got at least as far as this position.", init=False)

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "string", "format": "position"}

    def take(self, query: QueryParams, sealer: Sealer) -> Position | None:
        """The position; None where it is absent. Raises InvalidPosition."""
        token = take_one(query, self.name)
        try:
            return open_position(sealer, token) if token is not None else None
        except InvalidPosition as error:
            raise InvalidPosition(error.message, field=self.name) from None


@dataclass(frozen=True, slots=True)
class Filters:
    """`filter[field]` and `filter[field][op]`: the grammar of `projections.filter`, which takes them."""

    name: str = field(default="filter", init=False)
    doc: str = field(
        default="Tests that all hold: filter[status]=failed,timeout or filter[duration][gte]=5.", init=False
    )

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value: an object, each member of which is a parameter of its own (`deepObject`)."""
        return {"type": "object", "additionalProperties": {"type": "string"}}

    def take(self, query: QueryParams) -> list[tuple[str, str]]:
        """The pairs as they were sent."""
        return [pair for pair in query.multi_items() if pair[0].startswith(self.name)]


CURSOR: Final = Text("cursor", "Where the page before told to go on.", "cursor")
MIN_POSITION: Final = MinPosition()
FILTERS: Final = Filters()
REVEAL: Final = Flag(
    "reveal",
    "Secrets as they came, not masked. Needs the scope `executions:reveal`, and leaves a line in the audit.",
)


def check_declared(query: QueryParams, declared: Collection[Parameter]) -> None:
    """Refuse parameters that are not declared; with FILTERS among them, those of the grammar are left to it."""
    names = ["filter[...]" if it is FILTERS else it.name for it in declared]
    check_names(query, names, filters=any(it is FILTERS for it in declared))


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


def nearest(word: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown word: the one that was probably meant, else all of them."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(sorted(known)) or 'none'}"


def _is_whole(said: str) -> bool:
    return said.isascii() and said.isdigit()


def _whole_number(name: str, said: str, least: int, most: int) -> int:
    if not (_is_whole(said) and len(said) < 10 and least <= int(said) <= most):
        raise InvalidRequest(f"'{name}' is a whole number from {least} to {most}", field=name)
    return int(said)


def _check_word(name: str, word: str, known: Collection[str]) -> None:
    if word not in known:
        raise InvalidRequest(f"'{name}' does not know '{word}'{nearest(word, known)}", field=name)
