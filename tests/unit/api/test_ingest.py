"""`POST /v1/events` takes every documented form, gives each item its verdict and survives whatever is sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from monitor.access.positions import open_position
from monitor.api.ingest import MAX_BODY_BYTES, MAX_ITEMS
from monitor.events.model import MAX_EVENT_BYTES
from monitor.events.position import Position
from tests.support.house import JSON, SEALER, House, open_house
from tests.support.server import listening

NDJSON = {"content-type": "application/x-ndjson"}
EVENT = {"type": "execution.started", "executionId": "exec_1", "timestamp": "2026-11-22T10:30:00Z"}
CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "ce-1",
    "source": "/engines/7",
    "type": "com.example.execution.started",
    "time": "2026-11-22T10:30:00Z",
    "executionid": "exec_1",
    "data": {"mode": "manual"},
}


@pytest.fixture
async def house() -> House:
    """A service."""
    return await open_house()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with house.client() as opened:
        yield opened


def item(**members: Any) -> str:
    """An event as JSON; None removes a member."""
    return json.dumps({name: value for name, value in {**EVENT, **members}.items() if value is not None})


async def listed(house: House, client: httpx.AsyncClient) -> list[str]:
    """The executions that exist after everything was applied."""
    await house.settle()
    return sorted(row["id"] for row in (await client.get("/v1/executions?limit=100")).json()["data"])


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", item()),
        ("application/json; charset=utf-8", f"\r\n {item()} \n"),
        ("application/json", f"[{item()}]"),
        ("application/x-ndjson", f"{item()}\r\n\n"),
        ("application/ndjson", f"\n{item()}"),
        ("application/cloudevents+json", json.dumps(CLOUD_EVENT)),
        ("Application/CloudEvents-Batch+JSON", json.dumps([CLOUD_EVENT])),
    ],
)
async def test_every_form_brings_its_event(
    house: House, client: httpx.AsyncClient, content_type: str, body: str
) -> None:
    """One event, accepted, visible."""
    answer = await client.post("/v1/events", content=body, headers={"content-type": content_type})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["accepted"], await listed(house, client)) == (1, ["exec_1"])


async def test_a_binary_cloud_event_brings_its_attributes_as_headers(house: House, client: httpx.AsyncClient) -> None:
    """The body is the data, the headers are the event; no other header gets in."""
    attributes = {f"ce-{name}": value for name, value in CLOUD_EVENT.items() if isinstance(value, str)}
    headers = {**JSON, **attributes, "ce-executionid": "exec_%C3%BC", "monitor-team": "rival"}
    answer = await client.post("/v1/events", content=b'{"mode":"manual"}', headers=headers)
    assert answer.json()["results"] == [{"index": 0, "id": "ce-1", "verdict": "accepted"}]
    assert await listed(house, client) == ["exec_ü"]


async def test_the_answer_is_the_documented_one(house: House, client: httpx.AsyncClient) -> None:
    """Counts, a result for every item in order, and the position behind them."""
    body = f"[{item(id='a')},{item(id='a')},{item(executionId=7)},{item(id='b')}]"
    answer = (await client.post("/v1/events", content=body, headers=JSON)).json()
    position = answer.pop("position")
    error = {"code": "invalid_field", "field": "executionId", "message": "Expected `str`, got `int`"}
    assert answer == {
        "accepted": 2,
        "duplicate": 1,
        "rejected": 1,
        "results": [
            {"index": 0, "id": "a", "verdict": "accepted"},
            {"index": 1, "id": "a", "verdict": "duplicate"},
            {"index": 2, "id": None, "verdict": "rejected", "error": error},
            {"index": 3, "id": "b", "verdict": "accepted"},
        ],
    }
    assert open_position(SEALER, position) == Position(house.journal.incarnation, (2,))


async def test_a_repeat_alone_is_a_success(client: httpx.AsyncClient) -> None:
    """Sending again after a lost answer is right, and is told so."""
    first = await client.post("/v1/events", content=item(), headers=JSON)
    again = await client.post("/v1/events", content=item(), headers=JSON)
    assert (again.status_code, again.json()["duplicate"]) == (200, 1)
    assert again.json()["position"] == first.json()["position"]


async def test_garbage_between_lines_harms_no_line(house: House, client: httpx.AsyncClient) -> None:
    """Each line of NDJSON is judged alone, also a cut one at the end."""
    body = "\n".join([item(executionId="a"), "garbage", item(executionId="b") + "]", item(executionId="c"), '{"type":'])
    answer = await client.post("/v1/events", content=body, headers=NDJSON)
    verdicts = [result["verdict"] for result in answer.json()["results"]]
    assert verdicts == ["accepted", "rejected", "rejected", "accepted", "rejected"]
    assert await listed(house, client) == ["a", "c"]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (b"{", "malformed_json", None),
        (b"nonsense", "malformed_json", None),
        (b'{"type":"a","executionId":"\xff\xfe","timestamp":"2026-11-22T10:30:00Z"}', "malformed_json", None),
        (b"\x00", "malformed_json", None),
        (b'"text"', "invalid_field", None),
        (item(executionId=None).encode(), "missing_field", "executionId"),
        (item(type=None).encode(), "missing_field", "type"),
        (item(timestamp=None).encode(), "missing_field", "timestamp"),
        (item(executionId="a\0b").encode(), "invalid_field", "executionId"),
        (item(executionId=["a"]).encode(), "invalid_field", "executionId"),
        (item(timestamp="9999-12-31T23:59:59Z").encode(), "invalid_field", "timestamp"),
        (item(timestamp="yesterday").encode(), "invalid_field", "timestamp"),
        (item(timestamp=1763807400).encode(), "invalid_field", "timestamp"),
        (item(sequence=-1).encode(), "invalid_field", "sequence"),
        (item(sequence="1").encode(), "invalid_field", "sequence"),
        (item(type="stream.reset").encode(), "forbidden_type", "type"),
        (item(source="monitor").encode(), "forbidden_source", "source"),
        (item(teamId="rival").encode(), "foreign_team", "teamId"),
        (item(type="node.completed", data={}).encode(), "invalid_field", "data.nodeId"),
    ],
)
async def test_an_event_that_is_none_is_refused_with_field_and_reason(
    house: House, client: httpx.AsyncClient, body: bytes, reason: str, field: str | None
) -> None:
    """400 INVALID_EVENT where nothing was good; in a batch the neighbours are kept."""
    alone = await client.post("/v1/events", content=body, headers=JSON)
    error = alone.json()["error"]
    assert (alone.status_code, error["code"]) == (400, "INVALID_EVENT")
    assert (error["reason"], error["field"], error["rejected"]) == (reason, field, 1)
    assert error["message"] == error["results"][0]["error"]["message"]
    lines = b"\n".join([item(executionId="before").encode(), body, item(executionId="after").encode()])
    batch = await client.post("/v1/events", content=lines, headers=NDJSON)
    assert (batch.status_code, batch.json()["accepted"], batch.json()["rejected"]) == (200, 2, 1)
    assert await listed(house, client) == ["after", "before"]


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        (JSON, "", "The body is empty"),
        (NDJSON, " \n\n", "The body is empty"),
        (JSON, "[]", "The array is empty"),
        (JSON, "[{}", "no JSON array"),
        (JSON, "[" * 100_000, "no JSON array"),
        ({"content-type": "application/cloudevents-batch+json"}, json.dumps(CLOUD_EVENT), "no JSON array"),
    ],
)
async def test_a_body_that_holds_no_events_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], body: str, message: str
) -> None:
    """400 with the reason."""
    answer = await client.post("/v1/events", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_EVENT")
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {**JSON, "content-encoding": "gzip"},
    ],
)
async def test_other_media_types_are_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """415 naming what is taken; forms of foreign web pages cannot post events."""
    answer = await client.post("/v1/events", content=item(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_parameters_and_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    """Nothing is ignored."""
    wrong = await client.post("/v1/events?team=rival", content=item(), headers=JSON)
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (400, "team")
    assert (await client.get("/v1/events")).headers["allow"] == "POST"


async def test_an_event_of_a_mebibyte_is_taken_and_one_byte_more_is_not(
    house: House, client: httpx.AsyncClient
) -> None:
    """413 where it is alone, a rejected item among others."""
    room = MAX_EVENT_BYTES - len(item(data={"x": ""}))
    largest, larger = item(data={"x": "y" * room}), item(data={"x": "y" * (room + 1)})
    assert (await client.post("/v1/events", content=largest, headers=JSON)).json()["accepted"] == 1
    alone = await client.post("/v1/events", content=larger, headers=JSON)
    assert (alone.status_code, alone.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert alone.json()["error"]["reason"] == "too_large"
    batch = await client.post("/v1/events", content=f"[{larger},{item(executionId='small')}]", headers=JSON)
    assert [result["verdict"] for result in batch.json()["results"]] == ["rejected", "accepted"]
    assert await listed(house, client) == ["exec_1", "small"]


async def test_ten_thousand_items_are_taken_and_one_more_is_not(house: House, client: httpx.AsyncClient) -> None:
    """413 naming the limit, and nothing of that request is kept."""
    items = [item(executionId=f"e{number % 50}", id=str(number)) for number in range(MAX_ITEMS)]
    too_many = await client.post("/v1/events", content="\n".join([*items, item()]), headers=NDJSON)
    assert (too_many.status_code, too_many.json()["error"]["maxItems"]) == (413, MAX_ITEMS)
    assert await listed(house, client) == []
    taken = await client.post("/v1/events", content=f"[{','.join(items)}]", headers=JSON)
    assert (taken.status_code, taken.json()["accepted"]) == (200, MAX_ITEMS)
    assert len(await listed(house, client)) == 50


async def test_a_journal_that_does_not_answer_is_told(house: House, client: httpx.AsyncClient) -> None:
    """503: nothing was acknowledged, send it again."""
    await house.journal.close()
    answer = await client.post("/v1/events", content=item(), headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "JOURNAL_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


# --- over a real socket ----------------------------------------------------------------------------------------------


async def send(port: int, head: str, chunks: list[bytes]) -> bytes:
    """Speak HTTP by hand: the status line and whatever follows, until the server closes or has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode())
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        async with asyncio.timeout(60):
            return await reader.readuntil(b"}}")
    finally:
        writer.transport.abort()


HEAD = "POST /v1/events HTTP/1.1\r\nhost: monitor\r\ncontent-type: application/json\r\n"


async def test_an_announced_body_beyond_the_limit_is_refused_before_it_is_sent(house: House) -> None:
    """413 on the headers alone, as `Expect: 100-continue` hopes for."""
    async with listening(house.application) as address:
        answer = await send(
            address.port, f"{HEAD}content-length: {MAX_BODY_BYTES + 1}\r\nexpect: 100-continue\r\n\r\n", []
        )
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"maxBytes":10485760' in answer


async def test_a_body_without_length_is_cut_off_at_the_limit(house: House) -> None:
    """A stream of chunks that never ends costs the limit and no more."""
    block = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    async with listening(house.application) as address:
        answer = await send(address.port, f"{HEAD}transfer-encoding: chunked\r\n\r\n", [block] * 11)
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_of_the_largest_size_is_read(house: House) -> None:
    """Ten mebibytes of white space around an event are an event."""
    async with listening(house.application) as address, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        body = item().ljust(MAX_BODY_BYTES)
        answer = await client.post(f"http://127.0.0.1:{address.port}/v1/events", content=body, headers=JSON)
        over = await client.post(f"http://127.0.0.1:{address.port}/v1/events", content=body + " ", headers=JSON)
    assert (answer.status_code, over.status_code) == (200, 413)


async def test_a_cut_off_body_changes_nothing(house: House) -> None:
    """The client goes away in the middle: nothing is stored and the service goes on."""
    async with listening(house.application) as address, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(f"{HEAD}content-length: 1000\r\n\r\n[{item()},".encode())
        await writer.drain()
        writer.transport.abort()
        good = item(executionId="exec_2")
        answer = await client.post(f"http://127.0.0.1:{address.port}/v1/events", content=good, headers=JSON)
    assert answer.json()["accepted"] == 1
    assert (await house.journal.bounds())[0].end == 1
