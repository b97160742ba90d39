"""Processes by role over one Kafka and one PostgreSQL: what is done at one of them holds, and is seen, at all."""

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from monitor.clock import SystemClock
from monitor.events.codec import format_time_us
from tests.support.deployment import Deployment, deployed
from tests.support.kafka import Kafka
from tests.support.kafka_topics import raw_producer
from tests.support.openings import Stream, opened
from tests.support.receiver import receiving
from tests.support.service import Service, eventually
from tests.support.tokens import bearer

TOP = Path(__file__).parents[2]
WITHIN_S = 120.0

ONE_OF_EACH = {"projector": 1, "gateway": 2, "deliverer": 1}


async def test_what_one_gateway_takes_another_shows(kafka: Kafka, postgres_url: str, tmp_path: Path) -> None:
    """Events sent to one are on the stream of the other, in its lists as soon as they are, and a position of one holds
    at the other; a webhook that was registered here is called for what was sent there.
    """
    topic = await kafka.create_topic(partitions=3)
    local = {"webhook_allow": "127.0.0.0/8"}
    async with deployed(tmp_path, kafka, topic, postgres_url, ONE_OF_EACH, **local) as house, receiving() as receiver:
        here, there = house.gateways
        async with here.client() as client, there.client() as other:
            wish = {"url": receiver.url, "events": ["execution.completed"]}
            assert (await other.post("/v1/webhooks", json=wish)).status_code == 201
            async with opened(there.url, "/v1/executions/stream", "ndjson") as stream:
                await stream.until("stream.subscribed")
                position = await say(client, *story("a"), *story("b"))
                seen = [await frame_of(stream) for _ in range(6)]
                assert sorted(f"{it['executionId']} {it['type']}" for it in seen) == sorted(
                    f"{it['executionId']} {it['type']}" for it in (*story("a"), *story("b"))
                )
                listed = (await other.get("/v1/executions")).json()
                assert {row["id"]: row["status"] for row in listed["data"]} == {"a": "success", "b": "success"}
            for asked in (client, other):
                shown = await asked.get("/v1/executions/b", params={"minPosition": position})
                assert (shown.status_code, shown.json()["status"]) == (200, "success")
            called = await receiver.received(2)
            assert {orjson.loads(it.body)["executionId"] for it in called} == {"a", "b"}
            middle = seen[2]["position"]
            async with opened(here.url, f"/v1/executions/stream?position={middle}", "sse") as stream:
                again = [await frame_of(stream) for _ in range(3)]
            assert [(it["executionId"], it["type"]) for it in again] == [
                (it["executionId"], it["type"]) for it in seen[3:]
            ]
            for service in (house.projector, house.deliverer):
                async with service.client() as asked:
                    assert (await asked.get("/v1/executions")).status_code == 404
                    assert (await asked.get("/metrics")).status_code == 200


async def test_who_loses_a_token_is_cut_off_everywhere(kafka: Kafka, postgres_url: str, tmp_path: Path) -> None:
    """Made at one gateway, it opens the other; revoked at the first, a stream of the second ends."""
    topic = await kafka.create_topic()
    roles = {"gateway": 2}
    async with deployed(tmp_path, kafka, topic, postgres_url, roles, auth="on") as house:
        here, there = house.gateways
        [admin] = await eventually(lambda: printed_tokens(house), within_s=WITHIN_S)
        async with here.client() as client:
            made = (
                await client.post("/v1/tokens", json={"name": "guest", "role": "viewer"}, headers=bearer(admin))
            ).json()
            async with opened(there.url, "/v1/executions/stream", "sse", **bearer(made["token"])) as stream:
                await stream.until("stream.subscribed")
                assert (await client.delete(f"/v1/tokens/{made['id']}", headers=bearer(admin))).status_code < 300
                ended = await stream.rest()
            assert ended[-1]["type"] in ("stream.end", "stream.error", "stream.closed", "stream.expelled"), ended


async def test_one_of_the_gateways_keeps_house(kafka: Kafka, postgres_url: str, tmp_path: Path) -> None:
    """A job that was asked for at any of them is carried out, and an export written; killed, another one takes over."""
    topic = await kafka.create_topic()
    roles = {"projector": 1, "gateway": 2}
    async with deployed(tmp_path, kafka, topic, postgres_url, roles) as house:
        keeper = await eventually(lambda: keeper_of(house), within_s=WITHIN_S)
        other = next(it for it in house.gateways if it is not keeper)
        async with other.client() as client:
            await shown(client, await say(client, *story("a"), *story("b")))
            job = await client.post("/v1/executions/bulk/delete", json={"ids": ["a", "b"]})
            address = job.headers["location"]
            await eventually(lambda: is_finished(client, address), within_s=WITHIN_S)
            assert (await client.get("/v1/executions")).json()["data"] == []
            at = (await client.post("/v1/exports", json={"format": "csv"})).headers["location"]
            await eventually(lambda: is_finished(client, at), within_s=WITHIN_S)
            not_here = await client.get(f"{at}/file")
            assert (not_here.status_code, "need that folder in common" in not_here.text) == (410, True)
            async with keeper.client() as asked:
                assert (await asked.get(f"{at}/file")).status_code == 200
            keeper.kill()
            await say(client, event("execution.started", "silent", {"heartbeat": 1}))
            await eventually(lambda: has_status(client, "silent", "crashed"), within_s=WITHIN_S)
            assert await keeper_of(house) is other


async def test_a_partition_that_stands_still_goes_on_from_any_gateway(
    kafka: Kafka, postgres_url: str, tmp_path: Path
) -> None:
    """A burst of poison halts the projector's partition; whoever lets it go on asks a process that folds nothing."""
    topic = await kafka.create_topic()
    async with deployed(tmp_path, kafka, topic, postgres_url, {"projector": 1, "gateway": 1}) as house:
        async with raw_producer(kafka) as producer:
            for _ in range(150):
                await producer.send(topic, b"{", b"k")
        async with house.gateways[0].client() as client, house.projector.client() as projector:
            await eventually(lambda: has_halted(client), within_s=WITHIN_S)
            await eventually(lambda: answers(projector, "/readyz", 503), within_s=WITHIN_S)
            position = await say(client, *story("a"))
            resumed = await client.post("/v1/quarantine/resume", json={"partition": 0})
            assert resumed.json()["resumed"] is True
            await shown(client, position)
            assert (await client.get("/v1/executions/a")).json()["status"] == "success"
            await eventually(lambda: answers(projector, "/readyz", 200), within_s=WITHIN_S)


async def test_processes_that_cannot_work_alone_say_so(tmp_path: Path) -> None:
    """A role without those who do the rest is refused, as is a shared store without a key that all have."""
    for settings, said in (
        ({"role": "gateway"}, "MONITOR_ROLE=gateway does a part of the work"),
        ({"store": "postgresql://127.0.0.1:1/x"}, "set MONITOR_JOURNAL"),
        ({"store": "mysql://127.0.0.1/x", "journal": "kafka://127.0.0.1:1/x"}, "postgresql://user:password@host"),
    ):
        service = Service(tmp_path / "data", **settings)
        service.launch()
        assert await service.ended() == 2
        assert said in service.log.read_text()
        service.log.unlink()


async def test_a_shared_store_needs_a_key_that_all_have(kafka: Kafka, postgres_url: str, tmp_path: Path) -> None:
    """None would open what another one sealed; a key that is another one is refused as well."""
    topic = await kafka.create_topic()
    async with deployed(tmp_path, kafka, topic, postgres_url, {"gateway": 1}) as house:
        for key, said in (
            ("", "needs the same key"),
            (base64.b64encode(b"A" * 32).decode(), "does not open"),
        ):
            stranger = house.add("gateway", key=key)
            stranger.launch()
            assert await stranger.ended() == 2
            assert said in stranger.log.read_text()


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        (["rebuild"], "name an empty database"),
        (["backup", "copy"], "pg_dump"),
        (["restore", "copy"], "pg_restore"),
        (["import", "n8n-log", __file__], "--url http://127.0.0.1:8080"),
    ],
    ids=lambda it: it[0] if isinstance(it, list) else "",
)
async def test_commands_for_a_data_folder_say_what_to_do_instead(command: list[str], cure: str, tmp_path: Path) -> None:
    """None of them touches a folder that is not what is meant."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", *command),
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(TOP),
            "MONITOR_JOURNAL": "kafka://127.0.0.1:1/x",
            "MONITOR_STORE": "postgresql://127.0.0.1:1/x",
        },
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert (process.returncode, cure in said.decode()) == (2, True), said
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - the other way may block, say linters


# --- what is said and seen -------------------------------------------------------------------------------------------


def event(kind: str, execution_id: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """One that happens now."""
    now = format_time_us(SystemClock().now_us())
    return {"type": kind, "executionId": execution_id, "workflowId": "w", "timestamp": now, "data": data or {}}


def story(execution_id: str) -> tuple[dict[str, Any], ...]:
    """An execution from its beginning to its end."""
    kinds = ("execution.queued", "execution.started", "execution.completed")
    return tuple(event(kind, execution_id) for kind in kinds)


async def say(client: httpx.AsyncClient, *events: dict[str, Any]) -> str:
    """The position behind these events, which are in the journal then."""
    answer = await client.post("/v1/events", json=list(events))
    assert answer.status_code < 300, answer.text
    return str(answer.json()["position"])


async def shown(client: httpx.AsyncClient, position: str) -> None:
    """Return when this is visible here."""
    await eventually(
        lambda: answers(client, f"/v1/executions?minPosition={position}", 200), within_s=WITHIN_S, what=lambda: position
    )


async def answers(client: httpx.AsyncClient, path: str, status: int) -> bool:
    """Whether it answers so now."""
    return (await client.get(path)).status_code == status


async def frame_of(stream: Stream) -> dict[str, Any]:
    """The next one of an execution."""
    while (frame := await stream.frame()) is not None:
        if not frame["type"].startswith("stream."):
            return frame
    raise AssertionError("the stream ended")


async def has_status(client: httpx.AsyncClient, execution_id: str, status: str) -> bool:
    """Whether the execution stands so."""
    found = await client.get(f"/v1/executions/{execution_id}")
    return found.status_code == 200 and found.json()["status"] == status


async def is_finished(client: httpx.AsyncClient, address: str) -> bool:
    """Whether a job has ended."""
    return (await client.get(address)).json()["finishedAt"] is not None


async def has_halted(client: httpx.AsyncClient) -> bool:
    """Whether a partition stands still."""
    return bool((await client.get("/v1/quarantine/halts")).json()["data"])


async def keeper_of(house: Deployment) -> Service | None:
    """The gateway that keeps house, by its log."""
    said = "keeps house for everybody"
    return next((it for it in house.gateways if it.is_running and said in it.log.read_text()), None)


async def printed_tokens(house: Deployment) -> list[str]:
    """What was printed of tokens: whoever starts first prints the administrator's, and nobody else does."""
    return [word for it in house.gateways for word in it.log.read_text().split() if word.startswith("mon_")]
