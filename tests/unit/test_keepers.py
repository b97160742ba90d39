"""Keepers: one process of many keeps house, and another one when that is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from monitor.errors import StoreUnavailable
from monitor.keepers import LEASE, LEASE_S, RENEW_S, Keepers
from monitor.store import MemoryStore, Store, Writer
from tests.support.clocks import ManualClock, settle
from tests.support.delivering import FailingStore


class House:
    """Processes over one store, and which of them keep house."""

    def __init__(self) -> None:
        self.clock, self.store = ManualClock(), MemoryStore()
        self.working: list[str] = []

    def keepers(self, name: str, store: Store | None = None, end: Callable[[], Any] | None = None) -> Keepers:
        """Those of a process; `end` ends their work."""

        async def work() -> None:
            self.working.append(name)
            try:
                await (end() if end else asyncio.Event().wait())
            finally:
                self.working.remove(name)

        return Keepers(store=store or self.store, clock=self.clock, holder=name, loops={"work": work})

    async def holder(self) -> str | None:
        """Who has the lease."""
        lease = await self.store.read(lambda reader: reader.lease(LEASE))
        return lease and lease.holder


@pytest.fixture
def house() -> House:
    """Nobody in it yet."""
    return House()


@asynccontextmanager
async def running(keepers: Keepers) -> AsyncIterator[asyncio.Task[None]]:
    """The process works while the block runs."""
    task = asyncio.create_task(keepers.run())
    await settle()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_of_them_keeps_house(house: House) -> None:
    """For as long as it lives; the others wait."""
    async with running(house.keepers("a")), running(house.keepers("b")):
        await house.clock.advance(10 * LEASE_S)
        assert house.working == ["a"]


async def test_one_that_ends_is_followed_at_once(house: House) -> None:
    """It gives its lease back, so that nobody waits for the lease's end."""
    async with running(house.keepers("a")) as first, running(house.keepers("b")):
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (house.working, await house.holder()) == ([], None)
        await house.clock.advance(RENEW_S)
        assert house.working == ["b"]


async def test_one_that_died_is_followed_when_its_lease_ends(house: House) -> None:
    """Not a moment before: it might live."""
    now_us = house.clock.now_us()
    until_us = now_us + round(LEASE_S * 1_000_000)
    await house.store.write(lambda writer: writer.take_lease(LEASE, "dead", now_us=now_us, until_us=until_us))
    async with running(house.keepers("b")):
        await house.clock.advance(LEASE_S - 0.1)
        assert house.working == []
        await house.clock.advance(RENEW_S)
        assert house.working == ["b"]


async def test_one_that_is_cut_off_stops_before_another_begins(house: House) -> None:
    """Its work ends while its lease still holds."""
    line: Any = FailingStore(house.store)
    line.read = line.write
    async with running(house.keepers("a", line)), running(house.keepers("b")):
        assert house.working == ["a"]
        line.fails = True
        seen: list[list[str]] = []
        for _ in range(round(2 * LEASE_S)):
            await house.clock.advance(1)
            seen.append(list(house.working))
        assert ["a", "b"] not in seen
        assert ["b", "a"] not in seen
        assert seen[0] == ["a"]
        assert house.working == ["b"]
        line.fails = False
        await house.clock.advance(10 * LEASE_S)
        assert house.working == ["b"]


async def test_one_whose_store_hangs_stops_before_another_begins(house: House) -> None:
    """A renewal may wait for locks, or for a server that is frozen, longer than the lease holds."""

    class Hanging(FailingStore):
        async def write(self, work: Callable[[Writer], Any], *, durable: bool = False, shared: bool = False) -> Any:
            if self.fails:
                await asyncio.Event().wait()
            return await super().write(work, durable=durable, shared=shared)

    line: Any = Hanging(house.store)
    async with running(house.keepers("a", line)) as first, running(house.keepers("b")):
        assert house.working == ["a"]
        line.fails = True
        seen: list[list[str]] = []
        for _ in range(round(2 * LEASE_S)):
            await house.clock.advance(1)
            seen.append(list(house.working))
        assert [len(names) for names in seen if len(names) > 1] == []
        assert house.working == ["b"]
        first.cancel()  # it still waits for the store
        await asyncio.gather(first, return_exceptions=True)
        assert house.working == ["b"]


async def test_a_store_that_fails_once_costs_nobody_the_house(house: House) -> None:
    """One renewal may fail."""
    line: Any = FailingStore(house.store)
    async with running(house.keepers("a", line)), running(house.keepers("b")):
        line.fails = True
        await house.clock.advance(RENEW_S)
        line.fails = False
        await house.clock.advance(3 * LEASE_S)
        assert house.working == ["a"]
        assert line.failures == 1


async def test_work_that_dies_ends_the_process(house: House) -> None:
    """And not silently; the next one may take over."""

    async def fail() -> None:
        raise ZeroDivisionError

    async with running(house.keepers("a", end=fail)) as first:
        with pytest.raises(BaseExceptionGroup) as raised:
            await first
        assert raised.group_contains(ZeroDivisionError)
        assert await house.holder() is None


async def test_giving_back_to_a_store_that_is_gone_changes_nothing(house: House) -> None:
    """The lease ends by itself."""
    line: Any = FailingStore(house.store)
    async with running(house.keepers("a", line)) as first:
        line.fails = True
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await house.holder() == "a"
    with pytest.raises(StoreUnavailable):
        await line.write(lambda _: None)
