"""The replay loop: has a webhook's past deliveries queued once more, in portions, behind everything live.

Promises: a job survives every crash, for its place moves in the transaction that queues; few of its deliveries wait at
a time, so that a cancelled job has little to take back; nothing is read or written while no job runs.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import structlog
from msgspec.structs import replace

from monitor.clock import Clock, rest
from monitor.errors import StoreUnavailable
from monitor.store.base import Reader, Store, Writer
from monitor.store.delivery_port import Replay, ReplayState

PORTION: Final = 256
"""Deliveries of a job that wait for their first attempt: a lane sends fewer between two looks."""

PACE_S: Final = 0.1
SLOWEST_S: Final = 5.0
"""Between two looks while jobs run: the longer, the longer nothing was to be done."""

_END: Final = 2**62
"""Behind every key: nothing is left to look at."""


class _Found(NamedTuple):
    """What a look at a job came to."""

    replay: Replay
    # To be queued now.
    keys: Sequence[int] = ()
    # Up to which key it has looked then.
    cursor: int = 0
    # Anything but running: it ends like this.
    state: ReplayState = "running"

    @property
    def is_news(self) -> bool:
        """Whether there is something to write."""
        return bool(self.keys) or self.state != "running" or self.cursor != self.replay.cursor


class Replayer:
    """Works on every running job of the store."""

    def __init__(self, *, store: Store, clock: Clock, on_due: Callable[[], None]) -> None:
        """`on_due` wakes who delivers."""
        self._store, self._clock, self._on_due = store, clock, on_due
        self._woken = asyncio.Event()
        self._log = structlog.get_logger("replayer")

    def wake(self) -> None:
        """Look at once: a job was made. Call it on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled, which loses nothing."""
        pace_s = PACE_S
        while True:
            self._woken.clear()
            try:
                running = await self._store.read(lambda reader: reader.replays(None))
                moved = [await self._feed(replay) for replay in running]
            except StoreUnavailable as error:
                self._log.warning("cannot replay for the moment", code=error.code, reason=error.message)
                moved = [False]
            if moved:
                pace_s = PACE_S if any(moved) else min(2 * pace_s, SLOWEST_S)
                await rest(self._woken, pace_s, self._clock)
            else:
                await self._woken.wait()

    async def _feed(self, replay: Replay) -> bool:
        """Queue what there is room for, or end the job. Returns whether anything changed."""
        found = await self._store.read(partial(_look, replay))
        if not found.is_news:
            return False
        queued = await self._store.write(partial(_move, found, self._clock.now_us()))
        if queued:
            self._on_due()
        return True


def _look(replay: Replay, reader: Reader) -> _Found:
    """What is to be done for a job. It may look at many deliveries, and therefore reads beside all writing."""
    if reader.endpoint_of(replay.endpoint_key) is None:
        return _Found(replay, state="cancelled")
    untried = reader.untried(replay.key)
    room = PORTION - untried
    keys = reader.keys_of(replay.query, replay.cursor, room) if room > 0 else ()
    if room > 0 and len(keys) < room:
        return _Found(replay, keys, _END, "running" if keys or untried else "done")
    return _Found(replay, keys, keys[-1] if keys else replay.cursor)


def _move(found: _Found, now_us: int, writer: Writer) -> int:
    """Queue what was found and still is as it was, and move the job; nothing if somebody else moved it meanwhile."""
    replay = found.replay
    if writer.replay(replay.team, replay.id) != replay:
        return 0
    queued = writer.redeliver(
        found.keys, "replay", due_us=now_us, rank=1, replay_key=replay.key, states=replay.query.states or ()
    )
    finished_us = None if found.state == "running" else now_us
    moved = replace(replay, state=found.state, finished_us=finished_us, queued=replay.queued + queued)
    writer.put_replay(replace(moved, cursor=found.cursor or replay.cursor))
    return queued
