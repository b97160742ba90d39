"""Work that one process does for all of a cluster: whoever has the lease runs it, and ends it when the lease is lost.

The holder renews in time; one that dies, or is cut off from the store, is followed by another when its lease has ended.
For a moment there may be two, where a process was frozen: everything that runs here is harmless twice.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import structlog

from monitor.clock import Clock
from monitor.errors import StoreUnavailable
from monitor.store.base import Store

LEASE: Final = "keepers"

LEASE_S: Final = 15.0
"""How long others wait for one that died."""

RENEW_S: Final = 5.0
"""Between two renewals, and between two looks of those who wait: two may fail before the lease ends."""

_END_S: Final = 1.0
"""For the loops to end in, before another process may take over."""

Loop = Callable[[], Coroutine[Any, Any, None]]


class Keepers:
    """Runs loops while this process has the lease."""

    def __init__(self, *, store: Store, clock: Clock, holder: str, loops: Mapping[str, Loop]) -> None:
        """`holder` names this process, as no other is called; `loops` run until they are cancelled."""
        self._store, self._clock, self._holder, self._loops = store, clock, holder, loops
        # By the monotonic clock: what was asked for, so that it never ends later here than for others.
        self._until_s = 0.0
        self._log = structlog.get_logger("keepers")

    async def run(self) -> None:
        """Wait for the lease and keep house while it is ours, until cancelled. Raises what ended a loop."""
        try:
            while True:
                if await self._is_ours():
                    await self._keep()
                await self._clock.sleep(RENEW_S)
        finally:
            await asyncio.shield(self._give_back())

    async def _keep(self) -> None:
        """Run the loops until the lease is lost."""
        self._log.info("keeps house for everybody now", loops=sorted(self._loops))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(), name=name) for name, run in self._loops.items()]
                while self._left_s and await self._is_ours():
                    await self._clock.sleep(RENEW_S)
                for task in tasks:
                    task.cancel()
        finally:
            self._log.info("does not keep house any more")

    async def _is_ours(self) -> bool:
        """Renew, or take, the lease; while the store does not answer, what we had holds to its end, and no longer
        however long the store keeps us waiting.
        """
        if not self._left_s:
            return await self._renewed()
        renewing = asyncio.create_task(self._renewed(), name="renewal")
        ending = asyncio.create_task(self._clock.sleep(self._left_s), name="end of the lease")
        try:
            await asyncio.wait((renewing, ending), return_when=asyncio.FIRST_COMPLETED)
            if renewing.done():
                return renewing.result()
        finally:
            renewing.cancel()
            ending.cancel()
        self._log.warning("the lease cannot be renewed", reason="the store does not answer in time")
        return False

    @property
    def _left_s(self) -> float:
        """How long our loops may still run."""
        return max(0.0, self._until_s - _END_S - self._clock.monotonic_s())

    async def _renewed(self) -> bool:
        """Whether it is ours for LEASE_S from now on, or for as long as we had it where the store cannot be asked."""
        asked_s, now_us = self._clock.monotonic_s(), self._clock.now_us()
        until_us = now_us + round(LEASE_S * 1_000_000)
        try:
            held = await self._store.read(lambda reader: reader.lease(LEASE))
            if held and held.holder != self._holder and held.until_us > now_us:
                is_ours = False
            else:
                is_ours = await self._store.write(
                    lambda writer: writer.take_lease(LEASE, self._holder, now_us=now_us, until_us=until_us)
                )
        except StoreUnavailable as error:
            self._log.warning("the lease cannot be renewed", reason=error.message)
            return self._clock.monotonic_s() + RENEW_S < self._until_s
        self._until_s = asked_s + LEASE_S if is_ours else 0.0
        # A lease that was long in coming may be over.
        return self._clock.monotonic_s() + RENEW_S < self._until_s

    async def _give_back(self) -> None:
        if self._left_s:
            self._until_s = 0.0
            try:
                await self._store.write(lambda writer: writer.give_back_lease(LEASE, self._holder))
            except StoreUnavailable as error:
                self._log.warning("the lease ends by itself", reason=error.message)
