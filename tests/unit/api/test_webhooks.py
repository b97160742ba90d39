"""Webhooks are registered with a secret that is shown once, listed, shown and removed, by their own team alone."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.store import MemoryStore, open_sqlite_store
from monitor.web.documents import MAX_BODY_BYTES
from monitor.webhooks.endpoint import EVENT_CHOICES, HEADERS_PURPOSE, SECRET_PURPOSE
from monitor.webhooks.headers import unpack
from monitor.webhooks.signing import secret_of
from tests.support.house import JSON, SEALER, House, open_house
from tests.support.receiver import LOOPBACK, Receiver, receiving
from tests.support.webhook_house import WISH, client_of, delivering, failed, register

DEFAULTS: dict[str, Any] = {
    "name": None,
    "headers": {},
    "payload": "full",
    "ordering": "none",
    "onExhausted": "skip",
    "maxInFlight": 8,
    "rateLimit": None,
    "retrySchedule": None,
    "timeoutSeconds": 15,
    "giveUpOn": [],
    "obeyReceiver": True,
    "status": "active",
    "reason": None,
}
"""What a webhook is like that asks for nothing else."""

CHOICES: dict[str, Any] = {
    "name": "Überwachung \u2013 Nachtdienst",
    "headers": {"Authorization": "Bearer s3cret-of-the-gateway", "X-Team": "ops"},
    "payload": "thin",
    "ordering": "execution",
    "onExhausted": "halt",
    "maxInFlight": 32,
    "rateLimit": {"perSecond": 2.5, "burst": 10},
    "retrySchedule": [1, 60, 86400],
    "timeoutSeconds": 29.5,
    "giveUpOn": [404, 422],
    "obeyReceiver": False,
}
"""What it may ask for."""

MASKED: dict[str, Any] = CHOICES | {"headers": {"Authorization": "***", "X-Team": "***"}}
"""How that is shown."""


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
    assert {name: registered[name] for name in WISH | DEFAULTS} == WISH | DEFAULTS
    assert set(registered) - set(WISH | DEFAULTS) == {"id", "createdAt", "updatedAt", "secret"}
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


async def test_every_choice_is_kept_and_shown(client: httpx.AsyncClient) -> None:
    """At once, in the list and alone; what the headers hold is never shown."""
    registered = await register(client, **CHOICES)
    secret = registered.pop("secret")
    assert registered == registered | WISH | MASKED
    answers = [await client.get("/v1/webhooks"), await client.get(f"/v1/webhooks/{registered['id']}")]
    assert answers[0].json()["data"] == [registered]
    assert answers[1].json() == registered
    assert [answer.text for answer in answers if "s3cret" in answer.text or secret in answer.text] == []


async def test_null_stands_for_the_default(client: httpx.AsyncClient) -> None:
    """A webhook as it is shown can be registered again."""
    registered = await register(client, **dict.fromkeys(CHOICES), disabled=None)
    assert registered == registered | WISH | DEFAULTS


async def test_headers_rest_sealed(client: httpx.AsyncClient, house: House) -> None:
    """Names can be seen in the store, values cannot."""
    await register(client, headers=CHOICES["headers"])
    (endpoint,) = await house.store.read(lambda reader: reader.endpoints(None))
    assert endpoint.header_names == ("Authorization", "X-Team")
    assert endpoint.sealed_headers is not None
    assert b"s3cret" not in endpoint.sealed_headers
    assert unpack(SEALER.open(HEADERS_PURPOSE, endpoint.sealed_headers)) == CHOICES["headers"]


async def test_own_secret_is_taken(client: httpx.AsyncClient) -> None:
    """It signs from the start, and the answer repeats it, this once."""
    own = secret_of(bytes(range(24)))
    assert (await register(client, secret=own))["secret"] == own


async def test_rate_limit_without_a_burst_allows_a_second(client: httpx.AsyncClient) -> None:
    """At least one."""
    rates = [(await register(client, rateLimit={"perSecond": it}))["rateLimit"] for it in (0.5, 2.5)]
    assert rates == [{"perSecond": 0.5, "burst": 1}, {"perSecond": 2.5, "burst": 3}]


async def test_disabled_webhook_waits_for_somebody(client: httpx.AsyncClient) -> None:
    """It is registered with all its settings, and sent nothing."""
    registered = await register(client, disabled=True)
    assert (registered["status"], registered["reason"]) == ("disabled", "asked")


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


async def test_removed_webhook_is_gone(house: House, client: httpx.AsyncClient) -> None:
    """The answer says how much of what was owed to it is cancelled; from then on it is 404."""
    id_ = (await register(client))["id"]
    await house.tell(failed("exec_1"), failed("exec_2"))
    path = f"/v1/webhooks/{id_}"
    answers = [await client.delete(path), await client.delete(path), await client.get(path)]
    assert [answer.status_code for answer in answers] == [200, 404, 404]
    assert answers[0].json() == {"id": id_, "cancelledDeliveries": 2}
    assert answers[1].json()["error"]["code"] == "WEBHOOK_NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "below", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "mine"}),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("POST", "/resume", {"held": "none"}),
        ("GET", "/secret", None),
        ("POST", "/secret/rotate", {"overlapSeconds": 0}),
        ("POST", "/secret/revoke", None),
    ],
)
async def test_case_54_webhook_of_another_team_is_not_found(
    house: House, client: httpx.AsyncClient, method: str, below: str, body: Any
) -> None:
    """Case 54: neither shown nor touched, and not told apart from one that is none."""
    id_ = (await register(client))["id"]
    before = await house.store.read(lambda reader: reader.endpoint("acme", id_))
    async with client_of(house, "rival") as rival:
        answers = [await rival.request(method, f"/v1/webhooks/{named}{below}", json=body) for named in (id_, "wh_none")]
        listed = (await rival.get("/v1/webhooks")).json()
    assert [answer.status_code for answer in answers] == [404, 404]
    said = [answer.json()["error"] for answer in answers]
    assert said[0]["message"].replace(id_, "wh_none") == said[1]["message"]
    assert (listed["data"], listed["pagination"]["total"]) == ([], 0)
    assert await house.store.read(lambda reader: reader.endpoint("acme", id_)) == before


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
