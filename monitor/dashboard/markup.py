"""HTML from values: whatever is not markup already is escaped. Pure."""

import re
from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

Part: TypeAlias = "str | Iterable[Part] | None"
"""What stands inside an element."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: Part, **attributes: str | bool) -> Html:
    """An element. `class_` stands for class; True for an attribute without a value, False for one that is absent."""
    told = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not False
    )
    inner = joined(children)
    return Html(f"<{name}{told}>" if name in _EMPTY else f"<{name}{told}>{inner}</{name}>")


def joined(parts: Part) -> Html:
    """Markup of everything in `parts`, in order; None is nothing."""
    if parts is None:
        return Html()
    if isinstance(parts, Html):
        return parts
    return Html(escape(parts)) if isinstance(parts, str) else Html("".join(map(joined, parts)))


def prose(text: str) -> Html:
    """Paragraphs of a text in which backticks stand around code."""
    return joined(tag("p", words(it)) for it in text.split("\n\n") if it)


def words(text: str) -> Html:
    """A text in which backticks stand around code."""
    pieces = re.split(r"`+([^`]+)`+", text)
    return joined(tag("code", it) if place % 2 else it for place, it in enumerate(pieces))


_EMPTY: Final = frozenset({"br", "input", "link", "meta"})


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
