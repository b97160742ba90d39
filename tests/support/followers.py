"""Clients of the stream that this project did not write, each of which comes back by itself whatever happens to it.

What a client was shown is kept as it came, so that tests compare texts and tokens. EventSources (Chromium's, Node's)
reconnect on their own; around the others stands the loop that a careful user would write.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import httpx
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.support import node_clients
from tests.support.browser import Browser
from tests.support.event_stream import EventStream
from tests.support.service import eventually

STREAM: Final = "/v1/executions/stream"
CONTROLS: Final = tuple(
    f"stream.{word}"
    for word in (
        *("hello", "subscribed", "snapshot", "snapshot-end", "checkpoint", "gap", "reset", "error"),
        *("log-gap", "slow", "stale", "fresh", "drain", "shed", "end"),
    )
)
"""An EventSource hears only of names that it listens to."""

PAUSE_S: Final = 0.25
"""Between the attempts of clients that need a loop around them."""

SHOWN_WITHIN_S: Final = 120.0

LONGEST_BYTES: Final = 8 << 20
"""Room for a line with an event of the largest size, escaped once more."""


class Shown(NamedTuple):
    """What a client showed its user: the text of a frame, the name that it was fired under, the token to resume by."""

    type: str
    data: str
    token: str | None
    frame: dict[str, Any]
    """What the text says."""


class Follower:
    """What one client was shown, while it goes on."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.states: list[str] = []
        """`open`, `connecting`, `closed`, in order. After `closed` it does not come back."""

    def tell(self, said: Mapping[str, Any]) -> None:
        """Keep what the client tells."""
        if "now" in said:
            self.states.append(said["now"])
        else:
            self.shown.append(Shown(said["type"], said["data"], said.get("token"), json.loads(said["data"])))

    @property
    def events(self) -> Sequence[Shown]:
        """What was shown of executions, in order."""
        return [shown for shown in self.shown if not shown.frame["type"].startswith("stream.")]

    def controls(self, name: str) -> Sequence[Shown]:
        """The frames `stream.NAME`."""
        return [shown for shown in self.shown if shown.frame["type"] == f"stream.{name}"]

    async def until(self, is_so: Callable[["Follower"], Any], within_s: float = SHOWN_WITHIN_S) -> None:
        """Return once it is so."""

        async def holds() -> bool:
            return bool(is_so(self))

        await eventually(holds, within_s=within_s, what=lambda: f"{len(self.shown)} frames, {self.states[-5:]}")

    async def subscribed(self) -> None:
        """Return once everything that happens from now on will be shown."""
        await self.until(lambda follower: follower.controls("subscribed"))


Following = AbstractAsyncContextManager[Follower]
Lines = AsyncIterator[Mapping[str, Any]]


class Followers:
    """Makes followers of one stream: by its address, or by a subscribe message of the same meaning."""

    def __init__(
        self,
        base_url: str,
        channels: Sequence[str] = (),
        browser: Browser | None = None,
        *,
        path: str = STREAM,
        headers: Mapping[str, str] | None = None,
        **subscription: str,
    ) -> None:
        """`browser`: where the kinds that live in a page are wanted. `path`: of a stream that needs no channels.

        `headers`: what the plain kinds show besides, such as a token.
        """
        self._headers = dict(headers or {})
        self._base_url, self._browser = base_url, browser
        query = {**({"channels": ",".join(channels)} if channels else {}), **subscription}
        self._url = f"{base_url}{path}?{'&'.join(f'{name}={said}' for name, said in query.items())}"
        events = {"events": subscription["events"].split(",")} if "events" in subscription else {}
        self._message = {**subscription, **events, "channels": list(channels)} if channels else None
        self._ws_url = f"{base_url}{path}" if channels else self._url
        self._ws_url = self._ws_url.replace("http", "ws", 1)

    def event_sources(self) -> dict[str, Following]:
        """Those that reconnect natively, by `Last-Event-ID`."""
        return {
            "Chromium's EventSource": self._in_page("followEvents", "EventSource", self._url, CONTROLS),
            "Node's eventsource": _in_node("events", self._url, CONTROLS),
        }

    def gets(self) -> dict[str, Following]:
        """Readers of one GET in the service's two forms."""
        return {
            "httpx-sse": _again_and_again(self._httpx_sse),
            "curl": _again_and_again(self._curl),
            "curl's lines": _again_and_again(self._curl_lines),
        }

    def plain(self) -> dict[str, Following]:
        """Those that need nothing but Python and curl."""
        return {**self.gets(), "websockets": _again_and_again(self._websockets)}

    def all(self) -> dict[str, Following]:
        """Every kind there is."""
        return {
            **self.event_sources(),
            **self.plain(),
            "Chromium's WebSocket": self._in_page("followMessages", "WebSocket", self._ws_url, self._message),
            "Node's ws": _in_node("messages", self._ws_url, self._message),
        }

    @asynccontextmanager
    async def _in_page(self, function: str, native: str, url: str, what: Any) -> AsyncIterator[Follower]:
        assert self._browser is not None, "this kind lives in a page"
        follower = Follower()
        # Any page of the service will do: what counts is where it comes from.
        page = await self._browser.open(f"{self._base_url}/livez")
        await page.expose_function("tell", follower.tell)
        module = (node_clients.PROGRAMS / "following.mjs").read_text()
        start = f"""async ([module, url, what]) => {{
            const file = URL.createObjectURL(new Blob([module], {{type: 'text/javascript'}}));
            (await import(file)).{function}({native}, url, what, tell);
        }}"""
        await page.evaluate(start, [module, url, what])
        try:
            yield follower
        finally:
            await page.context.close()

    async def _httpx_sse(self, position: str | None) -> Lines:
        headers = self._headers | ({} if position is None else {"last-event-id": position})
        # Reading the system's certificates takes longer than the request, and nothing here is TLS.
        async with (
            httpx.AsyncClient(trust_env=False, verify=False, timeout=SHOWN_WITHIN_S) as client,  # noqa: S501
            aconnect_sse(client, "GET", self._url, headers=headers) as stream,
        ):
            if stream.response.status_code == 204:
                yield {"now": "closed"}
                return
            yield {"now": "open"}
            async for sent in stream.aiter_sse():
                yield {"type": sent.event, "data": sent.data, "token": sent.id}

    async def _curl(self, position: str | None) -> Lines:
        stream = EventStream()
        headers = self._headers | ({} if position is None else {"last-event-id": position})
        async with _curling(self._url, headers) as printed:
            while piece := await printed.read(1 << 16):
                for fired in stream.feed(piece):
                    yield {"type": fired.type, "data": fired.data, "token": fired.last_event_id}

    async def _curl_lines(self, position: str | None) -> Lines:
        url = self._url if position is None else f"{self._url}&position={position}"
        async with _curling(url, self._headers | {"accept": "application/x-ndjson"}) as printed:
            while (line := await printed.readline()).endswith(b"\n"):
                frame = json.loads(line)
                yield {"type": "message", "data": line[:-1].decode(), "token": frame.get("position")}
                if frame["type"] == "stream.end":
                    yield {"now": "closed"}

    async def _websockets(self, position: str | None) -> Lines:
        async with connect(
            self._ws_url, additional_headers=self._headers, proxy=None, open_timeout=60, max_size=None
        ) as client:
            if self._message is not None:
                resumed = {} if position is None else {"position": position}
                await client.send(json.dumps({"type": "subscribe", **self._message, **resumed}))
            yield {"now": "open"}
            async for data in client:
                yield {"type": "message", "data": data, "token": json.loads(data).get("position")}
            # Closed by 1000; every other code raises.
            yield {"now": "closed"}


@asynccontextmanager
async def _curling(url: str, headers: Mapping[str, str]) -> AsyncIterator[asyncio.StreamReader]:
    given = [word for name, said in headers.items() for word in ("-H", f"{name}: {said}")]
    process = await asyncio.create_subprocess_exec(
        *("curl", "-fsN", "--noproxy", "*", *given, url), stdout=asyncio.subprocess.PIPE, limit=LONGEST_BYTES
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        # With what is left of its output: a pipe that nobody has read to its end stays open beyond the test.
        await process.communicate()


@asynccontextmanager
async def _in_node(kind: str, url: str, what: Any) -> AsyncIterator[Follower]:
    follower = Follower()
    async with node_clients.followed(kind, url, what, LONGEST_BYTES) as lines, _telling(follower, lines):
        yield follower


@asynccontextmanager
async def _again_and_again(read: Callable[[str | None], Lines]) -> AsyncIterator[Follower]:
    follower = Follower()
    async with _telling(follower, _resumed(read)):
        yield follower


async def _resumed(read: Callable[[str | None], Lines]) -> Lines:
    """What `read` brings, from the last position on whenever the connection is lost; until it is closed for good."""
    position: str | None = None
    while True:
        try:
            async for said in read(position):
                # The service says hello before it was told where to begin.
                if not said.get("data", "").startswith('{"type":"stream.hello"'):
                    position = said.get("token") or position
                # Some readers show a block without data as an empty event.
                if said.get("data") or "now" in said:
                    yield said
                if said.get("now") == "closed":
                    return
        except (OSError, httpx.TransportError, WebSocketException):
            yield {"now": "connecting"}
        await asyncio.sleep(PAUSE_S)  # the pace of asking again


@asynccontextmanager
async def _telling(follower: Follower, lines: Lines) -> AsyncIterator[None]:
    async def tell() -> None:
        async for said in lines:
            follower.tell(said)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling


@asynccontextmanager
async def following(kinds: Mapping[str, Following]) -> AsyncIterator[Mapping[str, Follower]]:
    """All of them subscribed, while the block runs."""
    async with AsyncExitStack() as stack:
        followers = {name: await stack.enter_async_context(kind) for name, kind in kinds.items()}
        for follower in followers.values():
            await follower.subscribed()
        yield followers
