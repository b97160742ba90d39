"""The judge: looks once a second at executions that are due, and says what the rules in `projections.verdicts` find.

A verdict is an event, appended like any other. Whoever was not listening judges nobody: while the service is behind,
or was stopped, or could not reach its journal or its store, silence means nothing, and it is counted anew from then on.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import structlog

from monitor.clock import Clock
from monitor.errors import InvalidEvent, Unavailable
from monitor.journal.base import Bounds
from monitor.projections.verdicts import ANSWER_WITHIN_US, event_of, judge, no_answer
from monitor.store.base import Store, Writer
from monitor.store.command_port import CommandSpot
from monitor.telemetry.metrics import Metrics

LOOK_S: Final = 1.0

PORTION: Final = 500
"""Executions that one transaction looks at: about 20 ms."""

_AGAIN_US: Final = 5_000_000
"""A verdict that is not folded by then is said again, which changes nothing where it is on its way."""

_SHORT_US: Final = 250_000
"""Pauses below it are no pauses: the loop has other things to do as well."""

_ALWAYS_US: Final = 1 << 62


class Publish(Protocol):
    """The door into the journal."""

    def __call__(self, events: Sequence[Mapping[str, Any]], *, team: str) -> Awaitable[object]:
        """Append the service's own events. Raises Unavailable."""
        ...


class Judge:
    """Looks after what engines promise. Two of them are harmless: equal verdicts are one event."""

    def __init__(
        self,
        *,
        store: Store,
        publish: Publish,
        bounds: Callable[[], Awaitable[Mapping[int, Bounds]]],
        unfolded: Callable[[Mapping[int, Bounds]], Awaitable[Mapping[int, int]]],
        is_ready: Callable[[], bool],
        mishaps: Callable[[], Awaitable[bool]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """`bounds` of the journal; `unfolded` counts the records inside them that are not folded, by partition;
        `is_ready`: whether the pipeline runs as it should; `mishaps`: whether anywhere events were not taken, since
        it was asked last.
        """
        self._store, self._publish, self._clock, self._metrics = store, publish, clock, metrics
        self._bounds, self._unfolded, self._is_ready, self._mishaps = bounds, unfolded, is_ready, mishaps
        self._ends: Mapping[int, Bounds] | None = None
        # Commands, a portion at a look: behind which one to go on, which ones were found in this sweep, and which ones
        # were given up in the last one and may not be folded.
        self._behind: CommandSpot | None = None
        self._found: set[str] = set()
        self._given_up: set[str] = set()
        self._attention = Attention()
        self._log = structlog.get_logger("judge")

    async def run(self) -> None:
        """Look every second until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Judge what is due, if nothing was missed."""
        try:
            listens = await self._listens()
            self._attention.note(self._clock.now_us(), self._clock.monotonic_s(), listens=listens)
            if listens:
                await self._judge(self._clock.now_us())
                await self._give_up_commands(self._clock.now_us())
        except Unavailable as error:
            self._attention.note(self._clock.now_us(), self._clock.monotonic_s(), listens=False)
            self._log.warning("cannot judge for the moment", code=error.code, reason=error.message)

    async def _listens(self) -> bool:
        """Whether everything is folded that was in the journal at the last look."""
        if await self._mishaps():
            # Nobody knows for how long it was so, nor who gave up: everybody is to be heard anew.
            self._attention.forget()
            return False
        before, self._ends = self._ends, await self._bounds()
        return before is not None and self._is_ready() and not any((await self._unfolded(before)).values())

    async def _judge(self, now_us: int) -> None:
        first_us = await self._store.read(lambda reader: reader.next_watch_us())
        is_more = first_us is not None and first_us <= now_us
        while is_more:
            said, is_more = await self._store.write(lambda writer: self._decide(writer, now_us))
            for team, events in said.items():
                await self._say(team, events)

    async def _give_up_commands(self, now_us: int) -> None:
        """Say of commands that nobody has answered them in time; an answer that comes later holds all the same."""
        before_us = now_us - ANSWER_WITHIN_US
        if self._attention.since_us(ANSWER_WITHIN_US) > before_us:
            return
        waiting = await self._store.read(lambda reader: reader.open_commands(before_us, PORTION, self._behind))
        said: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in waiting:
            if row.command.id not in self._given_up:
                said[row.team].append(no_answer(row.execution_id, row.team, row.command))
        for team, events in said.items():
            await self._say(team, events)
        self._found |= {row.command.id for row in waiting}
        if len(waiting) == PORTION:
            # Those that cannot be given up must not hide the rest.
            self._behind = waiting[-1].spot
        else:
            # Until they are folded they are found again.
            self._given_up, self._found, self._behind = self._found, set(), None

    async def _say(self, team: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Append. An event whose id a producer has used for one of his own is refused, alone of them all."""
        try:
            await self._publish(events, team=team)
        except InvalidEvent as refused:
            self._log.warning("a verdict was not taken", team=team, code=refused.code, reason=refused.message)

    def _decide(self, writer: Writer, now_us: int) -> tuple[Mapping[str, list[Mapping[str, Any]]], bool]:
        """What to say, by team, and whether there may be more to look at.

        In one transaction with when to look again, so that nobody changes an execution in between.
        """
        said: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        looks: dict[int, int | None] = {}
        for execution in (due := writer.due_watches(now_us, PORTION)):
            verdicts, look_us = judge(execution, now_us, self._attention.since_us)
            for verdict in verdicts:
                said[execution.team].append(event_of(execution, verdict))
                self._metrics.verdicts.labels(kind=verdict.kind).inc()
            again_us = now_us + _AGAIN_US if verdicts else None
            looks[execution.key] = min((at_us for at_us in (look_us, again_us) if at_us is not None), default=None)
        writer.watch_again(looks)
        return said, len(due) == PORTION


class _Pause(NamedTuple):
    length_us: int
    # When listening went on.
    end_us: int


class Attention:
    """Since when the service has listened, as far as it matters for a heartbeat of some length.

    A pause ends when everything is folded that came during it. Half a heartbeat of pause is too long: what should have
    been heard may come a little later. Steps of the wall clock are pauses too.
    """

    def __init__(self) -> None:
        # Later ones are shorter: a longer one makes those before it meaningless.
        self._pauses: list[_Pause] = []
        # Wall clock and monotonic clock of the last look, in microseconds.
        self._looked: tuple[int, int] | None = None
        # How long it has not listened; None = it does.
        self._deaf_us: int | None = _ALWAYS_US

    def note(self, now_us: int, monotonic_s: float, *, listens: bool) -> None:
        """A look at these times found that the service has heard everything, or has not."""
        looked = (now_us, round(monotonic_s * 1_000_000))
        passed_us = max(now - then for now, then in zip(looked, self._looked or looked, strict=True))
        self._looked = looked
        if not listens:
            self._deaf_us = (self._deaf_us or 0) + passed_us
            return
        slipped_us = passed_us - round(LOOK_S * 1_000_000)
        length_us = slipped_us if self._deaf_us is None else self._deaf_us + passed_us
        self._deaf_us = None
        if length_us >= _SHORT_US:
            # In whole steps, so that there are never many.
            length_us = -(-length_us // _SHORT_US) * _SHORT_US
            self._pauses = [pause for pause in self._pauses if pause.length_us > length_us]
            self._pauses.append(_Pause(length_us, now_us))

    def forget(self) -> None:
        """Whatever was heard until now, something may have been missed."""
        self._deaf_us = _ALWAYS_US

    def since_us(self, heartbeat_us: int) -> int:
        """When the last pause ended that was too long for such a heartbeat."""
        return max(pause.end_us for pause in self._pauses if 2 * pause.length_us > heartbeat_us)
