"""Bodies of requests as typed documents, and the sentence for a fault in them.

Null stands for the default wherever there is one. What is not known is refused with the nearest word that is; the
refusal's class, and where else a member is that somebody looks for here, belong to the kind of document.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema
from starlette.requests import Request

from monitor.errors import ClientError, InvalidRequest, UnsupportedMediaType
from monitor.web.bodies import read_body
from monitor.web.params import nearest

MAX_BODY_BYTES: Final = 64 * 1024
"""A hundred filter values of the greatest length, and room to spare."""

_MOST_REPEATED: Final = 40
"""Characters of an unknown name that its refusal repeats."""


class Document(BaseModel):
    """The body of a request."""

    # Built when it is first used: a start needs none of it.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)

    refusal: ClassVar[type[ClientError]] = InvalidRequest
    """What a fault in a member is told as."""

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """The end of the sentence about an unknown member: where it is, for those that somebody looks for here."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema, in which null stands for the default wherever there is one."""
        schema = handler(core)
        resolved = handler.resolve_ref_schema(schema)
        required = resolved.get("required", ())
        resolved["properties"] = {
            name: _without_default(it) if name in required else _or_null(it)
            for name, it in resolved.get("properties", {}).items()
        }
        return schema

    @field_validator("*", mode="before")
    @classmethod
    def _take_null_and_numbers(cls, said: Any, info: ValidationInfo) -> Any:
        """The default for null; and whole numbers for what they are, however their writer spells them (2 and 2.0)."""
        field = cls.model_fields[info.field_name or ""]
        if said is None and not field.is_required():
            return field.get_default(call_default_factory=True)
        if field.annotation is Any:  # a payload, which is passed on as it is
            return said
        return [_whole(item) for item in said] if isinstance(said, list) else _whole(said)


def _whole(said: Any) -> Any:
    return int(said) if isinstance(said, float) and said.is_integer() else said


def _without_default(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {name: value for name, value in schema.items() if name != "default"}


def _or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """A member's schema that also takes null, unless the default that null stands for is one that is refused."""
    least = max(schema.get("minItems", 0), schema.get("minLength", 0))
    if "default" in schema and least and len(schema["default"]) < least:
        return _without_default(schema)
    if not schema.keys() & {"type", "anyOf", "$ref", "enum", "const"} or {"type": "null"} in schema.get("anyOf", ()):
        return schema
    told = {name: value for name, value in schema.items() if name in ("description", "default")}
    inner = {name: value for name, value in schema.items() if name not in told}
    return {**told, "anyOf": [inner, {"type": "null"}]}


class _IsPrintable:
    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_checked_printable, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"minLength": 1, **handler(core), "format": "printable"}


PRINTABLE: Final = _IsPrintable()
"""Marks text for people: it can be printed, and is not only blank."""


def _checked_printable(said: str) -> str:
    if not (said.strip() and said.isprintable()):
        raise ValueError("takes printable text")
    return said


_D = TypeVar("_D", bound=Document)


async def read_document(
    request: Request, kind: type[_D], *, is_optional: bool = False, most_bytes: int = MAX_BODY_BYTES
) -> _D:
    """The body as a `kind`; where it is optional, no body says nothing. Raises a ClientError naming the first fault."""
    body = await read_body(request, most_bytes)
    if is_optional and not body:
        return kind()
    # Also keeps other sites' pages out: a browser sends them this type only after asking.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("send the body as application/json")
    try:
        document = kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error, kind) from None
    # Now that it is known to be JSON of a moderate depth.
    json.loads(body, object_pairs_hook=_refuse_repeats)
    return document


async def read_array(request: Request, kind: type[_D], *, most: int) -> list[_D]:
    """The body as up to `most` documents. Raises a ClientError naming the first fault."""
    body = await read_body(request, MAX_BODY_BYTES)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("send the body as application/json")
    try:
        found = TypeAdapter(list[kind]).validate_json(body)  # type: ignore[valid-type]
    except ValidationError as error:
        raise _refusal(error, kind) from None
    if len(found) > most:
        raise InvalidRequest(f"the body has {len(found)} items; at most {most} are taken")
    return found


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> None:
    """Readers differ in which of two members of one name they take; we take neither."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise InvalidRequest(f"'{twice[:_MOST_REPEATED]}' is there twice", field=twice[:_MOST_REPEATED])


def _refusal(error: ValidationError, kind: type[Document]) -> ClientError:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    # A misspelt member is also missing under its right name; the spelling is what helps.
    fault = next((it for it in faults if it["type"] == "extra_forbidden"), faults[0])
    if fault["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {fault['msg'].removeprefix('Invalid JSON: ')}")
    if not fault["loc"]:
        said = fault["msg"].removeprefix("Value error, ")
        return kind.refusal(said if fault["type"] == "value_error" else "the body is not a JSON object")
    field = ".".join(map(str, fault["loc"]))
    return kind.refusal(_sentence(fault, field, kind), field=field)


def _sentence(fault: ErrorDetails, field: str, kind: type[Document]) -> str:
    if fault["type"] == "extra_forbidden":
        *above, last = map(str, fault["loc"])
        at = _inner(kind, above)
        known = [it.alias or name for name, it in at.model_fields.items()]
        word = last[:_MOST_REPEATED]
        return f"unknown member '{word}'{at.elsewhere.get(last) or nearest(word, known)}"
    said = fault["msg"].removeprefix("Value error, ")
    return f"'{field}' {said}" if fault["type"] == "value_error" else f"'{field}': {said}"


def _inner(kind: type[Document], above: Sequence[str]) -> type[Document]:
    """The document that stands inside `kind` under the names in `above`; places in lists are passed over."""
    for name in above:
        field = next((it for key, it in kind.model_fields.items() if name == (it.alias or key)), None)
        kind = next(_documents_in(field.annotation), kind) if field is not None else kind
    return kind


def _documents_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Document):
        yield annotation
    for part in get_args(annotation):
        yield from _documents_in(part)
