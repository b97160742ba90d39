"""A mask: one set of rules, applied to a value or a text."""

from collections.abc import Iterator
from typing import Any, Final

from monitor.access.looks import KINDS, is_card
from monitor.access.mask_rules import NAMED, Path, Rules, folded
from monitor.access.mask_text import MASK, pairs
from monitor.access.suspicion import Suspicion

_SMALLEST_CARD: Final = 10**12

_SHORTEST: Final = 5
"""Characters: `pwd=x`."""

_MOST_NAMES: Final = 10_000
"""Names of members that are remembered, each with what is shown for it: most events bring the same ones again."""


class Mask:
    """What the rules of one workflow let through."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        kinds = [kind for kind in rules.kinds if kind in KINDS]
        words = rules.words - {b""} if NAMED in rules.kinds else frozenset()
        self._kinds = [(Suspicion((), [kind]), KINDS[kind].replace) for kind in kinds]
        self._named, self._pairs = Suspicion(words, ()), pairs(words)
        self._suspicion = Suspicion(words, kinds)
        self._names: dict[str, str] = {}

    def value(self, value: Any, path: Path) -> Any:
        """`value`, decoded from JSON, as it may be shown at `path`; itself where no rule fits."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._members(value, path)
        if isinstance(value, list):
            items = [self.value(item, path) for item in value]
            return items if any(shown is not item for shown, item in zip(items, value, strict=True)) else value
        if type(value) is int and value >= _SMALLEST_CARD and "card" in self.rules.kinds and is_card(str(value)):
            return "[card]"
        return value

    def text(self, text: str) -> str:
        """The text as it may be shown; itself where nothing is found."""
        if len(text) < _SHORTEST:
            return text
        raw = text.encode(errors="surrogatepass")
        shown = self.raw(raw)
        return text if shown is raw else shown.decode(errors="surrogatepass")

    def raw(self, text: bytes) -> bytes:
        """The same, of bytes."""
        if not self._suspicion.of(text):
            return text
        shown = self._replaced(text)
        return text if shown == text else shown

    def _replaced(self, text: bytes) -> bytes:
        for suspicion, replaced in self._kinds:
            if suspicion.of(text):
                text = replaced(text)
        if self._named.of(text):
            for mark, replaced in self._pairs:
                if mark in text:
                    text = replaced(text)
        return text

    def _members(self, value: dict[str, Any], path: Path) -> dict[str, Any]:
        shown = dict(self._shown(value, path))
        is_same = len(shown) == len(value) and all(
            name in value and shown_value is value[name] for name, shown_value in shown.items()
        )
        return value if is_same else shown

    def _shown(self, value: dict[str, Any], path: Path) -> Iterator[tuple[str, Any]]:
        taken = set(value)
        for name, inner in value.items():
            at = (*path, folded(name))
            verdict = self.rules.verdict(at)
            if verdict is None:
                yield self._renamed(name, taken), self.value(inner, at)
            else:
                yield name, MASK if verdict and inner != MASK else inner

    def _renamed(self, name: str, taken: set[str]) -> str:
        """A name can hold a secret as well; no two members get the same one."""
        shown = self._names.get(name)
        if shown is None:
            shown = self.text(name)
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[name] = shown
        if shown == name:
            return name
        number, free = 1, shown
        while free in taken:
            number += 1
            free = f"{shown} {number}"
        taken.add(free)
        return free
