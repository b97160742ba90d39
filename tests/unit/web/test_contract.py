"""The contract tells every address as it is declared: what it takes, answers, refuses, and what can be done next."""

from pathlib import Path
from typing import Any, NotRequired

import openapi_spec_validator
import pytest
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.principal import Principal
from monitor.app import Parts, described_of, open_parts
from monitor.errors import ExecutionNotFound
from monitor.settings import Settings
from monitor.web.contract import Described, described, openapi, operation_name
from monitor.web.documents import Document
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, FILTERS, MIN_POSITION, Limit


class Wish(Document):
    name: str | None = Field(None, max_length=10)
    kind: str


class Thing(TypedDict):
    """A thing."""

    id: str
    executionId: str
    size: NotRequired[int]
    """In metres."""


async def handler(_: Request, __: Principal) -> Response:
    """A thing is made. It is.

    Like
    its wish.
    """
    return Response()


MADE = Operation(
    "POST",
    "/v1/things",
    handler,
    "executions:write",
    query=(Limit(5, 10), CURSOR, FILTERS, MIN_POSITION),
    body=Wish,
    answers=(Answer(Thing, 201, headers=("location",)),),
)
SHOWN = Operation("GET", "/v1/things/{id}", handler, "executions:read", answers=(Answer(Thing),))
TURNED = Operation("POST", "/v1/things/{id}/turn", handler, "executions:read", answers=(Answer(Thing),))
EXECUTION = Operation(
    "GET", "/v1/executions/{id}", handler, "executions:read", answers=(Answer(Thing),), errors=(ExecutionNotFound,)
)


@pytest.fixture
def document() -> dict[str, Any]:
    """Of a few operations."""
    return openapi([described(it) for it in (MADE, SHOWN, TURNED, EXECUTION)])


def test_a_small_contract_is_valid(document: dict[str, Any]) -> None:
    """By the judgement of others."""
    openapi_spec_validator.validate(document)


def test_an_operation_is_told_by_its_declaration(document: dict[str, Any]) -> None:
    """Name, words, scope and parameters."""
    made = document["paths"]["/v1/things"]["post"]
    assert made["operationId"] == "createThing"
    assert (made["summary"], made["description"]) == ("A thing is made", "A thing is made. It is.\n\nLike its wish.")
    needed = ["executions:write"]
    assert made["security"] == [{"bearer": needed}, {"session": needed, "csrf": needed}]
    by_name = {it["name"]: it for it in made["parameters"]}
    assert by_name["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 10, "default": 5}
    assert by_name["filter"]["style"] == "deepObject"
    assert set(by_name["filter"]["schema"]["properties"]) >= {"status", "workflowId", "dateRange"}
    assert "filter[duration][gte]" in by_name
    assert "filter[status][gte]" not in by_name


def test_null_stands_for_what_has_a_default(document: dict[str, Any]) -> None:
    """As `Document` takes it; what is required is never null."""
    wish = document["components"]["schemas"]["Wish"]
    assert wish["properties"]["name"] == {"anyOf": [{"type": "string", "maxLength": 10}, {"type": "null"}]}
    assert wish["properties"]["kind"] == {"type": "string"}
    assert (wish["required"], wish["additionalProperties"]) == (["kind"], False)


def test_an_answer_tells_its_members_and_headers(document: dict[str, Any]) -> None:
    """In the words that stand beside them."""
    answer = document["paths"]["/v1/things"]["post"]["responses"]["201"]
    assert answer["description"] == "A thing."
    assert set(answer["headers"]) >= {"location", "monitor-position", "ratelimit-remaining"}
    thing = document["components"]["schemas"]["Thing"]
    assert thing["properties"]["size"] == {"type": "integer", "description": "In metres."}


def test_every_refusal_is_told_with_its_codes(document: dict[str, Any]) -> None:
    """Those that are declared, and those that come with parameters, bodies and credentials."""

    def codes(path: str, method: str) -> dict[str, list[str]]:
        responses = document["paths"][path][method]["responses"]
        told = {it: responses[it]["content"]["application/json"]["schema"] for it in responses if int(it) >= 400}
        return {it: told[it]["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"] for it in told}

    made = codes("/v1/things", "post")
    assert made["400"] == ["INVALID_CURSOR", "INVALID_POSITION", "INVALID_REQUEST", "TOKEN_IN_URL"]
    assert made["422"] == ["INVALID_FILTER"]
    assert made["413"] == ["PAYLOAD_TOO_LARGE"]
    assert made["503"] == ["POSITION_NOT_REACHED", "STORE_UNAVAILABLE", "UNAVAILABLE"]
    shown = codes("/v1/executions/{id}", "get")
    assert shown["404"] == ["EXECUTION_NOT_FOUND"]
    assert "413" not in shown


def test_ids_lead_on(document: dict[str, Any]) -> None:
    """To what is below them, and where a member names something else, to that."""
    links = document["paths"]["/v1/things"]["post"]["responses"]["201"]["links"]
    assert links == {
        "getThing": {"operationId": "getThing", "parameters": {"id": "$response.body#/id"}},
        "turnThing": {"operationId": "turnThing", "parameters": {"id": "$response.body#/id"}},
        "getExecution": {"operationId": "getExecution", "parameters": {"id": "$response.body#/executionId"}},
    }


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/executions/{id}", "getExecution"),
        ("POST", "/v1/webhooks", "createWebhook"),
        ("DELETE", "/v1/webhooks/{id}", "deleteWebhook"),
        ("POST", "/v1/executions/{id}/cancel", "cancelExecution"),
        ("POST", "/v1/webhooks/{id}/secret/rotate", "rotateWebhookSecret"),
        ("GET", "/v1/executions/{id}/nodes/{nodeId}/data", "getExecutionNodeData"),
        ("POST", "/v1/webhook-deliveries/{id}/retry", "retryWebhookDelivery"),
        ("GET", "/v1/executions/statistics", "getExecutionsStatistics"),
        ("GET", "/readyz", "getReadyz"),
        ("GET", "/openapi.json", "getOpenapiJson"),
    ],
)
def test_operations_are_named_after_what_they_do(method: str, path: str, name: str) -> None:
    """So that generated clients read well."""
    assert operation_name(method, path) == name


@pytest.fixture
async def table(tmp_path: Path) -> list[Described]:
    """Of the whole service."""

    def of(parts: Parts) -> list[Described]:
        return described_of(parts)

    async with open_parts(Settings(data=tmp_path / "data")) as parts:
        return of(parts)


async def test_the_whole_contract_is_valid(table: list[Described]) -> None:
    """And every link leads to an operation that is there, every name stands once."""
    document = openapi(table)
    openapi_spec_validator.validate(document)
    operations = [it for methods in document["paths"].values() for it in methods.values()]
    names = [it["operationId"] for it in operations]
    assert len(set(names)) == len(names)
    links = [link for it in operations for answer in it["responses"].values() for link in answer.get("links", {})]
    assert set(links) <= set(names)
    assert {"listWebhookDeliveries", "getWebhookReplay", "cancelWebhookReplay", "getExecution"} <= set(links)


async def test_every_operation_says_what_it_does_and_answers(table: list[Described]) -> None:
    """Nobody adds one without telling what it is."""
    assert [it.id for it in table if not it.doc] == []
    silent = {
        it.id
        for it in table
        for answer in it.answers
        if answer.document is None and answer.media_types == ("application/json",) and answer.status < 204
    }
    assert silent == set()
    takers = [it.id for it in table if it.method in ("PUT", "PATCH") and not it.bodies]
    assert takers == []
