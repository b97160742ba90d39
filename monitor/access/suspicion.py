"""Suspicion: whether there could be something to mask in some bytes, told many times faster than by looking for it.

Every rule has marks without which it finds nothing. They are looked for in many events at once, by the regular
expressions of pydantic (a DFA in Rust with vector instructions for sets of words): half a microsecond for an event of
450 bytes, where Python's own would take ten.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

import msgspec
from pydantic_core import SchemaValidator, core_schema

from monitor.access.looks import KINDS

_AT_ONCE: Final = 64
"""Values that are looked through together; then, where something is found, an eighth of them, and each alone."""

_SHRINKING: Final = 8

_AT_ONCE_BYTES: Final = 256 * 1024

_FOLD: Final = bytes(48 if 48 <= byte < 58 else byte for byte in bytes(range(256)).lower())
"""Small letters, and a 0 for every digit."""

_BEHIND_A_NAME: Final = "[\"'=:\\]\\\\ \t]"
"""What ends a member's name, in JSON, in JSON within a string, and in other text."""

_ESCAPED: Final = r"\\u00[2-7]"
"""JSON may spell any character like this; for what is ASCII nobody does, but for those who want to hide it."""

_WORDS_AT_ONCE: Final = 48
"""In one expression: for more words the vector instructions are given up."""


class Suspicion:
    """Marks of some rules. Never misses what they would find in JSON or other text; rarely suspects anything else."""

    def __init__(self, words: Collection[bytes], kinds: Collection[str]) -> None:
        """`words`: last names of what is hidden, folded; an empty one stands for any name."""
        self._suspects_all = b"" in words
        plain = sorted({mark for kind in kinds if kind in KINDS for mark in KINDS[kind].marks})
        dull = sorted({mark for kind in kinds if kind in KINDS for mark in KINDS[kind].folded_marks})
        escape = [_ESCAPED] if all(word.isascii() for word in words) else [r"\\u"]
        # The shortest marks apart: among the others they cost ten times as much.
        in_plain = [
            *_portions(_escaped(mark) for mark in plain if len(mark) > 1),
            *_portions(
                iter([*(_escaped(mark) for mark in plain if len(mark) == 1), *escape] if words or kinds else [])
            ),
        ]
        named = _portions(map(_escaped, sorted(_names(words))))
        in_folded = [*(f"(?:{some}){_BEHIND_A_NAME}" for some in named), *_portions(map(_escaped, dull))]
        self._in_plain, self._in_folded = [*map(_finder, in_plain)], [*map(_finder, in_folded)]

    def of(self, text: bytes) -> bool:
        """Whether something could be found in `text`: JSON as it was written, or the text of one of its strings."""
        if self._suspects_all:
            return True
        # One character for every byte: bytes of other alphabets match as they are, and nothing fails.
        if self._in_plain and _finds(self._in_plain, text.decode("latin-1")):
            return True
        return bool(self._in_folded) and _finds(self._in_folded, text.translate(_FOLD).decode("latin-1"))

    def among(self, values: Sequence[bytes]) -> Iterator[int]:
        """The places of those that are suspicious."""
        start = 0
        while start < len(values):
            end, size_bytes = start, 0
            while end < len(values) and end - start < _AT_ONCE and size_bytes <= _AT_ONCE_BYTES:
                size_bytes += len(values[end])
                end += 1
            yield from self._among(values, start, end, _AT_ONCE // _SHRINKING)
            start = end

    def _among(self, values: Sequence[bytes], start: int, end: int, step: int) -> Iterator[int]:
        if not self.of(b"\n".join(values[start:end])):
            return
        if end - start == 1:
            yield start
            return
        for at in range(start, end, step):
            yield from self._among(values, at, min(at + step, end), max(1, step // _SHRINKING))


def _names(words: Collection[bytes]) -> Collection[str]:
    """As JSON spells them and `_FOLD` leaves them; the shortest ones alone where others end with them."""
    spelt = {msgspec.json.encode(word.decode(errors="replace"))[1:-1].translate(_FOLD) for word in words}
    folded = {*spelt, *(word.translate(_FOLD) for word in words)}
    shortest = {word for word in folded if not any(word[at:] in folded for at in range(1, len(word)))}
    return {word.decode("latin-1") for word in shortest}


def _portions(words: Iterator[str]) -> list[str]:
    listed = list(words)
    return ["|".join(listed[at : at + _WORDS_AT_ONCE]) for at in range(0, len(listed), _WORDS_AT_ONCE)]


def _finds(finders: Sequence[Callable[[str], bool]], text: str) -> bool:
    return any(find(text) for find in finders)


def _escaped(word: str) -> str:
    return "".join(rf"\x{{{ord(char):x}}}" if not (char.isascii() and char.isalnum()) else char for char in word)


def _finder(pattern: str) -> Callable[[str], bool]:
    return SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python
