"""Two outsiders who watch the demo: a subscriber of the stream, and somebody's webhook address on this machine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rich.console import Console

from monitor.cli.demo import frames_of
from monitor.cli.frame_line import lines_of
from monitor.cli.frames import Frame
from monitor.projections.status import is_final


@dataclass(slots=True)
class Subscriber:
    """Remembers the events' frames in order, and the last one of each execution."""

    frames: list[Frame] = field(default_factory=list)
    last: dict[str, Frame] = field(default_factory=dict)
    is_subscribed: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, url: str, console: Console) -> None:
        """Show and remember what comes, until cancelled."""
        async for frame in frames_of(url, ("events", "*")):
            for line in lines_of(frame):
                console.print(line, soft_wrap=True)
            if frame.type == "stream.subscribed":
                self.is_subscribed.set()
            if frame.is_event:
                await self.remember(frame)

    async def remember(self, frame: Frame) -> None:
        """Take in an event's frame."""
        async with self._changed:
            self.frames.append(frame)
            self.last[frame.execution_id] = frame
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds, looking at each new frame."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def ended(self, workflow_id: str) -> int:
        """How many executions of the workflow have ended."""
        latest = (frame for frame in self.last.values() if frame.workflow_id == workflow_id)
        return sum(frame.state is not None and is_final(frame.state.status) for frame in latest)


@dataclass(slots=True)
class Receiver:
    """Keeps every delivery as (headers by lower-case name, body), and answers 204."""

    url: str = ""
    deliveries: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    """A receiver that listens on the loopback address while the block runs."""
    from aiohttp import web  # noqa: PLC0415 - as every driver, where it is used

    receiver = Receiver()

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
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()
