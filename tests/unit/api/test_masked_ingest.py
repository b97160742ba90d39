"""`MONITOR_MASK_INGEST=on`: no secret is written down, and everything else is as without it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from monitor.app import create_app, open_parts
from monitor.settings import read_settings
from tests.support.contract.checked import CHECKED
from tests.support.secret_corpus import secrets
from tests.support.tokens import add_token, bearer

AT = "2026-11-22T10:30:00Z"
PASSWORD = "hunter2-of-the-mint"
VALUES = [secret.value for secret in secrets()]
NEEDLES = [PASSWORD[1:], *(needle for secret in secrets() for needle in secret.needles)]

Request = tuple[bytes, dict[str, str]]


def item(at: int, **more: Any) -> dict[str, Any]:
    """An event with the secret of that number; the even ones say no id, as many producers do."""
    data = {"nodeId": f"n{at}", "outputData": [VALUES[at]], "note": {"password": PASSWORD}}
    known = {"id": f"event-{at}"} if at % 2 else {}
    return {"type": "node.completed", "executionId": "exec_1", "timestamp": AT, **known, "data": data, **more}


def event(at: int) -> dict[str, Any]:
    """The same as a CloudEvent in structured mode, with an attribute that nobody reads."""
    said = item(at)
    attributes = {"specversion": "1.0", "id": f"cloud-{at}", "source": "urn:shop", "type": "com.shop.node.completed"}
    return {**attributes, "executionid": "exec_1", "time": AT, "data": said["data"], "apikey": PASSWORD}


def kind(name: str) -> dict[str, str]:
    """The header that says it."""
    return {"content-type": name}


def requests() -> list[Request]:
    """Every form, every secret, and the places where secrets hide from readers."""
    whole, third = len(VALUES), len(VALUES) // 3
    twice = b'{"type":"execution.started","executionId":"exec_2","timestamp":"%b","data":{"password":"%b"},"data":{}}'
    escaped = json.dumps(item(1, id="escaped")).replace("password", "\\u0070assword").encode()
    binary = {"ce-specversion": "1.0", "ce-type": "com.shop.execution.started", "ce-source": "urn:shop"}
    hidden = {**binary, "ce-executionid": "exec_3", "ce-time": AT, "ce-id": "b1", "ce-password": PASSWORD}
    without = {**binary, "ce-executionid": "exec_3", "ce-time": AT, "ce-id": "b2", "ce-apikey": f"%68{PASSWORD[1:]}"}
    return [
        (json.dumps([item(at) for at in range(third)]).encode(), kind("application/json")),
        (b"\n".join(json.dumps(item(at)).encode() for at in range(third, whole)), kind("application/x-ndjson")),
        (json.dumps([event(at) for at in range(9)]).encode(), kind("application/cloudevents-batch+json")),
        (json.dumps(event(10)).encode(), kind("application/cloudevents+json")),
        (json.dumps({"inputData": VALUES[:9]}).encode(), {**hidden, **kind("application/json")}),
        (b"{}", {**without, **kind("application/json")}),
        (twice % (AT.encode(), PASSWORD.encode()), kind("application/json")),
        (escaped, kind("application/json")),
        (json.dumps(item(0, id="odd", password=PASSWORD, odd=VALUES[:20])).encode(), kind("application/json")),
        # Equal items without an id are facts of their own, also when they are sent again.
        (json.dumps([item(4)] * 3).encode(), kind("application/json")),
        (json.dumps(item(0) | {"executionId": "exec_4", "data": {"nodeId": "n"}}).encode(), kind("application/json")),
        (b'{"type":"execution.started","password":"x"}', kind("application/json")),
        (json.dumps(item(1, note="another event under an id")).encode(), kind("application/json")),
    ]


@asynccontextmanager
async def service(data: Path, **settings: str) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    """A service on a data folder, and a client of an administrator."""
    environ = {f"MONITOR_{name.upper()}": value for name, value in settings.items()}
    async with open_parts(read_settings(environ, data=data)) as parts:
        found = await parts.store.read(lambda reader: reader.execution("acme", "exec_1"))
        headers = bearer(await add_token(parts.store, "ada" if found is None else "bob"))
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://monitor", headers=headers, event_hooks=CHECKED
        ) as client:
            yield client, parts


async def send(client: httpx.AsyncClient, asked: Sequence[Request]) -> list[Any]:
    """What is answered to each, but for positions and times."""
    answers = []
    for body, headers in asked:
        told = (await client.post("/v1/events", content=body, headers=headers)).json()
        answers.append(told["results"] if "results" in told else told["error"]["results"])
    return answers


async def shown(client: httpx.AsyncClient, parts: Any) -> list[Any]:
    """What is then known of the executions."""
    await parts.pipeline.catch_up()
    answers = []
    for number in range(1, 5):
        one = (await client.get(f"/v1/executions/exec_{number}?include=data,error")).json()
        history = (await client.get(f"/v1/executions/exec_{number}/events?limit=1000")).json()["events"]
        facts = [{name: said for name, said in it.items() if name not in ("storedAt", "position")} for it in history]
        answers += [one.get("status"), one.get("data"), facts]
    return answers


def written(data: Path) -> bytes:
    """Every byte of the journal's files."""
    return b"".join(path.read_bytes() for path in sorted(data.glob("journal.db*")))


def leaks(text: bytes) -> list[str]:
    """The secrets in it, as they are and as JSON escapes them."""
    told = text.decode(errors="replace")
    spelt = [(it, json.dumps(it)[1:-1], json.dumps(it, ensure_ascii=False)[1:-1]) for it in NEEDLES]
    return [forms[0] for forms in spelt if any(form in told for form in forms)]


async def test_no_secret_is_written_down_and_all_else_is_as_without(tmp_path: Path) -> None:
    """Ids, verdicts, also of repeats in one life and in the next, and what is shown: the same on and off."""
    answers: dict[str, list[Any]] = {}
    for setting in ("off", "on"):
        data, answers[setting] = tmp_path / setting, []
        for _ in range(2):
            async with service(data, mask_ingest=setting) as (client, parts):
                answers[setting] += [await send(client, requests()), await send(client, requests()[::-1])]
                answers[setting] += await shown(client, parts)
                page = (await client.get("/v1/executions/exec_1/events?reveal=true&limit=1000")).text
                assert (PASSWORD in page) == (setting == "off")
        found = leaks(written(data))
        assert (found == []) == (setting == "on"), (setting, found)
    assert answers["on"] == answers["off"]
    verdicts = [it["verdict"] for answer in answers["on"][0] for it in answer]
    assert [verdicts.count(it) for it in ("accepted", "duplicate", "rejected")] == [218, 1, 2]


async def test_what_is_not_suspicious_is_written_as_it_was_sent(tmp_path: Path) -> None:
    """Byte for byte."""
    sent = b'{ "timestamp":"2026-11-22T10:30:00Z",  "executionId":"exec_1","type":"node.dreamt", "odd": [1] }'
    async with service(tmp_path, mask_ingest="on") as (client, _):
        assert (await client.post("/v1/events", content=sent, headers=kind("application/json"))).status_code == 200
    assert sent in written(tmp_path)


async def test_what_masks_make_too_large_is_refused(tmp_path: Path) -> None:
    """Rather than accepted and then quarantined; what stands beside it is taken."""
    many = {f"a{at}": {"pwd": 1} for at in range(52_000)}
    large = {"type": "execution.started", "executionId": "exec_1", "timestamp": AT, "data": {"metadata": many}}
    assert len(msgspec.json.encode(large)) <= 1 << 20
    async with service(tmp_path, mask_ingest="on") as (client, _):
        answer = (await client.post("/v1/events", json=[large, item(1)])).json()
    assert [it["verdict"] for it in answer["results"]] == ["rejected", "accepted"], answer
    assert answer["results"][0]["error"]["code"] == "too_large"


async def test_what_the_service_says_itself_is_masked_as_well(tmp_path: Path) -> None:
    """A note of a user, and the input of a workflow that it starts."""
    async with service(tmp_path, mask_ingest="on") as (client, parts):
        await client.post("/v1/events", json=item(1))
        await parts.pipeline.catch_up()
        told = {"type": "execution.annotated", "executionId": "exec_1", "timestamp": AT, "source": "monitor"}
        await parts.intake.publish([{**told, "data": {"note": f"password={PASSWORD}"}}], team="acme")
    assert leaks(written(tmp_path)) == []
