"""The filter grammar of `projections.filter` as the contract shows it."""

from collections.abc import Iterator
from typing import Any, Final

from monitor.projections.filter import FIELDS, MAX_VALUES, RANGES, operators
from monitor.projections.status import STATUSES

_SEVERAL: Final = f"Up to {MAX_VALUES} values, separated by commas, mean any of them."

_DATE_WORDS: Final = {
    "dateRange": {"type": "string", "enum": [*RANGES, "custom"], "description": "How far back it started."},
    "startDate": {"type": "string", "format": "moment", "description": "With dateRange=custom: at this time or later."},
    "endDate": {
        "type": "string",
        "format": "moment",
        "description": "With dateRange=custom: up to this time; a bare date means its whole day.",
    },
}


def filter_parameters() -> Iterator[dict[str, Any]]:
    """`filter` with a member for each field that is asked for equality; a parameter for each other operator."""
    yield {
        "name": "filter",
        "in": "query",
        "description": f"Tests that all hold: filter[status]=failed,timeout. {_SEVERAL}",
        "style": "deepObject",
        "explode": True,
        "schema": {
            "type": "object",
            "properties": {**{field: _value(field, "eq") for field in FIELDS}, **_DATE_WORDS},
            "additionalProperties": False,
        },
    }
    for field in FIELDS:
        for operator in operators(field):
            if operator != "eq":
                yield {
                    "name": f"filter[{field}][{operator}]",
                    "in": "query",
                    "description": f"{field} {_MEANINGS[operator]}.",
                    "schema": _value(field, operator),
                }


def filter_object() -> dict[str, Any]:
    """The filter of subscriptions and webhooks: a member for each field."""
    return {
        "type": "object",
        "description": "Tests that all hold: a value, several of which one is enough, or an object of operators.",
        "properties": {field: _tests(field) for field in FIELDS},
        "additionalProperties": False,
    }


def dated_filter_object() -> dict[str, Any]:
    """The same with the words for time that lists know."""
    shown = filter_object()
    return {**shown, "properties": {**shown["properties"], **_DATE_WORDS}}


def _tests(field: str) -> dict[str, Any]:
    one = _IN_JSON[FIELDS[field].kind]
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_VALUES}
    operations = {operator: [one, several] if operator in ("eq", "ne") else [one] for operator in operators(field)}
    asked = {
        "type": "object",
        "properties": {operator: {"anyOf": forms} for operator, forms in operations.items()},
        "minProperties": 1,
        "additionalProperties": False,
    }
    return {"anyOf": [one, several, asked]}


_MEANINGS: Final = {
    "ne": "is none of these",
    "gt": "is greater",
    "gte": "is as great or greater",
    "lt": "is less",
    "lte": "is as little or less",
}


def _value(field: str, operator: str) -> dict[str, Any]:
    one = _ONE[FIELDS[field].kind]
    return {**one, "description": _SEVERAL} if operator in ("eq", "ne") else one


_WORD: Final = f"({'|'.join(STATUSES)})"

_ONE: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "string", "minLength": 1, "format": "words"},
    "tags": {"type": "string", "minLength": 1, "format": "words"},
    "status": {"type": "string", "pattern": f"^{_WORD}(,{_WORD})*$"},
    "time": {"type": "string", "format": "moment"},
    "seconds": {"type": "number", "minimum": 0, "exclusiveMaximum": 10_000_000_000},
}

_IN_JSON: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "string", "minLength": 1, "format": "printable"},
    "tags": {"type": "string", "minLength": 1, "format": "printable"},
    "status": {"type": "string", "enum": list(STATUSES)},
    "time": {"type": "string", "format": "moment"},
    "seconds": {"type": "number", "minimum": 0, "exclusiveMaximum": 10_000_000_000},
}
