"""Webhooks are registered with a secret that is shown once, listed, shown and removed, by their own team alone."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.api.webhooks import MAX_BODY_BYTES
from monitor.store import MemoryStore, open_sqlite_store
from monitor.webhooks.endpoint import EVENT_CHOICES, SECRET_PURPOSE
from tests.support.house import JSON, SEALER, House, open_house
from tests.support.receiver import LOOPBACK, Receiver, receiving
from tests.support.webhook_house import WISH, client_of, delivering, failed, register


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store)
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the first team."""
    async with client_of(house) as opened:
        yield opened


# --- registering -----------------------------------------------------------------------------------------------------


async def test_documented_request_registers_a_webhook(client: httpx.AsyncClient) -> None:
    """The answer repeats what was asked for, and carries the secret."""
    answer = await client.post("/v1/webhooks", json=WISH)
    registered = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{registered['id']}"
    assert {**registered, "id": "", "createdAt": "", "secret": ""} == WISH | {
        "id": "",
        "status": "active",
        "createdAt": "",
        "secret": "",
    }
    assert registered["secret"].startswith("whsec_")
    assert len(base64.b64decode(registered["secret"].removeprefix("whsec_"), validate=True)) == 32


async def test_secret_is_never_shown_again(client: httpx.AsyncClient, house: House) -> None:
    """It is sealed where it rests; no answer and no repr has it."""
    registered = await register(client)
    answers = [await client.get(path) for path in ("/v1/webhooks", f"/v1/webhooks/{registered['id']}")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer for answer in answers if "secret" in answer.text or "whsec" in answer.text] == []
    (endpoint,) = await house.store.read(lambda reader: reader.endpoints(None))
    key = SEALER.open(SECRET_PURPOSE, endpoint.secrets[0].sealed)
    assert base64.b64encode(key).decode() == registered["secret"].removeprefix("whsec_")
    assert key not in endpoint.secrets[0].sealed
    assert repr(endpoint) == f"Endpoint('{registered['id']}', team='acme', status='active')"


async def test_filters_speak_the_grammar_of_lists(client: httpx.AsyncClient) -> None:
    """Several values, operators and seconds, shown again in their shortest spelling."""
    filters = {"status": ["failed", "timeout"], "duration": {"gte": 5.0}, "workflowId": {"eq": "wf_1"}}
    registered = await register(client, filters=filters)
    assert registered["filters"] == filters | {"workflowId": "wf_1"}


async def test_repeated_event_types_count_once(client: httpx.AsyncClient) -> None:
    """An endpoint hears of an event once."""
    assert (await register(client, events=["*", "node.*", "*"]))["events"] == ["*", "node.*"]


@pytest.mark.parametrize(
    ("changes", "code", "field", "said"),
    [
        ({"url": None}, "INVALID_WEBHOOK", "url", "'url': Input should be a valid string"),
        ({"url": "http://your-app.com/"}, "INVALID_WEBHOOK", "url", "'url' must start with https://"),
        ({"url": "https://127.0.0.1/"}, "INVALID_WEBHOOK", "url", "'url' names a host that webhooks must not reach"),
        ({"events": []}, "INVALID_WEBHOOK", "events", "'events' names what to send: one or more of execution.*"),
        ({"events": "execution.failed"}, "INVALID_WEBHOOK", "events", "'events': Input should be a valid array"),
        ({"events": ["*", 7]}, "INVALID_WEBHOOK", "events.1", "'events.1': Input should be a valid string"),
        ({"events": ["*", "execution.finished"]}, "INVALID_WEBHOOK", "events.1", "'events' does not know"),
        ({"events": ["stream.gap"]}, "INVALID_WEBHOOK", "events.0", "'events' does not know 'stream.gap'"),
        ({"filters": []}, "INVALID_WEBHOOK", "filters", "'filters': Input should be an object"),
        ({"filters": {"workflow": "x"}}, "INVALID_FILTER", "filter[workflow]", "unknown filter field 'workflow'"),
        ({"filters": {"status": "done"}}, "INVALID_FILTER", "filter[status]", "'status' does not know 'done'"),
        ({"filter": {}}, "INVALID_WEBHOOK", "filter", "unknown member 'filter'; did you mean 'filters'?"),
        ({"secret": "whsec_x"}, "INVALID_WEBHOOK", "secret", "unknown member 'secret'"),
    ],
)
async def test_wrong_member_is_named(
    client: httpx.AsyncClient, changes: dict[str, Any], code: str, field: str, said: str
) -> None:
    """422 with the member and the reason; nothing is registered."""
    answer = await client.post("/v1/webhooks", json=WISH | changes)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, code, field)
    assert error["message"].startswith(said)
    assert (await client.get("/v1/webhooks")).json()["pagination"]["total"] == 0


async def test_missing_events_name_the_choices(client: httpx.AsyncClient) -> None:
    """Nobody is sent everything by leaving a member out."""
    answer = await client.post("/v1/webhooks", json={"url": WISH["url"]})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, "events")
    assert [choice for choice in EVENT_CHOICES if choice not in error["message"]] == []


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "INVALID_REQUEST"),
        (b"", JSON, 400, "INVALID_REQUEST"),
        (b"\xff\xfe", JSON, 400, "INVALID_REQUEST"),
        (b"[]", JSON, 422, "INVALID_WEBHOOK"),
        (b"null", JSON, 422, "INVALID_WEBHOOK"),
        (b"{}", {"content-type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"{}", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b" " * (MAX_BODY_BYTES + 1), JSON, 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_what_is_no_request_is_refused(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Through the envelope that every error has."""
    answer = await client.post("/v1/webhooks", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


# --- listing, showing, removing --------------------------------------------------------------------------------------


async def test_list_is_paged_in_order_of_registration(client: httpx.AsyncClient) -> None:
    """Each page tells where the next one starts, and how many there are in all."""
    registered = [(await register(client))["id"] for _ in range(5)]
    pages, more = [], ""
    for _ in range(3):
        pages.append((await client.get(f"/v1/webhooks?limit=2{more}")).json())
        more = f"&cursor={pages[-1]['pagination']['nextCursor']}"
    assert [[row["id"] for row in page["data"]] for page in pages] == [registered[:2], registered[2:4], registered[4:]]
    assert [page["pagination"]["hasMore"] for page in pages] == [True, True, False]
    assert pages[-1]["pagination"] == {"limit": 2, "hasMore": False, "nextCursor": None, "total": 5}


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("limit=0", "INVALID_REQUEST", "limit"),
        ("limit=101", "INVALID_REQUEST", "limit"),
        ("offset=1", "INVALID_REQUEST", "offset"),
        ("cursor=made-up", "INVALID_CURSOR", "cursor"),
    ],
)
async def test_wrong_parameter_of_a_list_is_named(client: httpx.AsyncClient, query: str, code: str, field: str) -> None:
    """Nothing is ignored."""
    answer = await client.get(f"/v1/webhooks?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (400, code, field)


async def test_webhook_is_shown_without_its_secret(client: httpx.AsyncClient) -> None:
    """As it was registered."""
    registered = await register(client)
    del registered["secret"]
    assert (await client.get(f"/v1/webhooks/{registered['id']}")).json() == registered


async def test_removed_webhook_is_gone(client: httpx.AsyncClient) -> None:
    """204 once, 404 from then on."""
    path = f"/v1/webhooks/{(await register(client))['id']}"
    answers = [await client.delete(path), await client.delete(path), await client.get(path)]
    assert [answer.status_code for answer in answers] == [204, 404, 404]
    assert (answers[0].content, answers[1].json()["error"]["code"]) == (b"", "WEBHOOK_NOT_FOUND")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_webhook_of_another_team_is_not_found(house: House, client: httpx.AsyncClient, method: str) -> None:
    """Case 54: neither shown nor removed, and not told apart from one that is none."""
    registered = await register(client)
    async with client_of(house, "rival") as rival:
        answers = [await rival.request(method, f"/v1/webhooks/{id_}") for id_ in (registered["id"], "wh_none")]
        listed = (await rival.get("/v1/webhooks")).json()
    assert [answer.status_code for answer in answers] == [404, 404]
    assert (listed["data"], listed["pagination"]["total"]) == ([], 0)
    assert (await client.get(f"/v1/webhooks/{registered['id']}")).status_code == 200


# --- from the event to the receiver ----------------------------------------------------------------------------------


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


async def test_events_from_registration_on_arrive(house: House, receiver: Receiver) -> None:
    """What was appended before is not sent, not even when it is folded later; what comes after is, once."""
    await house.intake.accept(
        [b'{"type":"execution.started","executionId":"e","timestamp":"2026-11-22T10:30:15Z"}'], team="acme"
    )
    async with client_of(house, allowed=LOOPBACK) as client:
        await register(client, url=receiver.url, events=["*"], filters={})
        await house.tell(failed("exec_1"))
        await house.tell(failed("exec_1"))
        await house.tell(failed("exec_2"), team="rival")
        async with delivering(house) as deliverer:
            await receiver.received(1)
            await house.tell(failed("exec_3"))
            deliverer.wake()
            await receiver.received(2)
    assert [json.loads(request.body)["executionId"] for request in receiver.requests] == ["exec_1", "exec_3"]
