"""`monitor follow ID`: the timeline of one execution with its logs, and its outcome as the exit code.

REST tells the past and the stream what follows; whenever the stream was cut, fell silent or left something out, REST is
asked again. So it cannot hang: it ends by the stream's word or by REST's, or when nobody answers for too long.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from monitor.cli.screen import Screen
from monitor.cli.service import Answer, Away, Query, Refused, Service, Unwatchable, open_service
from monitor.cli.subscription import Subscription, subscribe
from monitor.cli.telling import Teller, open_teller
from monitor.cli.told_lines import time_us
from monitor.cli.watch import Step, Watch
from monitor.clock import Clock, SystemClock
from monitor.events.codec import format_time

EXIT_CODES: Final = {"success": 0, "failed": 1, "cancelled": 3, "timeout": 4, "crashed": 5}

QUIET_S: Final = 5.0
"""After an end: longer than the service waits for last log lines before it ends the stream."""

IDLE_S: Final = 60.0
"""Before an end, and however alive the stream seems: the worst that a missed end costs."""

_PAGE_LINES: Final = 1000
"""As many as one answer has."""

_WITHOUT_LOGS: Final = "execution.*,node.*,command.*"


async def follow(
    execution_id: str,
    url: str,
    token: str | None = None,
    *,
    as_json: bool,
    with_logs: bool,
    waits: bool,
    patience_s: float,
) -> int:
    """Tell the story of an execution until it ends; returns the exit code of its outcome.

    Raises Unwatchable when there is no such execution, unless `waits`, or when nobody answers for `patience_s`.
    """
    screen = Screen()
    asked = [("events", "*"), ("logs", "1")] if with_logs else [("events", _WITHOUT_LOGS)]
    async with open_service(url, token) as service:
        subscription = subscribe(
            service,
            f"{path_of(execution_id)}/stream",
            [*asked, ("snapshot", "active")],
            patience_s=patience_s,
            waits=waits,
            on_pause=screen.note_pause,
        )
        with open_teller(screen, execution_id, as_json=as_json) as teller:
            follower = Follower(
                execution_id, service, subscription, teller, clock=SystemClock(), with_logs=with_logs, waits=waits
            )
            return EXIT_CODES[await follower.run()]


def path_of(execution_id: str) -> str:
    """Its address, whatever characters its id has."""
    return f"/v1/executions/{quote(execution_id, safe='')}"


class Follower:
    """Follows one execution to its end."""

    def __init__(
        self,
        execution_id: str,
        service: Service,
        subscription: Subscription,
        teller: Teller,
        *,
        clock: Clock,
        with_logs: bool,
        waits: bool,
        quiet_s: float = QUIET_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._id, self._path = execution_id, path_of(execution_id)
        self._service, self._subscription, self._teller = service, subscription, teller
        self._clock, self._with_logs, self._waits = clock, with_logs, waits
        self._quiet_s, self._idle_s = quiet_s, idle_s
        self._watch = Watch()

    async def run(self) -> str:
        """Return the status with which it ended. Raises Unwatchable."""
        while True:
            try:
                status = await self._look()
                if status is None:
                    status = await self._listen()
                if status is not None:
                    return status
                await self._subscription.pause()
            except Away as away:
                await self._subscription.pause(away)

    # --- REST

    async def _look(self) -> str | None:
        """Ask REST how it stands, and tell everything where the stream cannot; the status if all is over."""
        while (answer := await self._ask()) is not None:
            if self._watch.is_behind:
                await self._tell_everything(answer)
            status = self._watch.judge(answer.document, answer.now_us or self._clock.now_us())
            if status is not None or not self._watch.is_behind:
                return status
        return None

    async def _ask(self) -> Answer | None:
        """The execution; None while its first event is waited for."""
        query = [("include", "data")] if self._watch.is_behind else []
        try:
            answer = await self._service.read(self._path, query)
        except Refused as refused:
            if refused.refusal != "EXECUTION_NOT_FOUND":
                raise
            self._subscription.course.heard(self._clock.monotonic_s())
            self._check_absence()
            return None
        self._subscription.course.heard(self._clock.monotonic_s())
        return answer

    def _check_absence(self) -> None:
        """Raise Unwatchable unless an execution that is not there may still come."""
        if self._watch.is_known:
            raise Unwatchable(f"execution '{self._id}' is not there any more: somebody has deleted it")
        if not self._waits:
            raise Unwatchable(
                f"there is no execution '{self._id}' at {self._service.url}; `monitor tail --recent 20` shows the "
                "latest ones, and --wait waits for its first event"
            )

    async def _tell_everything(self, answer: Answer) -> None:
        """Tell what was not told yet; the stream then goes on from this answer."""
        execution = answer.document
        self._teller.execution(execution, self._watch.catch_up(execution))
        if self._with_logs:
            since_us = self._watch.lines.forgotten_us
            since = [] if since_us is None else [("from", format_time(since_us + 1000))]
            await self._tell_log(f"{self._path}/logs", since)
        self._teller.caught_up()
        self._watch.is_behind = False
        self._subscription.course.go_to(answer.position)

    async def _tell_log(self, path: str, query: Query) -> None:
        self._watch.lines.begin()
        async for page in self._pages(path, query):
            self._teller.lines(self._id, self._watch.lines.news(page))

    async def _pages(self, path: str, query: Query) -> AsyncIterator[list[dict[str, Any]]]:
        """The log from some time on, page by page; each begins in the millisecond in which the last one ended."""
        while True:
            page = (await self._service.read(path, [*query, ("limit", str(_PAGE_LINES))])).document.get("logs") or []
            yield page
            if len(page) < _PAGE_LINES:
                return
            first_us, last_us = time_us(page[0]) or 0, time_us(page[-1]) or 0
            # A page full of one millisecond: the rest of that cannot be reached.
            begin_us = last_us if last_us > first_us else last_us + 1000
            query = [pair for pair in query if pair[0] != "from"] + [("from", format_time(begin_us))]

    # --- the stream

    async def _listen(self) -> str | None:
        """Tell what one connection brings; the status if it says that all is over."""
        try:
            async with asyncio.timeout(None) as quiet, aclosing(self._subscription.connection()) as frames:
                self._expect(quiet)
                async for sent in frames:
                    step, news = self._watch.take(sent.frame)
                    if step is not Step.SKIP and sent.frame.type != "stream.snapshot":
                        self._teller.frame(sent, news)
                    if step is Step.END:
                        return self._watch.ended(sent.frame)
                    if step is Step.REFRESH:
                        break
                    if step is Step.FETCH:
                        await self._fetch(sent.frame.href)
                    if sent.frame.is_event:
                        self._expect(quiet)
                else:
                    return None
        except TimeoutError:
            pass  # REST knows
        # We left: that is no failure of the connection.
        self._subscription.course.farewell = Away("")
        return None

    def _expect(self, quiet: asyncio.Timeout) -> None:
        """Believe in the stream for so long without an event."""
        now_s = asyncio.get_running_loop().time()
        quiet.reschedule(now_s + (self._quiet_s if self._watch.is_ending else self._idle_s))

    async def _fetch(self, href: str) -> None:
        """Tell the log lines that the stream left out. Failing that, the whole log is read at the next look."""
        path, _, query = href.partition("?")
        self._watch.is_behind = True
        await self._tell_log(path, [pair for pair in parse_qsl(query) if pair[0] != "limit"])
        self._watch.is_behind = False
