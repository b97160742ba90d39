"""A stream that reconnects: lines of JSON over HTTP, resumed where the last connection ended.

Promises: what follows a position comes, on whatever connection; a connection that says nothing for two and a half
heartbeats is left; who comes back waits, longer each time and never as long as somebody else. Called by `follow`,
`tail` and `demo`.
"""

import random
from asyncio import timeout
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

from monitor.cli.course import Course
from monitor.cli.frames import Frame, Garbage, Lines, read_frame
from monitor.cli.service import Away, Query, Refused, Service, reason_of
from monitor.clock import Clock, SystemClock

STREAM_PATH: Final = "/v1/executions/stream"

MEDIA_TYPE: Final = "application/x-ndjson"

_UNKNOWN_POSITION: Final = b'{"type":"stream.reset","reason":"malformed"}'
"""What the service says in words of its own where it can; a refusal of our position means the same."""


class Sent(NamedTuple):
    """A frame, and the line that it came on."""

    frame: Frame
    line: bytes


class Subscription:
    """One reader of one stream address."""

    def __init__(
        self,
        service: Service,
        path: str,
        query: Query,
        course: Course,
        *,
        clock: Clock,
        chance: random.Random,
        on_pause: Callable[[str, float], None],
    ) -> None:
        """`on_pause` hears why and for how many seconds, once per row of failures."""
        self._service, self._path, self._query = service, path, query
        self._clock, self._chance, self._on_pause = clock, chance, on_pause
        self._has_told = False
        self.course = course

    async def forever(self) -> AsyncGenerator[Sent, None]:
        """Every frame, on one connection after the other. Raises Unwatchable once there is no use in coming back."""
        while True:
            async with aclosing(self.connection()) as frames:
                async for sent in frames:
                    yield sent
            await self.pause()

    async def connection(self) -> AsyncGenerator[Sent, None]:
        """The frames of one connection, which begins where we stand; it ends when the connection does, however.

        Raises Refused when the service will never take the question.
        """
        self.course.connecting()
        try:
            async with aclosing(self._lines()) as lines:
                async for line in lines:
                    frame = read_frame(line)
                    self.course.take(frame, self._clock.monotonic_s())
                    yield Sent(frame, line)
        except Away as away:
            # What the service said before it went counts more than how the connection then broke.
            self.course.farewell = self.course.farewell or away
        except Garbage as garbage:
            self.course.farewell = Away(str(garbage))
        except Refused as refused:
            if refused.refusal != "INVALID_POSITION" or not self.course.has_moved:
                raise
            self.course.go_to(None)
            yield Sent(read_frame(_UNKNOWN_POSITION), _UNKNOWN_POSITION)

    async def pause(self, why: Away | None = None) -> None:
        """Wait until it is time for the next try, `why` None being how the connection ended. Raises Unwatchable."""
        why = why or self.course.farewell or Away("the connection was closed")
        self._has_told = self._has_told and self.course.failures > 0
        pause_s = self.course.lost(why, self._clock.monotonic_s(), self._chance.random())
        if why.reason and not self._has_told:
            self._has_told = True
            self._on_pause(why.reason, pause_s)
        await self._clock.sleep(pause_s)

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        """The lines of an answer; half a line at its end is dropped, and comes again from where we stand."""
        import aiohttp  # noqa: PLC0415 - loads only where a request is made

        position = [] if self.course.position is None else [("position", self.course.position)]
        async with self._service.opened(self._path, [*self._query, *position], MEDIA_TYPE) as response:
            if response.status != 200:
                return  # 204: this stream has ended
            if response.content_type != MEDIA_TYPE:
                raise Away(f"it answers with {response.content_type}, which is no stream of this service")
            lines = Lines()
            while True:
                try:
                    async with timeout(self.course.silence_s):
                        piece = await response.content.readany()
                except (aiohttp.ClientError, OSError) as error:
                    raise Away(reason_of(error)) from error
                if not piece:
                    return
                for line in lines.feed(piece):
                    yield line


def subscribe(
    service: Service,
    path: str,
    query: Query,
    *,
    patience_s: float,
    on_pause: Callable[[str, float], None],
    position: str | None = None,
    waits: bool = False,
) -> Subscription:
    """A subscription by the machine's own clock; for `position` and `waits` see `Course`."""
    clock, chance = SystemClock(), random.Random()  # noqa: S311 - spreads reconnects, guards nothing
    course = Course(service.url, clock.monotonic_s(), patience_s=patience_s, position=position, waits=waits)
    return Subscription(service, path, query, course, clock=clock, chance=chance, on_pause=on_pause)
