"""Topics, streams and webhooks are described by a document that the official parser takes, and that says the truth."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from monitor.app import spoken
from monitor.web.async_contract import asyncapi
from tests.support.asyncapi_parser import complaints
from tests.support.debian import Unavailable


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The contract."""
    return asyncapi(spoken())


def judged(*documents: dict[str, Any]) -> list[list[str]]:
    """What the parser holds against each."""
    try:
        return [[f"{it.code} at {it.path}: {it.message}" for it in of_one] for of_one in complaints(documents)]
    except Unavailable as error:
        pytest.skip(str(error))


def test_the_official_parser_has_nothing_against_it(document: dict[str, Any]) -> None:
    """Neither errors nor warnings."""
    assert judged(document) == [[]]


def _without_channel(document: dict[str, Any]) -> None:
    del document["channels"]["events"]


def _with_odd_action(document: dict[str, Any]) -> None:
    document["operations"]["takeEvents"]["action"] = "publish"


def _with_foreign_message(document: dict[str, Any]) -> None:
    document["operations"]["takeEvents"]["messages"][0] = {"$ref": "#/channels/commands/messages/command.retry"}


def _with_odd_schema(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["EventFrame"]["type"] = "record"


def _with_undeclared_parameter(document: dict[str, Any]) -> None:
    document["channels"]["executionStream"]["parameters"] = {}


_BREAKERS: tuple[Callable[[dict[str, Any]], None], ...] = (
    _without_channel,
    _with_odd_action,
    _with_foreign_message,
    _with_odd_schema,
    _with_undeclared_parameter,
)


def test_the_parser_refuses_a_broken_one(document: dict[str, Any]) -> None:
    """So its silence says something."""
    broken = [copy.deepcopy(document) for _ in _BREAKERS]
    for breaker, other in zip(_BREAKERS, broken, strict=True):
        breaker(other)
    refused = [bool(of_one) for of_one in judged(*broken)]
    assert refused == [True] * len(_BREAKERS)
