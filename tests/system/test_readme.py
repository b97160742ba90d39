"""The README does what it says: its commands run as written, its examples are events, its tables are complete."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.api.webhook_documents import WebhookDocument
from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, Event, Record
from monitor.settings import Settings, keys
from monitor.streams.session import FAREWELLS, Reply, Select, Session
from monitor.webhooks.endpoint import OPERATOR_TYPES, OPERATOR_WILDCARDS
from monitor.webhooks.signing import secret_of, signed_headers
from tests.support.service import Service, eventually

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text()
ADDRESS = "127.0.0.1:8080"
FRAMES_WITHIN_S = 120.0


def blocks(mark: str) -> list[str]:
    """The fenced blocks that open with ```mark."""
    return re.findall(rf"^```{mark}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service to paste commands against, with the demo's own workflows at hand."""
    running = Service(tmp_path / "data")
    running.launch()
    try:
        yield running
    finally:
        running.close()


async def shell(script: str) -> str:
    """What the script prints; fails with its complaints when a command of it does."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        *("-euo", "pipefail", "-c", script),
        cwd=TOP,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, ""), script
    return out.decode()


def answers_in(printed: str) -> list[Any]:
    """The JSON documents that several curls printed after each other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(printed):
        document, at = decoder.raw_decode(printed, at)
        found.append(document)
    return found


async def test_commands_work_as_written_one_after_the_other(service: Service) -> None:
    """Each block runs against a running service; only the port is another."""
    assert shutil.which("curl"), "the README's commands need curl"
    await service.ready()
    commands = [block.replace(ADDRESS, f"127.0.0.1:{service.port}") for block in blocks("bash run")]
    tell, ask, follow, register, send = commands
    [told] = answers_in(await shell(tell))
    assert [result["verdict"] for result in told["results"]] == ["accepted"] * 4
    await visible(service, told["position"])
    execution, logs, page = answers_in(await shell(ask))
    assert (execution["id"], execution["status"], execution["duration"]) == ("exec_42", "success", 5.3)
    assert [node["nodeName"] for node in execution["executionData"]] == ["Send to Slack"]
    assert [line["message"] for line in logs["logs"]] == ["Sending message to Slack"]
    assert [row["id"] for row in page["data"]] == ["exec_42"]
    assert "Sending message to Slack" in await shell(follow)
    registered, listed = answers_in(await shell(register))
    assert registered["secret"].startswith("whsec_")
    assert [row["id"] for row in listed["data"]] == [registered["id"]]
    assert "secret" not in listed["data"][0]
    assert await shell(send) == "1 accepted, 0 duplicate, 0 rejected\n"


async def test_commands_about_a_webhook_follow_its_life(service: Service) -> None:
    """From the dry run to the removal, as written."""
    await service.ready()
    begin, live = [block.replace(ADDRESS, f"127.0.0.1:{service.port}") for block in blocks("bash endpoint")]
    tried, registered = answers_in(await shell(begin))
    assert (tried["dryRun"], tried["webhook"]["filters"]) == (True, {"status": ["crashed", "failed"]})
    assert (registered["name"], registered["headers"]) == ("night shift", {"Authorization": "***"})
    changed, paused, resumed, rotated, listed, revoked, removed = answers_in(await shell(live))
    assert (changed["filters"], changed["rateLimit"]) == ({"workflowId": "wf_7"}, None)
    assert [it["status"] for it in (changed, paused, resumed)] == ["active", "paused", "active"]
    assert rotated["secret"] != registered["secret"]
    assert [len(it["data"]) for it in (rotated, listed, revoked)] == [2, 2, 1]
    assert removed == {"id": registered["id"], "cancelledDeliveries": 0}


async def test_commands_to_engines_are_carried_out(service: Service) -> None:
    """From executing to removing, as written."""
    await service.ready()
    [block] = [block.replace(ADDRESS, f"127.0.0.1:{service.port}") for block in blocks("bash command")]
    done, cancelled, retried, commands, noted, preview = answers_in(await shell(block))
    assert (done["status"], done["inputData"]) == ("success", [{"json": {"order": 7}}])
    assert (cancelled["status"], retried["retryOf"]) == ("cancelled", cancelled["executionId"])
    assert [row["kind"] for row in commands["data"]] == ["execute", "cancel"]
    assert noted["annotation"] == {"tags": ["seen"], "vote": "down", "note": "see order 7"}
    assert [row["id"] for row in preview["sample"]] == [retried["executionId"]]


async def test_commands_in_other_spellings_show_one_execution(service: Service) -> None:
    """Started by one dialect, listed by the others."""
    await service.ready()
    [block] = [block.replace(ADDRESS, f"127.0.0.1:{service.port}") for block in blocks("bash dialect")]
    done, of_n8n, of_team = answers_in(await shell(block))
    assert (done["success"], done["data"]["status"]) == (True, "success")
    [execution_id] = {done["data"]["executionId"], of_n8n["data"][0]["id"], of_team["content"][0]["id"]}
    assert execution_id.startswith("exec_")


def test_table_of_a_webhook_is_complete() -> None:
    """Every member that can be sent, and every event about webhooks."""
    (section,) = re.findall(r"^### Register a webhook\n(.*?)(?=^##)", README, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    fields = {field.alias or name for name, field in WebhookDocument.model_fields.items()}
    assert (len(rows), set(rows)) == (len(fields), fields)
    assert [name for name in (*OPERATOR_TYPES, *OPERATOR_WILDCARDS) if f"`{name}`" not in section] == []


async def test_stream_shows_what_is_sent(service: Service) -> None:
    """`curl -N` stays open and prints a frame as soon as something happens."""
    await service.ready()
    [command] = blocks("bash stream")
    process = await asyncio.create_subprocess_exec(
        "bash",
        *("-c", f"exec {command.replace(ADDRESS, f'127.0.0.1:{service.port}')}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(FRAMES_WITHIN_S):
            await line_with(process.stdout, "stream.subscribed")
            await send_minimal_event(service)
            frame = json.loads((await line_with(process.stdout, "execution.started")).removeprefix("data: "))
    finally:
        process.kill()
        await process.communicate()
    assert (frame["executionId"], frame["state"]["status"]) == ("exec_42", "running")
    assert frame["position"]


async def visible(service: Service, position: str) -> None:
    """Return when reads show what was taken in up to `position`: nobody pastes as fast as a test does."""
    async with service.client() as client:

        async def is_visible() -> bool:
            return (await client.get("/v1/executions", params={"minPosition": position})).status_code == 200

        await eventually(is_visible)


async def line_with(stream: asyncio.StreamReader, text: str) -> str:
    """The next line that contains `text`."""
    async for line in stream:
        if text in line.decode():
            return line.decode()
    raise AssertionError(f"the stream ended before it said {text}")


async def send_minimal_event(service: Service) -> None:
    """Post the README's smallest event."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(
            f"{service.url}/v1/events", content=blocks("json")[0], headers={"content-type": "application/json"}
        )
    assert answer.status_code == 200


@pytest.mark.parametrize("block", blocks("json"), ids=["minimal", "full"])
def test_examples_are_events(block: str) -> None:
    """As the service reads them, without a member that it does not know."""
    event = decode(Record(0, 0, None, block.encode(), (), 0), lambda _record, _said: DEFAULT_TEAM)
    assert isinstance(event, Event)
    members = json.loads(block).keys()
    assert members >= {"type", "executionId", "timestamp"}
    assert [name for name in members if f"`{name}`" not in README] == []


def test_verification_takes_our_signatures_and_no_others() -> None:
    """The snippet is what receivers will paste."""
    [snippet] = blocks("python")
    pasted: dict[str, Any] = {}
    exec(snippet, pasted)  # noqa: S102 - our own text
    key, body = bytes(32), b'{"event":"execution.failed"}'
    headers = signed_headers("d1", int(time.time()), body, [b"another key of at least 24 bytes", key])
    pasted["verify"](secret_of(key), headers, body)
    for forged_headers, forged_body in [
        (headers, body + b" "),
        (headers | {"webhook-id": "d2"}, body),
        (signed_headers("d1", int(time.time()) - 3600, body, [key]), body),
    ]:
        with pytest.raises(ValueError, match=r"not ours|old"):
            pasted["verify"](secret_of(key), forged_headers, forged_body)


def test_every_word_of_the_stream_is_in_the_table() -> None:
    """A client has to know what to do about each, and about no other."""
    sources = "".join(path.read_text() for path in (TOP / "monitor").glob("**/*.py"))
    said = set(re.findall(r'"(stream\.[a-z]+)"', sources))
    rows = re.findall(r"^\| (`stream\..*?) \|", README, re.MULTILINE)
    assert set(re.findall(r"`(stream\.\w+)`", " ".join(rows))) == said


def test_messages_are_obeyed_one_after_the_other() -> None:
    """None of the WebSocket's examples is an error."""
    session = Session("default", lambda _: pytest.fail("no example has a token"))
    [messages] = blocks("json lines")
    decisions = [session.receive(message) for message in messages.splitlines()]
    assert [decision.reply.name if isinstance(decision, Select) else decision for decision in decisions] == [
        "stream.subscribed",
        "stream.subscribed",
        "stream.unsubscribed",
        Reply("stream.pong", {}),
    ]


def test_every_close_code_is_in_the_table() -> None:
    """With the one of the server itself, for clients that did not read their farewell."""
    rows = re.findall(r"^\| (`\d{4}`.*?) \|", README, re.MULTILINE)
    assert set(map(int, re.findall(r"`(\d{4})`", " ".join(rows)))) == {1012, *(it.code for it in FAREWELLS.values())}


def test_every_setting_is_in_the_table_in_its_own_words() -> None:
    """And nothing else."""
    rows = re.findall(r"^\| `(MONITOR_\w+)` \|[^|]*\| (.*) \|$", README, re.MULTILINE)
    assert dict(rows) == {key: Settings.model_fields[name].description for name, key in keys().items()}
