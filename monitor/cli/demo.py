"""`monitor demo`: the service with its built-in workflows at work, and what a subscriber sees of them.

The workflows' events come in by HTTP and go out by the stream, as everybody's do: nothing looks inside the service.
"""

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import cycle
from typing import Any, Final

import msgspec
from rich.console import Console

from monitor.cli.door import http_door
from monitor.cli.frame_line import lines_of
from monitor.cli.frames import Frame
from monitor.cli.serve import run_to_exit_code
from monitor.cli.service import open_service
from monitor.cli.subscription import STREAM_PATH, subscribe
from monitor.clock import SystemClock
from monitor.engines.base import Execute
from monitor.engines.demo import DemoEngine
from monitor.engines.demo.workflows import WORKFLOWS
from monitor.events.model import DEFAULT_TEAM
from monitor.serving import serve
from monitor.settings import Settings

_EVENTS_PER_EXECUTION: Final = 35
"""What the built-in workflows tell on average; one alone tells 25 to 65."""

_PATIENCE_S: Final = 30.0
"""The service is in this process: it is there, or it has ended."""

_INTRODUCTION: Final = """\
{url}/  shows the demo workflows at work. Ctrl-C ends them. Watch from another terminal:

  curl -N {url}{path}
  monitor tail --url {url}

or in the browser's console on that page:

  ws = new WebSocket("ws{rest}{path}"); ws.onopen = () => ws.send('{{"type":"subscribe","channels":["executions"]}}'); \
ws.onmessage = (event) => console.log(event.data)
"""


def run_demo(settings: Settings, rate: float) -> int:
    """Serve, run workflows at about `rate` events per second and show their frames, until SIGTERM or SIGINT.

    Returns the exit code. Raises StartupError when the service cannot start.
    """
    console = Console(highlight=False)

    async def show(url: str) -> None:
        introduction = _INTRODUCTION.format(url=url, path=STREAM_PATH, rest=url.removeprefix("http"))
        console.print(introduction, soft_wrap=True, markup=False)
        async with working_engine(url) as engine, asyncio.TaskGroup() as group:
            group.create_task(_run_again_and_again(engine, rate))
            async for frame in frames_of(url):
                for line in lines_of(frame):
                    console.print(line, soft_wrap=True)

    return run_to_exit_code(serve(settings, on_ready=show), settings.log)


@asynccontextmanager
async def working_engine(url: str, speed: float = 1.0) -> AsyncIterator[DemoEngine]:
    """A demo engine that tells the service at `url` what it does; what still runs at the end is cancelled."""
    async with http_door(url) as push:

        async def publish(events: Sequence[Mapping[str, Any]], _team: str) -> None:
            await push([msgspec.json.encode(event) for event in events])

        engine = DemoEngine(publish, SystemClock(), random.Random(), speed=speed)  # noqa: S311 - a play, no secret
        async with asyncio.TaskGroup() as group:
            work = group.create_task(engine.run())
            await asyncio.sleep(0)  # its first step: from then on it takes commands
            try:
                yield engine
            finally:
                work.cancel()


async def execute(engine: DemoEngine, workflow_id: str) -> None:
    """Start a built-in workflow; an engine that runs as many as it may leaves this one out."""
    command_id = uuid.uuid4().hex
    await engine.submit(Execute(command_id, DEFAULT_TEAM, f"demo:{command_id}", workflow_id))


async def frames_of(url: str, *query: tuple[str, str], position: str | None = None) -> AsyncGenerator[Frame, None]:
    """Every frame that a subscriber of all executions gets who adds `query` to the stream's address."""
    async with open_service(url) as service:
        subscription = subscribe(
            service,
            STREAM_PATH,
            query,
            position=position,
            patience_s=_PATIENCE_S,
            on_pause=lambda _why, _for_s: None,
        )
        async with aclosing(subscription.forever()) as frames:
            async for sent in frames:
                yield sent.frame


async def _run_again_and_again(engine: DemoEngine, rate: float) -> None:
    for workflow_id in cycle(WORKFLOWS):
        await execute(engine, workflow_id)
        await asyncio.sleep(_EVENTS_PER_EXECUTION / rate)
