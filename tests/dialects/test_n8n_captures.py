"""Our answers beside those of the real n8n, of the same executions as its own log tells of them, member by member."""

import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from monitor.api.dialects.n8n.differences import DIFFERENCES
from monitor.app import create_app, open_parts
from monitor.settings import read_settings
from monitor.sources.n8n_log import translate
from tests.support.commanding import commanding
from tests.support.n8n_captures import FOLDER, INSTANCE, Capture, captures, differences, told_until
from tests.support.tokens import bearer
from tests.support.vectors import Player

README: Final = Path(__file__).parents[2] / "README.md"
RETRIED: Final = {"type": "execution.started", "timestamp": "2026-11-22T01:13:06.475Z", "data": {"mode": "retry"}}
RUNS: Final = {
    "type": "execution.started",
    "executionId": f"{INSTANCE}:11",
    "workflowId": "wf",
    "timestamp": "2026-11-22T01:12:40Z",
}
"""Of this execution the log was not kept."""

BEFORE: Final[Mapping[str, tuple[str, str]]] = {"delete-again": ("DELETE", f"/api/v1/executions/{INSTANCE}:1")}
"""What was asked right before."""


async def test_every_difference_is_listed_and_every_listed_one_is_there(tmp_path: Path) -> None:
    """Whoever makes an answer more like the real one, or less, changes the table."""
    found = defaultdict[str, list[str]](list)
    for capture in captures():
        answer = await (answer_with_key if "key" in capture["name"] else answer_of)(capture, tmp_path)
        for difference in sorted(set(told(capture, answer))):
            found[difference].append(capture["name"])
    listed = [what for it in DIFFERENCES for what in it.what]
    assert len(set(listed)) == len(listed)
    assert {what: names for what, names in found.items() if what not in listed} == {}
    assert [what for what in listed if what not in found] == []


async def test_executions_of_n8n_keep_its_words() -> None:
    """What its log told of is shown with the status and the mode that n8n itself showed in the end."""
    truth = json.loads((FOLDER / "truth.json").read_text(encoding="utf-8"))["executions"]
    # The process of 39 was killed, and told no end.
    said = {it["execution"]: (it["status"], it["mode"]) for it in truth if it["execution"] != "39"}
    files = [(path.name, path.read_bytes().splitlines()) for path in sorted(FOLDER.glob("*.log"))]
    async with commanding() as house, house.client() as client:
        await house.tell(*translate(files, INSTANCE).events)
        rows = (await client.get("/api/v1/executions?limit=250")).json()["data"]
    shown = {row["id"].removeprefix(f"{INSTANCE}:"): (row["status"], row["mode"]) for row in rows}
    assert {id_: shown[id_] for id_ in said} == said


def test_readme_shows_the_table() -> None:
    """Each reason with what it is a reason for."""
    shown = README.read_text(encoding="utf-8")
    assert [row for row in map(row_of, DIFFERENCES) if row not in shown] == []


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ({"a": 1}, {}, ["-a"]),
        ({}, {"a": 1}, ["+a"]),
        ({"a": 1}, {"a": "1"}, ["~a"]),
        ({"a": None}, {"a": "1"}, ["?a"]),
        ({"status": "new"}, {"status": "error"}, ["=status"]),
        ({"data": [{"id": "1", "a": 1}, {"id": "2"}]}, {"data": [{"id": "n8n:1"}]}, ["-a"]),
        (
            {"data": {"resultData": {"runData": {"A": [{"b": 1}]}}}},
            {"data": {"resultData": {"runData": {}}}},
            ["-node"],
        ),
    ],
)
def test_a_difference_is_found(theirs: Any, ours: Any, said: list[str]) -> None:
    """Of any kind."""
    assert list(differences(theirs, ours)) == said


def told(capture: Capture, answer: httpx.Response) -> Iterator[str]:
    """The differences of an answer."""
    theirs, status = capture["answer"], capture["status"]
    if answer.status_code != status:
        path = re.sub(r"/executions/\w+|/workflows/\w+", _template, capture["path"].partition("?")[0])
        yield f"{status} -> {answer.status_code} {capture['method']} {path}"
    elif status >= 400:
        if answer.json() != theirs and answer.text.replace(f"{INSTANCE}:", "") != theirs:
            said = answer.json()["message"].replace(f"{INSTANCE}:", "")
            yield from [] if said == theirs["message"] else [f"said {status}"]
    else:
        yield from differences(theirs, answer.json())


def _template(found: re.Match[str]) -> str:
    _, room, last = found.group().split("/")
    return f"/{room}/{last if last in ('stop', 'stopMany', 'statistics') else '{id}'}"


def row_of(difference: Any) -> str:
    """The row of the README's table."""
    return f"| {', '.join(f'`{it}`' for it in difference.what)} | {difference.why} |"


async def answer_of(capture: Capture, _folder: Path) -> httpx.Response:
    """Ours, when the log had told as much as n8n knew."""
    engine = Player([RETRIED])
    async with commanding(engine) as house, house.client() as client:
        engine.tell = lambda events: house.tell(*events)
        await house.tell(*told_until(capture["at"]), RUNS)
        if capture["name"] in BEFORE:
            await client.request(*BEFORE[capture["name"]])
        return await asked(client, capture)


async def asked(client: httpx.AsyncClient, capture: Capture, **headers: str) -> httpx.Response:
    """The answer to the request of a capture."""
    path = re.sub(r"(/executions/)(\d+)", rf"\g<1>{INSTANCE}:\2", capture["path"])
    body = capture.get("body")
    if isinstance(body, str):
        return await client.request(capture["method"], path, content=body, headers={"content-type": "text/plain"})
    return await client.request(capture["method"], path, json=body, headers=headers)


async def answer_with_key(capture: Capture, folder: Path) -> httpx.Response:
    """Ours, where the key matters."""
    async with keyed(folder / capture["name"]) as (client, key):
        return await asked(client, capture, **(bearer(key) if "bearer" in capture["name"] else {}))


@asynccontextmanager
async def keyed(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A service that asks for keys, and one that it takes."""
    settings = read_settings({}, data=folder, auth="on")
    async with open_parts(settings) as parts:
        made = await parts.tokens.first()
        assert made is not None
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            yield client, made.text
