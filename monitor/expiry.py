"""Expiry: removes finished executions that have been kept long enough, as everything is changed: by events.

Each is deleted by an `execution.deleted` of the monitor, in small portions that wait to be folded, so that whoever
writes meanwhile hardly notices; statistics stay. What a deleted one leaves behind goes when the journal has forgotten
its records. Runs beside the server, once a minute; one round may take as long as there is something to remove.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from monitor.clock import Clock
from monitor.errors import InvalidEvent, Unavailable
from monitor.events.codec import format_time
from monitor.events.position import Position
from monitor.events.types import MONITOR_SOURCE
from monitor.intake import Intake
from monitor.journal.base import Bounds, Journal
from monitor.retention import KEEP_TAG, Retention, by_list
from monitor.store.base import Reader, Store, Writer
from monitor.store.expiry import Sweep

ROUND_S: Final = 60.0

PORTION: Final = 50
"""Executions that one batch deletes, with their nodes, payloads and logs: a few milliseconds."""

LOOKED_AT: Final = 2_000
"""Executions that one question looks at: those that are tagged to be kept may be many."""

COUNTED_S: Final = 26 * 3600
"""What ended later is counted by the minute, for the last day and the hours that it begins and ends in."""

REST_S: Final = 0.005
"""Between two portions: about as long as one takes, so that half of the time is everybody else's."""

_FOLDED_WITHIN_S: Final = 30.0
"""A pipeline that takes longer has other worries: the next round goes on."""

Reached = Callable[[Position, float], Awaitable[bool]]


class Expiry:
    """Deletes what the rules say has been kept long enough."""

    def __init__(
        self, *, retention: Retention, store: Store, journal: Journal, intake: Intake, reached: Reached, clock: Clock
    ) -> None:
        """`reached` waits, so many seconds at most, until a position is folded, and tells whether it is."""
        self._retention, self._store, self._journal = retention, store, journal
        self._intake, self._reached, self._clock = intake, reached, clock
        self._log = structlog.get_logger("expiry")

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            try:
                await self.tidy()
            except (Unavailable, InvalidEvent) as error:
                self._log.warning("cannot remove executions for now", code=error.code, reason=error.message)
            await self._clock.sleep(ROUND_S)

    async def tidy(self) -> None:
        """One round: delete what is old, then what the deleted ones of former days have left."""
        if not self._retention.keeps_everything:
            lists = await self._store.read(lambda reader: reader.lists())
            for of, keep_s in by_list(self._retention, lists).items():
                if not await self._expire(of, self._clock.now_us() - keep_s * 1_000_000):
                    break
        await self._forget_tombstones()

    async def _expire(self, of: tuple[str, str, str], before_us: int) -> bool:
        """Delete what ended before, portion by portion; False when the pipeline does not keep up."""
        deleted = 0
        page: Sweep | None = Sweep(PORTION, LOOKED_AT)
        while page is not None:
            ids, page = await self._store.read(partial(_ended_before, of, before_us, page))
            if ids:
                receipt = await self._intake.publish(_deletions(ids, of[0], self._clock.now_us()), team=of[0])
                if not await self._reached(receipt.position, _FOLDED_WITHIN_S):
                    return False
                deleted += len(ids)
            await self._clock.sleep(REST_S)
        if deleted:
            self._log.info("removed old executions", team=of[0], workflow=of[1], status=of[2], executions=deleted)
        return True

    async def _forget_tombstones(self) -> None:
        bounds = await self._journal.bounds()
        forgotten, looked_at = 0, 0
        while True:
            ended_before_us = self._clock.now_us() - COUNTED_S * 1_000_000
            count, looked_at = await self._store.write(partial(_forget_tombstones, bounds, ended_before_us, looked_at))
            forgotten += count
            if not looked_at:
                break
            await self._clock.sleep(REST_S)
        if forgotten:
            self._log.info("forgot deleted executions", executions=forgotten)


def _ended_before(
    of: tuple[str, str, str], before_us: int, page: Sweep, reader: Reader
) -> tuple[Sequence[str], Sweep | None]:
    return reader.ended_before(of, before_us, KEEP_TAG, page)


def _deletions(ids: Sequence[str], team: str, now_us: int) -> list[Mapping[str, Any]]:
    return [
        {
            "type": "execution.deleted",
            "executionId": id_,
            # On a shared journal the body is all that can name the team.
            "teamId": team,
            "timestamp": format_time(now_us),
            "id": f"retention.{now_us}",
            "source": MONITOR_SOURCE,
            "data": {"reason": "retention"},
        }
        for id_ in ids
    ]


def _forget_tombstones(
    bounds: Mapping[int, Bounds], ended_before_us: int, looked_at: int, writer: Writer
) -> tuple[int, int]:
    starts = {at: held.start for at, held in bounds.items()}
    return writer.forget_tombstones(starts, ended_before_us, looked_at, PORTION * 4)
