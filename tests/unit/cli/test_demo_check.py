"""The demo's check of itself finds each thing that can be wrong: told, listed, resumed or signed otherwise."""

import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from rich.console import Console

from monitor.cli.demo_check import (
    ROUNDS,
    Finding,
    check_ends,
    check_rest,
    check_resume,
    check_webhook,
    report,
)
from monitor.cli.demo_witnesses import Receiver, Subscriber, open_receiver
from monitor.cli.frames import Frame
from monitor.engines.demo.workflows import WORKFLOWS
from monitor.webhooks.signing import secret_of, signed_headers

KEY = bytes(32)

Sent = dict[str, Any]


def frame(number: int, workflow_id: str = "demo-loop", status: str = "success") -> Sent:
    """The last frame of execution `number`."""
    return {
        "type": "execution.completed",
        "id": f"event-{number}",
        "executionId": f"demo:{number}",
        "workflowId": workflow_id,
        "timestamp": "2026-11-22T10:30:01.204Z",
        "data": {},
        "version": number + 1,
        "position": f"after-{number}",
        "state": {"status": status, "progress": {"completed": 1, "total": 1, "ratio": 1.0}},
    }


async def who_saw(frames: Sequence[Sent]) -> Subscriber:
    """A subscriber who got `frames`."""
    seen = Subscriber()
    for each in frames:
        await seen.remember(msgspec.convert(each, Frame))
    return seen


@asynccontextmanager
async def service(rows: Sequence[Mapping[str, Any]] = (), frames: Sequence[Sent] = ()) -> AsyncIterator[str]:
    """A service that lists `rows`, and streams those of `frames` that follow the named position."""

    async def list_rows(request: web.Request) -> web.Response:
        assert request.query["minPosition"] == "after-2"
        return web.json_response({"data": list(rows)})

    async def stream(request: web.Request) -> web.StreamResponse:
        lines = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await lines.prepare(request)
        for each in frames:
            if each["position"] > request.query["position"]:
                await lines.write(json.dumps(each).encode() + b"\n")
        return lines

    application = web.Application()
    application.router.add_get("/v1/executions", list_rows)
    application.router.add_get("/v1/executions/stream", stream)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


FRAMES = [frame(0), frame(1), frame(2)]
ROWS = [{"id": f"demo:{n}", "status": "success", "version": n + 1} for n in range(3)]


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([Finding("a"), Finding("b")], 0),
        ([Finding("a"), Finding("b", "[bold] is wrong")], 1),
        ([], 1),
    ],
)
def test_report_fails_with_any_problem_or_without_any_check(findings: list[Finding], code: int) -> None:
    """A demo that was interrupted has shown nothing."""
    printed = io.StringIO()
    assert report(findings, Console(file=printed)) == code
    assert [line in printed.getvalue() for line in ("failed b: [bold] is wrong",)] == [code == 1 and bool(findings)]


async def test_every_workflow_has_to_end() -> None:
    """Whatever its end; running or waiting is none."""
    ends = [frame(n * 10 + i, name, "failed") for i, name in enumerate(WORKFLOWS) for n in range(ROUNDS)]
    assert check_ends(await who_saw(ends)).problem == ""
    ends[-1] = frame(int(ends[-1]["version"]) - 1, "demo-wait", "waiting")
    assert check_ends(await who_saw(ends)).problem == f"demo-wait ended {ROUNDS - 1} of {ROUNDS} times"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (ROWS, ""),
        (ROWS[:2], "demo:2 is None in the list and ('success', 3) on the stream"),
        (
            [*ROWS[:2], ROWS[2] | {"status": "running"}],
            "demo:2 is ('running', 3) in the list and ('success', 3) on the stream",
        ),
        (
            [ROWS[0] | {"version": 9}, *ROWS[1:]],
            "demo:0 is ('success', 9) in the list and ('success', 1) on the stream",
        ),
        (
            [*ROWS, {"id": "x", "status": "queued", "version": 4}],
            "x is ('queued', 4) in the list and None on the stream",
        ),
    ],
)
async def test_list_and_stream_have_to_agree(rows: list[dict[str, Any]], problem: str) -> None:
    """In executions, statuses and versions."""
    async with service(rows=rows) as url, aiohttp.ClientSession() as session:
        assert (await check_rest(session, url, await who_saw(FRAMES))).problem == problem


@pytest.mark.parametrize(
    ("frames", "is_well"),
    [(FRAMES, True), ([FRAMES[0], FRAMES[2], FRAMES[1]], False), ([*FRAMES[:2], FRAMES[1], FRAMES[2]], False)],
)
async def test_resumed_stream_has_to_be_the_same(frames: list[Sent], is_well: bool) -> None:
    """Another order or a repeat is found."""
    async with service(frames=frames) as url:
        finding = await check_resume(url, await who_saw(FRAMES))
    assert finding.checked.endswith("the other 2 events")
    assert (finding.problem == "") is is_well


async def test_delivery_has_to_be_signed_with_the_secret() -> None:
    """A real request to the receiver's address; the secret of somebody else is found."""
    body = json.dumps({"event": "execution.failed"}).encode()
    receiver: Receiver
    async with open_receiver() as receiver, aiohttp.ClientSession() as session:
        headers = signed_headers("d1", 1_795_343_400, body, [KEY])
        async with session.post(receiver.url, data=body, headers=headers) as answer:
            assert answer.status == 204
        well = await check_webhook(receiver, secret_of(KEY))
        ill = await check_webhook(receiver, secret_of(b"another key of at least 24 bytes"))
    assert well == Finding("a webhook arrived (execution.failed), and its signature is valid")
    assert ill.problem == "the signature is not that of the secret"
