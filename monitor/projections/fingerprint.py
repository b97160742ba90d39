"""One name for errors that are the same but for their particulars, so that a thousand of them are one line.

The fingerprint of an error is the first 16 hexadecimal digits of SHA-256 over its type, a line feed, and its pattern:
its message with what varies from run to run replaced. In this order:

1. quoted parts ('...', "...", `...`, within a line) become <text>;
2. addresses (anything://..., a@b.c) become <address>;
3. words that hold a digit (numbers, ids, times, hexadecimal) become <n>, neighbours joined by . : - _ / included;
4. runs of white space become one space, and the first 200 characters are kept.

An error without a type is of type `Error`, as the API spells it. Pure; the rule is a part of what is stored, so that a
change of it needs a rebuild.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from monitor.projections.members import text

_MOST_CHARACTERS: Final = 200
"""Of a pattern: beyond it messages hold what they are about, not what went wrong."""

_MOST_READ: Final = 2_000
"""Of a message: a dump of a document must not cost the batch its time."""

_MOST_OF_A_TYPE: Final = 100

_DIGIT: Final = re.compile(r"\d")
_RULES: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"), "<text>"),
    (re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://\S+|[^\s@<>]{1,64}@[^\s@<>]+\.[^\s@<>]+"), "<address>"),
    # A run is taken whole and looked into: a pattern that seeks the digit itself goes back over it again and again.
    (re.compile(r"[\w.:/-]+"), lambda run: "<n>" if _DIGIT.search(run[0]) else run[0]),
    (re.compile(r"\s+"), " "),
)


class ErrorKind(NamedTuple):
    """What errors of one fingerprint have in common."""

    fingerprint: str
    type: str
    # The message with what varies replaced.
    pattern: str


def kind_of(said: Mapping[str, Any]) -> ErrorKind:
    """The kind of an error as engines report it: an object with `type` and `message`, both optional."""
    type_ = (text(said.get("type")) or "Error")[:_MOST_OF_A_TYPE]
    pattern = pattern_of(text(said.get("message")) or "")
    digest = sha256(f"{type_}\n{pattern}".encode("utf-8", "surrogatepass")).hexdigest()
    return ErrorKind(digest[:16], type_, pattern)


def pattern_of(message: str) -> str:
    """The message with what varies replaced."""
    message = message[:_MOST_READ]
    for rule, placeholder in _RULES:
        message = rule.sub(placeholder, message)
    return message.strip()[:_MOST_CHARACTERS]
