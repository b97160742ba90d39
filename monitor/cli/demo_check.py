"""`monitor demo --once`: some seconds of the demo on a service of its own, then a check of what came out of it.

Checked from outside, each against another door: every workflow ended, REST tells what the last frames told, a
subscriber who comes back gets exactly what it missed, and a webhook arrived with a valid signature.
"""

import asyncio
import json
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from monitor.cli.demo import execute, frames_of, working_engine
from monitor.cli.demo_witnesses import Receiver, Subscriber, open_receiver
from monitor.cli.frames import Frame
from monitor.cli.serve import run_to_exit_code
from monitor.engines.demo.workflows import WORKFLOWS
from monitor.events.types import TYPES
from monitor.serving import serve
from monitor.settings import read_settings
from monitor.webhooks.signing import key_of, signed_headers

ROUNDS: Final = 2
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

    async def show_and_check(url: str) -> None:
        findings.extend(await _run(url, console))

    with tempfile.TemporaryDirectory(prefix="monitor-demo-") as folder:
        log = read_settings().log
        settings = read_settings({}, data=Path(folder), port=0, auth="off", webhook_allow="127.0.0.0/8", log=log)
        code = run_to_exit_code(serve(settings, on_ready=show_and_check), log)
    return code or report(findings, console)


def report(findings: Sequence[Finding], console: Console) -> int:
    """Print `findings`; returns 0 when there are some and all are well, else 1."""
    console.print()
    for checked, problem in findings:
        mark = Text("failed", style="bold red") if problem else Text("ok    ", style="green")
        console.print(mark, Text(f"{checked}: {problem}" if problem else checked), soft_wrap=True)
    return 0 if findings and not any(finding.problem for finding in findings) else 1


async def _run(url: str, console: Console) -> list[Finding]:
    import aiohttp  # noqa: PLC0415 - as every driver, where it is used

    seen = Subscriber()
    async with open_receiver() as receiver, aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        secret = await _register(session, url, receiver.url)
        following = group.create_task(seen.follow(url, console))
        async with asyncio.timeout(_LIMIT_S):
            await seen.is_subscribed.wait()
        await _run_workflows(url, seen)
        findings = [check_ends(seen)]
        # Without a single frame there is nothing to compare with.
        findings += (
            []
            if not seen.frames
            else [
                await _within_limit("REST and the stream agree", check_rest(session, url, seen)),
                await _within_limit("who comes back misses nothing", check_resume(url, seen)),
                await _within_limit("a signed webhook arrives", check_webhook(receiver, secret)),
            ]
        )
        following.cancel()
    return findings


async def _run_workflows(url: str, seen: Subscriber) -> None:
    """Run each until its end was seen; who takes too long is found by `check_ends`."""
    async with working_engine(url, _SPEED) as engine:
        for workflow_id in list(WORKFLOWS) * ROUNDS:
            await execute(engine, workflow_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LIMIT_S):
                await seen.until(lambda: all(seen.ended(workflow_id) >= ROUNDS for workflow_id in WORKFLOWS))


async def _register(session: Any, url: str, hook_url: str) -> str:
    """Register a webhook for every end; returns its secret."""
    ends = [kind.name for kind in TYPES.values() if kind.family == "execution" and kind.final]
    async with session.post(f"{url}/v1/webhooks", json={"url": hook_url, "events": ends}) as answer:
        answer.raise_for_status()
        return str((await answer.json())["secret"])


async def _within_limit(what: str, check: Coroutine[Any, Any, Finding]) -> Finding:
    try:
        async with asyncio.timeout(_LIMIT_S):
            return await check
    except TimeoutError:
        return Finding(what, f"not within {_LIMIT_S:.0f} s")


# --- the checks ------------------------------------------------------------------------------------------------------


def check_ends(seen: Subscriber) -> Finding:
    """Whether the subscriber saw every execution end."""
    late = [
        f"{workflow_id} ended {seen.ended(workflow_id)} of {ROUNDS} times"
        for workflow_id in WORKFLOWS
        if seen.ended(workflow_id) < ROUNDS
    ]
    return Finding(f"each of {len(WORKFLOWS)} workflows ended {ROUNDS} times", ", ".join(late))


async def check_rest(session: Any, url: str, seen: Subscriber) -> Finding:
    """Whether the list shows the executions of the stream and no others, each as its last frame did."""
    params = {"limit": "100", "minPosition": seen.frames[-1].position or ""}
    async with session.get(f"{url}/v1/executions", params=params) as answer:
        answer.raise_for_status()
        rows = (await answer.json())["data"]
    listed = {row["id"]: (row["status"], row["version"]) for row in rows}
    told = {id_: (frame.state and frame.state.status, frame.version) for id_, frame in seen.last.items()}
    differing = [
        f"{id_} is {listed.get(id_)} in the list and {told.get(id_)} on the stream"
        for id_ in sorted(listed.keys() | told.keys())
        if listed.get(id_) != told.get(id_)
    ]
    checked = f"REST tells status and version of all {len(told)} executions as the stream did"
    return Finding(checked, "; ".join(differing))


async def check_resume(url: str, seen: Subscriber) -> Finding:
    """Whether a subscriber who names the position of a frame gets what followed, in the same order.

    Without progress and logs, of which he may get less the faster they come.
    """
    middle = len(seen.frames) // 2
    missed = [frame.id for frame in seen.frames[middle:] if _is_lifecycle(frame)]
    again: list[str | None] = []
    async with aclosing(frames_of(url, position=seen.frames[middle - 1].position)) as frames:
        async for frame in frames:
            again += [frame.id] if frame.is_event else []
            if len(again) == len(missed):
                break
    checked = f"who comes back after half of the stream gets the other {len(missed)} events"
    return Finding(checked, "" if again == missed else "other events came, or in another order")


def _is_lifecycle(frame: Frame) -> bool:
    """Whether it tells what nobody may miss, as the streams treat it."""
    kind = TYPES.get(frame.type)
    return kind is None or kind.stream_class == "lifecycle"


async def check_webhook(receiver: Receiver, secret: str) -> Finding:
    """Whether a delivery arrives whose signature only the holder of the secret could make."""
    await receiver.arrived.wait()
    headers, body = receiver.deliveries[0]
    expected = signed_headers(headers["webhook-id"], int(headers["webhook-timestamp"]), body, [key_of(secret)])
    is_valid = headers["webhook-signature"] == expected["webhook-signature"]
    checked = f"a webhook arrived ({json.loads(body)['event']}), and its signature is valid"
    return Finding(checked, "" if is_valid else "the signature is not that of the secret")
