"""`monitor demo --once`: some seconds of the demo on a service of its own, then a check of what came out of it.

Checked from outside, each against another door: every workflow ended, REST tells what the last frames told, a
subscriber who comes back gets exactly what it missed, and a webhook arrived with a valid signature.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console

from monitor.app import Parts
from monitor.cli.demo import execute, frames_of, working_engine
from monitor.cli.frame_line import Frame, is_event, line_of
from monitor.cli.serve import run_to_exit_code
from monitor.engines.demo.workflows import WORKFLOWS
from monitor.events.types import TYPES
from monitor.projections.status import is_final
from monitor.serving import serve
from monitor.settings import read_settings
from monitor.webhooks.signing import key_of, signed_headers

_ROUNDS: Final = 2
"""How often each workflow runs."""

_SPEED: Final = 3.0
"""The slowest workflow waits for 8 s of its story; three times as fast, the whole demo takes about 5 s."""

_LIMIT_S: Final = 30.0
"""For each thing that is awaited; on an idle machine none takes more than 5 s."""


class Finding(NamedTuple):
    """Something that was checked; `problem` is empty when it is as it should be."""

    checked: str
    problem: str = ""


def run_demo_once() -> int:
    """Run the demo once on a temporary data folder and print what was checked.

    Returns 0, or 1 when something failed. Raises StartupError when the service cannot start.
    """
    console = Console(highlight=False)
    findings: list[Finding] = []

    async def show_and_check(_: Parts, url: str) -> None:
        findings.extend(await _run(url, console))

    with tempfile.TemporaryDirectory(prefix="monitor-demo-") as folder:
        log = read_settings().log
        settings = read_settings({}, data=Path(folder), port=0, webhook_allow="127.0.0.0/8", log=log)
        code = run_to_exit_code(serve(settings, on_ready=show_and_check), log)
    return code or _report(findings, console)


def _report(findings: Sequence[Finding], console: Console) -> int:
    console.print()
    for checked, problem in findings:
        mark, style = ("failed", "bold red") if problem else ("ok", "green")
        console.print(f"[{style}]{mark:6}[/] {checked}{problem and f': {problem}'}", soft_wrap=True)
    return 1 if not findings or any(finding.problem for finding in findings) else 0


@dataclass(slots=True)
class Seen:
    """What the subscriber saw: the events' frames in order, and the last of each execution."""

    frames: list[Frame] = field(default_factory=list)
    last: dict[str, Frame] = field(default_factory=dict)
    is_subscribed: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, url: str, console: Console) -> None:
        """Show and remember frames until cancelled."""
        async for frame in frames_of(url, events=["*"]):
            console.print(line_of(frame), soft_wrap=True)
            if frame["type"] == "stream.subscribed":
                self.is_subscribed.set()
            if is_event(frame):
                async with self.changed:
                    self.frames.append(frame)
                    self.last[frame["executionId"]] = frame
                    self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds, or the limit has passed."""
        async with self.changed:
            try:
                async with asyncio.timeout(_LIMIT_S):
                    await self.changed.wait_for(condition)
            except TimeoutError:
                pass

    def ended(self, workflow_id: str) -> int:
        """How many executions of the workflow have ended."""
        return sum(
            frame["workflowId"] == workflow_id and is_final(frame["state"]["status"]) for frame in self.last.values()
        )


async def _run(url: str, console: Console) -> list[Finding]:
    import aiohttp  # noqa: PLC0415 - as every driver, where it is used

    seen = Seen()
    async with _receiver() as receiver, aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        secret = await _register(session, url, receiver.url)
        following = group.create_task(seen.follow(url, console))
        async with asyncio.timeout(_LIMIT_S):
            await seen.is_subscribed.wait()
        async with working_engine(url, _SPEED) as engine:
            for workflow_id in list(WORKFLOWS) * _ROUNDS:
                await execute(engine, workflow_id)
            await seen.until(lambda: all(seen.ended(workflow_id) >= _ROUNDS for workflow_id in WORKFLOWS))
        findings = [
            _check_ends(seen),
            await _within_limit("REST and the stream agree", _check_rest(session, url, seen)),
            await _within_limit("who comes back misses nothing", _check_resume(url, seen)),
            await _within_limit("a signed webhook arrives", _check_webhook(receiver, secret)),
        ]
        following.cancel()
    return findings


async def _within_limit(what: str, check: Awaitable[Finding]) -> Finding:
    try:
        async with asyncio.timeout(_LIMIT_S):
            return await check
    except TimeoutError:
        return Finding(what, f"not within {_LIMIT_S:.0f} s")


# --- the checks ------------------------------------------------------------------------------------------------------


def _check_ends(seen: Seen) -> Finding:
    open_ones = [
        f"{workflow_id} ended {seen.ended(workflow_id)} of {_ROUNDS} times"
        for workflow_id in WORKFLOWS
        if seen.ended(workflow_id) < _ROUNDS
    ]
    return Finding(f"each of {len(WORKFLOWS)} workflows ended {_ROUNDS} times", ", ".join(open_ones))


async def _check_rest(session: Any, url: str, seen: Seen) -> Finding:
    params = {"limit": "100", "minPosition": seen.frames[-1]["position"]} if seen.frames else {}
    async with session.get(f"{url}/v1/executions", params=params) as answer:
        document = await answer.json()
    if answer.status != 200:
        return Finding("REST and the stream agree", f"HTTP {answer.status}: {document}")
    listed = {row["id"]: (row["status"], row["version"]) for row in document["data"]}
    told = {id_: (frame["state"]["status"], frame["version"]) for id_, frame in seen.last.items()}
    differing = [
        f"{id_} is {listed.get(id_)} in the list and {told.get(id_)} on the stream"
        for id_ in sorted(listed.keys() | told.keys())
        if listed.get(id_) != told.get(id_)
    ]
    return Finding(
        f"REST tells status and version of all {len(told)} executions as the stream did", "; ".join(differing)
    )


async def _check_resume(url: str, seen: Seen) -> Finding:
    if not seen.frames:
        return Finding("who comes back misses nothing", "there were no frames")
    middle = len(seen.frames) // 2
    missed = [frame["id"] for frame in seen.frames[middle + 1 :]]
    again: list[str] = []
    async with aclosing(frames_of(url, events=["*"], position=seen.frames[middle]["position"])) as frames:
        async for frame in frames:
            again += [frame["id"]] if is_event(frame) else []
            if len(again) == len(missed):
                break
    return Finding(
        f"who comes back after half of the stream gets the other {len(missed)} frames",
        "" if again == missed else "other frames came, or in another order",
    )


async def _check_webhook(receiver: "_Receiver", secret: str) -> Finding:
    await receiver.arrived.wait()
    headers, body = receiver.deliveries[0]
    expected = signed_headers(headers["webhook-id"], int(headers["webhook-timestamp"]), body, [key_of(secret)])
    is_valid = headers["webhook-signature"] == expected["webhook-signature"]
    return Finding(
        f"a webhook arrived ({json.loads(body)['event']}), and its signature is valid",
        "" if is_valid else f"the signature {headers['webhook-signature']} is not that of the secret",
    )


# --- the receiver ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Receiver:
    """Somebody's webhook address on this machine."""

    url: str = ""
    deliveries: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def _receiver() -> AsyncIterator[_Receiver]:
    from aiohttp import web  # noqa: PLC0415

    receiver = _Receiver()

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        receiver.deliveries.append((headers, await request.read()))
        receiver.arrived.set()
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/hook", take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        receiver.url = f"http://127.0.0.1:{port}/hook"
        yield receiver
    finally:
        await runner.cleanup()


async def _register(session: Any, url: str, hook_url: str) -> str:
    """Register a webhook for every end; returns its secret."""
    ends = [kind.name for kind in TYPES.values() if kind.family == "execution" and kind.final]
    async with session.post(f"{url}/v1/webhooks", json={"url": hook_url, "events": ends}) as answer:
        answer.raise_for_status()
        return str((await answer.json())["secret"])
