"""Whatever is sent to webhooks' addresses is taken as it is documented, or refused with the member at fault."""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest

from monitor.api.webhook_documents import RotateDocument, WebhookDocument
from monitor.web.documents import MAX_BODY_BYTES
from tests.support.house import JSON, open_house
from tests.support.webhook_house import WISH, client_of, register

DAY_S = 86_400


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service."""
    async with client_of(await open_house()) as opened:
        yield opened


@pytest.fixture
async def registered(client: httpx.AsyncClient) -> dict[str, Any]:
    """A webhook, as it is shown."""
    shown = await register(client)
    del shown["secret"]
    return shown


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name", "'name' takes printable text"),
    ({"name": " "}, "name", "'name' takes printable text"),
    ({"name": "a\0b"}, "name", "'name' takes printable text"),
    ({"name": "a\u202eb"}, "name", "'name' takes printable text"),
    ({"name": "n" * 101}, "name", "'name': String should have at most 100 characters"),
    ({"name": 7}, "name", "'name': Input should be a valid string"),
    ({"url": "https://example.com/\0"}, "url", "'url' holds characters that a URL must encode"),
    ({"url": "https://example.com/" + "p" * 2048}, "url", "'url' is longer than 2048 characters"),
    ({"url": ["https://example.com/"]}, "url", "'url': Input should be a valid string"),
    ({"events": ["*"] * 101}, "events", "'events': List should have at most 100 items"),
    ({"events": {"0": "*"}}, "events", "'events': Input should be a valid array"),
    ({"events": [["*"]]}, "events.0", "'events.0': Input should be a valid string"),
    ({"filters": "status"}, "filters", "'filters': Input should be an object"),
    ({"filters": {"status": {"eq": {}}}}, "filter[status]", "'status' takes text"),
    ({"filters": {"workflowId": "a\0b"}}, "filter[workflowId]", "'workflowId' takes text"),
    ({"filters": {"workflowId": ["w"] * 101}}, "filter[workflowId]", "'workflowId' takes 1 to 100 values"),
    ({"headers": ["X-Key"]}, "headers", "'headers': Input should be an object"),
    ({"headers": {"X-Key": 7}}, "headers.X-Key", "'headers.X-Key': Input should be a valid string"),
    ({"headers": {"Host": "x"}}, "headers.Host", "'headers.Host' cannot be chosen"),
    ({"headers": {f"X-{number}": "v" for number in range(21)}}, "headers", "'headers' holds 21; at most 20 are taken"),
    ({"payload": "Full"}, "payload", "'payload': Input should be 'full' or 'thin'"),
    ({"ordering": True}, "ordering", "'ordering': Input should be 'none', 'execution' or 'strict'"),
    ({"onExhausted": "stop"}, "onExhausted", "'onExhausted': Input should be 'skip' or 'halt'"),
    ({"maxInFlight": 0}, "maxInFlight", "'maxInFlight': Input should be greater than or equal to 1"),
    ({"maxInFlight": 33}, "maxInFlight", "'maxInFlight': Input should be less than or equal to 32"),
    ({"maxInFlight": 8.5}, "maxInFlight", "'maxInFlight': Input should be a valid integer"),
    ({"maxInFlight": True}, "maxInFlight", "'maxInFlight': Input should be a valid integer"),
    ({"maxInFlight": "8"}, "maxInFlight", "'maxInFlight': Input should be a valid integer"),
    ({"rateLimit": 5}, "rateLimit", "'rateLimit': Input should be an object"),
    ({"rateLimit": {}}, "rateLimit.perSecond", "'rateLimit.perSecond': Field required"),
    ({"rateLimit": {"perSecond": 0}}, "rateLimit.perSecond", "'rateLimit.perSecond': Input should be greater than"),
    ({"rateLimit": {"perSecond": None}}, "rateLimit.perSecond", "'rateLimit.perSecond': Input should be a valid num"),
    ({"rateLimit": {"perSecond": 1, "burst": 0}}, "rateLimit.burst", "'rateLimit.burst': Input should be greater"),
    (
        {"rateLimit": {"perSeconds": 1}},
        "rateLimit.perSeconds",
        "unknown member 'perSeconds'; did you mean 'perSecond'?",
    ),
    ({"retrySchedule": []}, "retrySchedule", "'retrySchedule': List should have at least 1 item"),
    ({"retrySchedule": [1] * 21}, "retrySchedule", "'retrySchedule': List should have at most 20 items"),
    ({"retrySchedule": [60, 0]}, "retrySchedule.1", "'retrySchedule.1': Input should be greater than or equal to 1"),
    ({"retrySchedule": [DAY_S + 1]}, "retrySchedule.0", "'retrySchedule.0': Input should be less than or equal to"),
    ({"retrySchedule": [DAY_S] * 4 + [1]}, "retrySchedule", "'retrySchedule' adds up to 345601 seconds"),
    ({"retrySchedule": [1.5]}, "retrySchedule.0", "'retrySchedule.0': Input should be a valid integer"),
    ({"timeoutSeconds": 0.9}, "timeoutSeconds", "'timeoutSeconds': Input should be greater than or equal to 1"),
    ({"timeoutSeconds": 31}, "timeoutSeconds", "'timeoutSeconds': Input should be less than or equal to 30"),
    ({"giveUpOn": [200]}, "giveUpOn.0", "'giveUpOn.0': Input should be greater than or equal to 300"),
    ({"giveUpOn": [600]}, "giveUpOn.0", "'giveUpOn.0': Input should be less than or equal to 599"),
    ({"giveUpOn": 404}, "giveUpOn", "'giveUpOn': Input should be a valid array"),
    ({"obeyReceiver": "yes"}, "obeyReceiver", "'obeyReceiver': Input should be a valid boolean"),
    ({"disabled": 1}, "disabled", "'disabled': Input should be a valid boolean"),
    ({"maxInflight": 8}, "maxInflight", "unknown member 'maxInflight'; did you mean 'maxInFlight'?"),
    ({"max_in_flight": 8}, "max_in_flight", "unknown member 'max_in_flight'; did you mean 'maxInFlight'?"),
    ({"retries": [1]}, "retries", "unknown member 'retries'; known are disabled, events"),
    ({"id": "wh_mine"}, "id", "unknown member 'id'; known are disabled, events"),
    ({"": 1}, "", "unknown member ''"),
    ({"x" * 60_000: 1}, "x" * 60_000, f"unknown member '{'x' * 40}'; known are disabled"),
]


@pytest.mark.parametrize(("changes", "field", "said"), WRONG, ids=lambda it: str(it)[:40])
async def test_wrong_member_is_named_whether_new_or_changed(
    client: httpx.AsyncClient, registered: dict[str, Any], changes: dict[str, Any], field: str, said: str
) -> None:
    """The same sentence for a registration, a dry run and a change; nothing is registered, nothing changes."""
    path = f"/v1/webhooks/{registered['id']}"
    answers = [
        await client.post("/v1/webhooks", json=WISH | changes),
        await client.post("/v1/webhooks?dryRun=true", json=WISH | changes),
        await client.patch(path, json=changes),
    ]
    for answer in answers:
        error = answer.json()["error"]
        code = "INVALID_FILTER" if field.startswith("filter[") else "INVALID_WEBHOOK"
        assert (answer.status_code, error["code"], error["field"]) == (422, code, field)
        assert error["message"].startswith(said)
    assert (await client.get("/v1/webhooks")).json()["data"] == [registered]


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"url": None}, "url", "'url' must start with https://"),
        ({"url": ""}, "url", "'url' must start with https://"),
        ({"events": None}, "events", "'events' names what to send: one or more of"),
        ({"events": []}, "events", "'events' names what to send: one or more of"),
        ({"secret": "whsec_x"}, "secret", "unknown member 'secret'; POST /v1/webhooks/{id}/secret/rotate replaces it"),
        ({"status": "paused"}, "status", "unknown member 'status'; POST /v1/webhooks/{id}/pause and /resume change it"),
    ],
)
async def test_what_a_change_cannot_do_says_what_can(
    client: httpx.AsyncClient, registered: dict[str, Any], changes: dict[str, Any], field: str, said: str
) -> None:
    """URL and events have no default to return to; the rest has an address of its own."""
    answer = await client.patch(f"/v1/webhooks/{registered['id']}", json=changes)
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, field)
    assert error["message"].startswith(said)


class Broken(NamedTuple):
    """A body that is none, and how it is refused."""

    content: bytes
    headers: dict[str, str]
    status: int
    code: str


BROKEN = [
    Broken(b"{", JSON, 400, "INVALID_REQUEST"),
    Broken(b"", JSON, 400, "INVALID_REQUEST"),
    Broken(b"{}}", JSON, 400, "INVALID_REQUEST"),
    Broken(b"\xff\xfe{}", JSON, 400, "INVALID_REQUEST"),
    Broken(b'{"name": "\xff"}', JSON, 400, "INVALID_REQUEST"),
    Broken(b'{"name": "\\ud800"}', JSON, 400, "INVALID_REQUEST"),
    Broken(b'{"name": "a\0b"}', JSON, 400, "INVALID_REQUEST"),
    Broken(b'{"maxInFlight": ' + b"9" * 5000 + b"}", JSON, 400, "INVALID_REQUEST"),
    Broken(b"[" * 60_000, JSON, 400, "INVALID_REQUEST"),
    Broken(b'{"filters":' * 5_000, JSON, 400, "INVALID_REQUEST"),
    Broken(b'{"filters":' + b'{"a":' * 150 + b"1" + b"}" * 151, JSON, 422, "INVALID_FILTER"),
    Broken(b'{"filters":{"duration":NaN}}', JSON, 422, "INVALID_FILTER"),
    Broken(b'{"filters":{"duration":{"gte":1e400}}}', JSON, 422, "INVALID_FILTER"),
    Broken(b'{"timeoutSeconds": NaN}', JSON, 422, "INVALID_WEBHOOK"),
    Broken(b'{"rateLimit": {"perSecond": Infinity}}', JSON, 422, "INVALID_WEBHOOK"),
    Broken(b"[]", JSON, 422, "INVALID_WEBHOOK"),
    Broken(b"null", JSON, 422, "INVALID_WEBHOOK"),
    Broken(b"7", JSON, 422, "INVALID_WEBHOOK"),
    Broken(b'"{}"', JSON, 422, "INVALID_WEBHOOK"),
    Broken(b"{}", {"content-type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    Broken(b"name=x", {"content-type": "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    Broken(b"{}", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    Broken(b" " * (MAX_BODY_BYTES + 1), JSON, 413, "PAYLOAD_TOO_LARGE"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda it: repr(it.content)[:30])
async def test_what_is_no_change_is_refused(
    client: httpx.AsyncClient, registered: dict[str, Any], broken: Broken
) -> None:
    """Through the envelope that every error has; the webhook stays as it is."""
    path = f"/v1/webhooks/{registered['id']}"
    answer = await client.patch(path, content=broken.content, headers=broken.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (broken.status, broken.code)
    assert (await client.get(path)).json() == registered


@pytest.mark.parametrize("below", ["resume", "secret/rotate"])
@pytest.mark.parametrize("broken", BROKEN, ids=lambda it: repr(it.content)[:30])
async def test_optional_body_is_read_as_strictly(
    client: httpx.AsyncClient, registered: dict[str, Any], below: str, broken: Broken
) -> None:
    """No body is fine; one that is there must be one that was meant."""
    path = f"/v1/webhooks/{registered['id']}/{below}"
    answer = await client.post(path, content=broken.content, headers=broken.headers)
    if broken.content:
        # These addresses know no filters.
        code = broken.code.replace("INVALID_FILTER", "INVALID_WEBHOOK")
        assert (answer.status_code, answer.json()["error"]["code"]) == (broken.status, code)
    else:
        assert answer.status_code == 200


def test_nothing_prints_what_is_secret() -> None:
    """Neither a secret nor a header's value, however a request gets into a log."""
    webhook = WebhookDocument(url="https://example.com/", secret="whsec_s3cret", headers={"X-Key": "s3cret"})
    printed = [repr(webhook), repr(RotateDocument(secret="whsec_s3cret"))]
    assert [it for it in printed if "s3cret" in it] == []


async def test_largest_body_is_taken(client: httpx.AsyncClient) -> None:
    """To the byte."""
    body = json.dumps(WISH).encode()
    answer = await client.post("/v1/webhooks", content=body.ljust(MAX_BODY_BYTES), headers=JSON)
    assert answer.status_code == 201


@pytest.mark.parametrize("path", ["pause", "resume", "secret", "secret/rotate", "secret/revoke", ""])
async def test_unknown_parameter_is_refused(client: httpx.AsyncClient, registered: dict[str, Any], path: str) -> None:
    """Nothing is ignored, at any address."""
    method = "GET" if path in ("", "secret") else "POST"
    answer = await client.request(method, f"/v1/webhooks/{registered['id']}/{path}?force=1".replace("/?", "?"))
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "force")
