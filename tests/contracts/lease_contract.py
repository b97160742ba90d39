"""The promises of the store about leases and hints, as tests that every driver has to pass."""

import asyncio

import pytest

from monitor.store import Store
from monitor.store.hints import Hint
from monitor.store.lease_port import Lease
from tests.contracts.ledger_contract import NOW_US, SECOND_US
from tests.contracts.store_contract import Feed, event

LIMIT_S = 60.0


class LeaseContract:
    """Inherited by the test class of each driver."""

    async def test_one_at_a_time_has_a_lease(self, store: Store) -> None:
        """Nobody gets it while somebody has it; another one is another matter."""
        assert await take(store, "a")
        assert not await take(store, "b")
        assert await take(store, "b", name="other")
        assert await store.read(lambda reader: reader.lease("keepers")) == Lease("a", NOW_US + 10 * SECOND_US)
        assert await store.read(lambda reader: reader.lease("unknown")) is None

    async def test_who_has_a_lease_renews_it(self, store: Store) -> None:
        """Also when it ended meanwhile and nobody else came."""
        assert await take(store, "a")
        assert await take(store, "a", at_s=9)
        assert not await take(store, "b", at_s=18)
        assert await take(store, "a", at_s=40)

    async def test_a_lease_that_ended_is_anybodys(self, store: Store) -> None:
        """From the moment on at which it ends."""
        assert await take(store, "a")
        assert not await take(store, "b", at_s=9.9)
        assert await take(store, "b", at_s=10)
        assert not await take(store, "a", at_s=11)

    async def test_a_lease_given_back_is_free_at_once(self, store: Store) -> None:
        """By its holder alone."""
        assert await take(store, "a")
        await store.write(lambda writer: writer.give_back_lease("keepers", "b"))
        assert not await take(store, "b")
        await store.write(lambda writer: writer.give_back_lease("keepers", "a"))
        assert await take(store, "b")

    async def test_leases_that_ended_long_ago_are_forgotten(self, store: Store) -> None:
        """Of those who died; what ended at that moment or later stays."""
        assert await take(store, "dead", name="old")
        assert await take(store, "a", at_s=1)
        before_us = NOW_US + 11 * SECOND_US
        assert await store.write(lambda writer: writer.forget_leases(before_us)) == 1
        assert await store.read(lambda reader: reader.lease("old")) is None
        assert await store.read(lambda reader: reader.lease("keepers")) == Lease("a", before_us)

    async def test_who_listens_hears_of_a_batch(self, store: Store) -> None:
        """After its commit: what is read then contains it."""
        heard = listen(store, "batch")
        await Feed(store).send(event("execution.started"))
        async with asyncio.timeout(LIMIT_S):
            await heard.wait()

    async def test_who_listens_hears_of_what_people_decide(self, store: Store) -> None:
        """Every ordinary write; a shared one that is no batch tells nobody."""
        decided, folded = listen(store, "desk"), listen(store, "batch")
        await store.write(lambda _: None, shared=True)
        await store.write(lambda writer: writer.set_key_check(b"check"))
        async with asyncio.timeout(LIMIT_S):
            await decided.wait()
        assert not folded.is_set()

    async def test_nobody_hears_of_what_was_undone(self, store: Store) -> None:
        """The next commit is the first that is told."""
        heard: list[bytes | None] = []
        told = asyncio.Event()
        store.hints.listen("desk", told.set)
        with pytest.raises(ZeroDivisionError):
            await store.write(lambda _: 1 // 0)
        assert not told.is_set()
        await store.write(lambda writer: writer.set_key_check(b"check"))
        async with asyncio.timeout(LIMIT_S):
            await told.wait()
        heard.append(await store.read(lambda reader: reader.key_check()))
        assert heard == [b"check"]


def listen(store: Store, hint: Hint) -> asyncio.Event:
    """Set when the hint is given."""
    heard = asyncio.Event()
    store.hints.listen(hint, heard.set)
    return heard


async def take(store: Store, holder: str, *, at_s: float = 0.0, name: str = "keepers") -> bool:
    """Whether `holder` has it now, for ten seconds."""
    now_us = NOW_US + round(at_s * SECOND_US)
    until_us = now_us + 10 * SECOND_US
    return await store.write(lambda writer: writer.take_lease(name, holder, now_us=now_us, until_us=until_us))
