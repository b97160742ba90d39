"""Schemas as people read them: the type of a value in a few words, and the members of an object. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from monitor.dashboard.markup import Html, Part, joined, tag, words

Json = dict[str, Any]

_WORDS: Final = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list"}


def type_of(schema: Json) -> Html:
    """What a value may be, with a link to each shape that has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return tag("a", name, href=f"#{shape_id(name)}")
    if "const" in schema:
        return tag("code", str(schema["const"]))
    if "enum" in schema:
        return joined(_between(" or ", [tag("code", str(it)) for it in schema["enum"]]))
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf", [])[:1]
    if choices and "properties" not in schema:
        return joined(_between(" or ", [type_of(it) for it in choices]))
    return joined(_plain(schema))


def members(schema: Json) -> Html:
    """The members of an object, each with its type and meaning; nothing for what has none."""
    required = schema.get("required", ())
    rows = [
        tag("div", _term(name, it, is_required=name in required), _meaning(it))
        for name, it in schema.get("properties", {}).items()
    ]
    return tag("dl", rows, class_="members") if rows else Html()


def shape_id(name: str) -> str:
    """Where the shape of this name stands on the page."""
    return f"shape-{name}"


def term(name: str, *about: Part) -> Html:
    """The name of something with what is to be said of it in a word."""
    return tag("dt", tag("code", name), " ", tag("span", *about, class_="quiet"))


def _term(name: str, schema: Json, *, is_required: bool) -> Html:
    return term(name, type_of(schema), ", required" if is_required else None)


def _meaning(schema: Json) -> Html:
    return tag("dd", words(schema.get("description", "")), members(schema), members(schema.get("items", {})))


def _plain(schema: Json) -> Iterator[Part]:
    kinds = schema.get("type", "anything")
    yield " or ".join(_WORDS.get(it, it) for it in ([kinds] if isinstance(kinds, str) else kinds))
    if "items" in schema:
        yield from (" of ", type_of(schema["items"]))
    if isinstance(each := schema.get("additionalProperties"), dict):
        yield from (" of ", type_of(each))
    if "format" in schema:
        yield f" ({schema['format']})"
    yield from _bounds(schema)


def _bounds(schema: Json) -> Iterator[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        yield f", {least} to {most}"
    elif least is not None:
        yield f", at least {least}"
    if schema.get("default") not in (None, [], {}):
        yield f", else {schema['default']}"


def _between(joint: str, parts: list[Html]) -> Iterator[Part]:
    for place, part in enumerate(parts):
        if place:
            yield joint
        yield part
