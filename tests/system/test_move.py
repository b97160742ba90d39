"""What one process has on embedded files goes to a topic and a database: nothing is lost, nothing is told twice."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.events.model import Entry
from monitor.journal import open_sqlite_journal
from tests.support.command_line import monitor
from tests.support.folders import alter, opened, rows, told, told_raw
from tests.support.kafka import Kafka
from tests.support.kafka_topics import raw_producer
from tests.support.moving import Target, event, move, refusal, topic_exists
from tests.support.receiver import LOOPBACK, Receiver, answering, receiving
from tests.support.service import Service
from tests.support.tokens import add_token, bearer
from tests.support.verifying import Asked, by_python

IDS = ("a", "b", "c")

LOOKED_THROUGH = 5_000
"""Events that a page of a history looks through at most."""

NODE = {"nodeId": "n1", "nodeName": "Send", "nodeType": "slack"}
STORY = [
    event("a", 1, "execution.started", data={"inputData": {"text": "x" * 100_000}, "tags": ["urgent"]}),
    event("a", 2, "node.started", data=NODE),
    event("b", 3, "execution.started"),
    event("a", 4, "log.appended", data={"lines": [{"message": "nul \x00 and sign \x01", "level": "info"}]}),
    event("a", 5, "node.completed", data={**NODE, "status": "success", "duration": 0.3, "outputData": {"sent": 1}}),
    event("c", 6, "execution.started"),
    event("a", 7, "execution.completed", data={"status": "success", "duration": 6.0}),
    event("c", 8, "execution.failed", data={"status": "failed", "error": {"type": "Timeout", "message": "too late"}}),
]


@pytest.fixture
def target(kafka: Kafka, postgres_url: str) -> Target:
    """To be moved to."""
    return Target(kafka, postgres_url)


@asynccontextmanager
async def serving(data: Path, **settings: str) -> AsyncIterator[Service]:
    """A service, ready, with tokens; killed after the block, if it runs."""
    service = Service(data, **{"auth": "on", "webhook_allow": ",".join(LOOPBACK), "demo": "off", **settings})
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


@asynccontextmanager
async def cluster(data: Path, target: Target, **settings: str) -> AsyncIterator[Service]:
    """One process of the cluster, with the key that lies in `data`."""
    key = base64.b64encode((data / "key").read_bytes()).decode()
    async with serving(
        data.parent / "cluster", **target.settings, key=key, kafka_group=target.topic, **settings
    ) as service:
        yield service


async def seen(client: httpx.AsyncClient, *ids: str) -> dict[str, Any]:
    """What clients are shown, but for positions, which are those of a journal."""

    async def shown(path: str) -> Any:
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        return without_positions(answer.json())

    each = [f"/v1/executions/{id_}{rest}" for id_ in ids for rest in ("?include=data", "/events", "/logs")]
    return {path: await shown(path) for path in ("/v1/webhooks", "/v1/tokens", "/v1/quarantine", *each)}


_OF_A_JOURNAL = ("position", "partition", "offset", "lastUsedAt")


def without_positions(said: Any) -> Any:
    """The document without what a journal's life and the time of asking decide."""
    if isinstance(said, list):
        return [without_positions(it) for it in said]
    if isinstance(said, dict):
        return {name: without_positions(it) for name, it in said.items() if name not in _OF_A_JOURNAL}
    return said


def told_of(receiver: Receiver) -> list[tuple[str, str]]:
    """Executions and types, in the order of arrival."""
    bodies = [json.loads(request.body) for request in receiver.requests]
    return [(body["executionId"], body["type"]) for body in bodies]


async def test_nothing_is_lost_and_nothing_is_told_twice(target: Target, tmp_path: Path) -> None:
    """Clients find what they knew, with the token of before; a webhook gets what is new, what the folder still owed and
    nothing else, signed as before; what was appended and not folded is folded, and told, in the cluster.
    """
    data = tmp_path / "data"
    async with receiving() as prompt, receiving() as late:
        late.behave(answering(500))
        async with serving(data) as service:
            token = await service.first_token()
            async with service.client() as client:
                client.headers.update(bearer(token))
                secrets = [await hooked(client, receiver) for receiver in (prompt, late)]
                assert (await client.post("/v1/events", json=STORY)).json()["accepted"] == len(STORY)
                await prompt.received(5)
                await late.received(1)
                before = await seen(client, *IDS)
            streamed = await frames(service, token, 7)
            assert await service.stop() == 0
        told_before = told_of(prompt)
        tried = len(late.requests)
        journal = await open_sqlite_journal(data / "journal.db", clock=SystemClock())
        # One was under way when its sender died, and its lease has ended meanwhile.
        lease = "UPDATE deliveries SET state = 'leased', lease = 'gone', lease_until_us = 1 WHERE key = ?"
        [(key,)] = rows(data / "store.db", "SELECT min(key) FROM deliveries WHERE state = 'pending'")
        assert alter(data / "store.db", lease, key) == 1
        unfolded = event("d", 9, "execution.started")
        await journal.append([Entry(b"d", json.dumps(unfolded).encode())])
        await journal.close()
        files = {path.name: path.read_bytes() for path in data.iterdir() if path.name != "lock"}

        moved = await move(data, target)
        assert moved.code == 0, moved.err
        assert (moved.document["records"], moved.document["rows"]["executions"], moved.document["owed"]) == (9, 3, 5)
        assert {path.name: path.read_bytes() for path in data.iterdir() if path.name != "lock"} == files
        again = await move(data, target)
        assert (again.code, again.document["moved"]) == (0, False)

        late.behave(answering(200))
        async with cluster(data, target) as service, service.client() as client:
            client.headers.update(bearer(token))
            await service.caught_up()
            assert (await client.get("/v1/executions/d")).json()["status"] == "running"
            assert await seen(client, *IDS) == before
            assert await frames(service, token, 8) == streamed | {("d", "execution.started", 1)}
            assert (await client.post("/v1/events", json=event("b", 10, "execution.completed"))).status_code == 200
            await prompt.received(len(told_before) + 2)
            assert told_of(prompt) == [*told_before, ("d", "execution.started"), ("b", "execution.completed")]
            await late.received(tried + 7)
            accepted = told_of(late)[tried:]
            assert sorted(accepted) == sorted(told_of(prompt))
            for receiver, secret in zip((prompt, late), secrets, strict=True):
                assert all(by_python([Asked(secret, it.headers, it.body) for it in receiver.requests]))
            await hooked(client, prompt)  # keys go on
            assert (await client.post("/v1/tokens", json={"name": "new", "role": "viewer"})).status_code == 201
            assert await service.stop() == 0
        assert (len(prompt.requests), len(late.requests)) == (len(told_before) + 2, tried + 7)


async def hooked(client: httpx.AsyncClient, receiver: Receiver) -> str:
    """The secret of a webhook that is told how executions go, and tried every second."""
    wish = {"url": receiver.url, "events": ["execution.*"], "retrySchedule": [1] * 20}
    answer = await client.post("/v1/webhooks", json=wish)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


async def frames(service: Service, token: str, count: int) -> set[tuple[str, str, int]]:
    """What the stream shows from the beginning on: executions, types and versions."""
    words = ("tail", "--since", "earliest", "--limit", str(count), "--json", "--url", service.url)
    shown = await asyncio.to_thread(monitor, *words, token=token)
    lines = [json.loads(line) for line in shown.out.splitlines()]
    return {(it["executionId"], it["type"], it["version"]) for it in lines if "executionId" in it}


async def test_what_is_older_than_the_journal_comes_along(target: Target, kafka: Kafka, tmp_path: Path) -> None:
    """Histories say how much of them is gone, as before; an event that is gone is still known when it comes again; and
    records in quarantine that are gone halt nothing.
    """
    data, bad, gone = tmp_path / "data", 150, LOOKED_THROUGH + 50
    async with opened(data, poison_in_a_row=1000, poison_in_10000=1000) as parts:
        await told_raw(parts, *([b"no event"] * bad))
        await told(parts, [event("long", 0, "execution.progress", id=str(number)) for number in range(gone)])
        await told(parts, [*STORY, event("long", 30, "execution.started")])
    journal = await open_sqlite_journal(data / "journal.db", clock=SystemClock())
    await journal.trim(0, bad + gone + 4)
    await journal.close()
    async with serving(data, auth="off") as service, service.client() as client:
        before = await seen(client, *IDS)
        assert before["/v1/executions/a/events"]["removedEvents"] == 3
        assert await service.stop() == 0
    assert (await move(data, target)).code == 0
    async with cluster(data, target, auth="off") as service, service.client() as client:
        assert await seen(client, *IDS) == before
        left = (await client.get("/v1/executions/long/events")).json()
        assert (left["removedEvents"], [it["id"] for it in left["events"]]) == (gone, ["long30"])
        async with raw_producer(kafka) as producer:
            await producer.send_and_wait(target.topic, b"no event", partition=0)
        await service.caught_up()
        for it in (STORY[0], event("e", 40, "execution.started")):
            assert (await client.post("/v1/events", json=it)).json()["accepted"] == 1
        await service.caught_up()
        after = await seen(client, *IDS)
        assert after.pop("/v1/quarantine") != before.pop("/v1/quarantine")
        assert after == before
        assert (await client.get("/v1/executions/e")).status_code == 200


async def test_store_beside_a_topic_is_moved_alone(target: Target, kafka: Kafka, tmp_path: Path) -> None:
    """Places and endpoints are as they were; another topic is refused, and not made."""
    data = tmp_path / "data"
    async with receiving() as receiver:
        beside = {"journal": target.journal, "kafka_group": target.topic}
        async with serving(data, auth="off", **beside) as service, service.client() as client:
            await hooked(client, receiver)
            assert (await client.post("/v1/events", json=STORY)).json()["accepted"] == len(STORY)
            await receiver.received(5)
            before = await seen(client, *IDS)
            assert await service.stop() == 0
        other = Target(kafka, target.store)
        assert "has no topic" in await refusal(data, other)
        assert not await topic_exists(kafka, other.topic)
        other.journal = f"kafka://{kafka.bootstrap}/{await kafka.create_topic()}"
        assert "The store was built from journal" in await refusal(data, other)
        moved = await move(data, target)
        assert (moved.code, moved.document["records"]) == (0, 0), moved.err
        async with cluster(data, target, auth="off") as service, service.client() as client:
            assert await seen(client, *IDS) == before
            assert (await client.post("/v1/events", json=event("b", 10, "execution.completed"))).status_code == 200
            await receiver.received(6)
            assert told_of(receiver)[5:] == [("b", "execution.completed")]
            assert await service.stop() == 0
        assert len(receiver.requests) == 6


async def test_teams_stay_apart(target: Target, tmp_path: Path) -> None:
    """A topic believes no header of ours: its events say it themselves, and keep the ids that they had."""
    data = tmp_path / "data"
    async with opened(data) as parts:
        tokens = [await add_token(parts.store, team, team=team) for team in ("acme", "default")]
        await told(parts, [{name: it[name] for name in it if name != "id"} for it in STORY], team="acme")
        await told(parts, [event("z", 1, "execution.started")])
    async with serving(data) as service, service.client() as client:
        client.headers.update(bearer(tokens[0]))
        before, streamed = await seen(client, *IDS), await frames(service, tokens[0], 7)
        service.kill()  # and leaves logs beside its files
    refused = await move(data, target)
    assert (refused.code, "the teams acme" in refused.err, "MONITOR_TRUST_TEAM=on" in refused.err) == (2, True, True)
    assert (await move(data, target, trust_team="on")).code == 0
    async with cluster(data, target, trust_team="on") as service, service.client() as client:
        client.headers.update(bearer(tokens[0]))
        assert await seen(client, *IDS) == before
        assert await frames(service, tokens[0], 7) == streamed
        assert await frames(service, tokens[1], 1) == {("z", "execution.started", 9)}
