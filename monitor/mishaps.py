"""Mishaps: an engine spoke, and the journal did not take it. Nobody may take its silence for its death.

A process knows of its own requests; where several share a store, it tells the others there, for one of them judges.
"""

from typing import Final

import structlog

from monitor.clock import Clock
from monitor.errors import StoreUnavailable
from monitor.intake import Intake
from monitor.store.base import Store

LOOK_S: Final = 1.0

_LATEST: Final = "mishap"
"""The lease that nobody holds: it names who had the latest mishap, and when."""


class Mishaps:
    """What became of requests, here and elsewhere."""

    def __init__(self, *, store: Store, intake: Intake, clock: Clock, holder: str) -> None:
        """`holder` names this process, as no other is called."""
        self._store, self._intake, self._clock, self._holder = store, intake, clock, holder
        self._told = 0
        self._known: object = None
        self._log = structlog.get_logger("mishaps")

    async def run(self) -> None:
        """Tell the others, until cancelled."""
        while True:
            await self.tell()
            await self._clock.sleep(LOOK_S)

    async def tell(self) -> None:
        """Tell of a mishap that they may not know of; again at the next call while the store does not answer."""
        failures = self._intake.failures
        if failures == self._told:
            return
        now_us = self._clock.now_us()
        try:
            told = await self._store.write(
                lambda writer: writer.take_lease(_LATEST, self._holder, now_us=now_us, until_us=now_us)
            )
        except StoreUnavailable as error:
            self._log.warning("cannot tell the others that events were not taken", reason=error.message)
        else:
            # Refused where another one told of one by a clock that is ahead: then in a moment.
            self._told = failures if told else self._told

    async def any_since(self) -> bool:
        """Whether there was one, here or elsewhere, since this was asked last. Raises StoreUnavailable."""
        latest = await self._store.read(lambda reader: reader.lease(_LATEST))
        before, self._known = self._known, (self._intake.failures, latest)
        return before != self._known
