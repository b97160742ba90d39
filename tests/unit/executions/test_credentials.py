"""Who holds a token: known at once where it is revoked, within a second elsewhere, never without the secret."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from monitor.access.principal import Principal
from monitor.access.tokens import SECRET_BYTES, token_text
from monitor.clock import Clock
from monitor.errors import (
    MonitorError,
    RateLimited,
    StoreUnavailable,
    TokenExpired,
    TokenInvalid,
    TokenMalformed,
    TokenRevoked,
)
from monitor.executions.audit import Audit
from monitor.executions.credentials import USED_TO_US, Credentials
from monitor.executions.failures import MOST_FAILURES, WINDOW_S, Failures
from monitor.executions.tokens import Tokens
from monitor.store.base import Reader
from monitor.store.memory import MemoryStore
from tests.support.clocks import ManualClock
from tests.support.tokens import add_token, make_token

T = TypeVar("T")

ADMIN = Principal("acme", "ada", "admin")


class CountingStore(MemoryStore):
    """Counts reads, and fails them while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.writes, self.fails = 0, 0, False

    async def read(self, work: Callable[[Reader], T]) -> T:
        self.reads += 1
        if self.fails:
            raise StoreUnavailable
        return await super().read(work)

    async def write(self, work: Any, *, durable: bool = False, shared: bool = False) -> Any:
        self.writes += 1
        return await super().write(work, durable=durable, shared=shared)


@pytest.fixture
def store() -> CountingStore:
    """A store."""
    return CountingStore()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(1_000_000_000)


@pytest.fixture
def credentials(store: CountingStore, clock: Clock) -> Credentials:
    """Those of one process."""
    return Credentials(store, clock)


@asynccontextmanager
async def kept_up(credentials: Credentials) -> AsyncIterator[None]:
    """Their loop runs."""
    task = asyncio.create_task(credentials.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def is_revoked(credentials: Credentials, text: str) -> bool:
    """Whether the token opens nothing any more."""
    try:
        await credentials.holder(text)
    except TokenRevoked:
        return True
    return False


async def revoke(store: MemoryStore, name: str) -> None:
    """As another process does."""

    def work(writer: Any) -> None:
        token = writer.find_token(make_token(name).id).token
        writer.update_token(replace(token, revoked_us=5))

    await store.write(work)


async def test_token_is_looked_up_once(store: CountingStore, credentials: Credentials) -> None:
    """Requests do not wait for the store."""
    text = await add_token(store, "a")
    found = [await credentials.holder(text) for _ in range(10)]
    assert {it.name for it in found} == {"a"}
    assert store.reads == 1


async def test_token_that_is_revoked_during_the_very_first_look_is_revoked(
    store: CountingStore, credentials: Credentials
) -> None:
    """The look finds the store after it, and a token was found before."""
    text = await add_token(store, "a")
    read = store.read

    async def late(work: Callable[[Reader], T]) -> T:
        if asyncio.current_task() is look:
            await may_look.wait()
        return await read(work)

    store.read = late  # type: ignore[method-assign]
    may_look = asyncio.Event()
    look = asyncio.create_task(credentials.refresh())
    await asyncio.sleep(0)
    await credentials.holder(text)
    await revoke(store, "a")
    may_look.set()
    await look
    assert await is_revoked(credentials, text)


@pytest.mark.parametrize("text", ["", "mon_", "Bearer", "x" * 1_000_000, "mon_\0", "mon_é"])
async def test_what_is_no_token_costs_no_look(store: CountingStore, credentials: Credentials, text: str) -> None:
    """Refused by its form."""
    with pytest.raises(TokenMalformed):
        await credentials.holder(text)
    assert store.reads == 0


@pytest.mark.parametrize("changes", [{}, {"revoked_us": 5}, {"expires_us": 5}])
async def test_who_has_not_the_secret_learns_nothing(
    store: CountingStore, credentials: Credentials, changes: dict[str, int]
) -> None:
    """A known id and an unknown one are refused alike, whatever became of the token."""
    await add_token(store, "a", **changes)
    said = []
    for name in ("a", "b"):
        with pytest.raises(TokenInvalid) as refused:
            await credentials.holder(token_text(make_token(name).id, b"x" * SECRET_BYTES))
        said.append((refused.value.message, refused.value.details))
    assert said[0] == said[1]


async def test_expired_one_says_so_to_its_holder(
    store: CountingStore, credentials: Credentials, clock: ManualClock
) -> None:
    """From the very moment on, also while it is held in memory."""
    text = await add_token(store, "a", expires_us=clock.now_us() + 1)
    await credentials.holder(text)
    await clock.advance(1e-6)
    for _ in range(2):
        with pytest.raises(TokenExpired):
            await credentials.holder(text)


async def test_revoked_at_the_desk_is_dead_at_once(
    store: CountingStore, credentials: Credentials, clock: Clock
) -> None:
    """In the process that revokes it, no loop running; listeners hear of it."""
    text, heard = await add_token(store, "a"), list[str]()
    desk = Tokens(
        store=store, audit=Audit(store, clock), credentials=credentials, clock=clock, random_bytes=lambda n: b"r" * n
    )
    credentials.on_revoked(heard.append)
    await credentials.holder(text)
    await desk.revoke(ADMIN, make_token("a").id)
    assert await is_revoked(credentials, text)
    assert heard == [make_token("a").id]


async def test_revoked_elsewhere_is_dead_within_a_second(
    store: CountingStore, credentials: Credentials, clock: ManualClock
) -> None:
    """The loop notices; what is not concerned stays held."""
    text, other, heard = await add_token(store, "a"), await add_token(store, "b"), list[str]()
    credentials.on_revoked(heard.append)
    await credentials.holder(text)
    await credentials.holder(other)
    async with kept_up(credentials):
        await revoke(store, "a")
        assert not await is_revoked(credentials, text)  # it is held, and nobody has looked
        await clock.advance(1)
        assert await is_revoked(credentials, text)
    assert heard == [make_token("a").id]
    assert (await credentials.holder(other)).name == "b"


async def test_expiry_is_told_to_listeners(store: CountingStore, credentials: Credentials, clock: ManualClock) -> None:
    """Though nobody asks with it any more: a stream may hang on it."""
    text, heard = await add_token(store, "a", expires_us=clock.now_us() + 1), list[str]()
    credentials.on_revoked(heard.append)
    await credentials.holder(text)
    async with kept_up(credentials):
        await clock.advance(1)
    assert heard == [make_token("a").id]


async def test_lookup_that_a_revocation_overtakes_is_done_again(store: CountingStore, clock: Clock) -> None:
    """A snapshot from before it must not be held after it: nobody would look again."""
    text = await add_token(store, "a")
    other = await add_token(store, "b")

    class Overtaken(Credentials):
        async def overtake(self) -> None:
            await revoke(store, "a")
            await self.refresh()

    credentials = Overtaken(store, clock)
    await credentials.holder(other)
    read, once = store.read, [True]

    async def slow_read(work: Callable[[Reader], T]) -> T:
        found = await read(work)
        if once and once.pop():
            await credentials.overtake()
        return found

    store.read = slow_read  # type: ignore[method-assign]
    assert await is_revoked(credentials, text)


async def test_store_that_is_away_locks_nobody_out(
    store: CountingStore, credentials: Credentials, clock: ManualClock
) -> None:
    """What is held holds on; the loop goes on and notices when it is back."""
    text = await add_token(store, "a")
    await credentials.holder(text)
    async with kept_up(credentials):
        store.fails, before = True, store.reads
        await clock.advance(2)
        assert store.reads > before + 1
        assert (await credentials.holder(text)).name == "a"
        store.fails = False
        await revoke(store, "a")
        await clock.advance(1)
        assert await is_revoked(credentials, text)


async def test_last_use_is_kept_to_the_minute(
    store: CountingStore, credentials: Credentials, clock: ManualClock
) -> None:
    """By the loop, not by requests: a thousand in a minute cause one write."""
    text = await add_token(store, "a")

    async def last_used_us() -> int | None:
        found = (await store.read(lambda reader: reader.find_token(make_token("a").id))).token
        return None if found is None else found.last_used_us

    first_us, writes = clock.now_us(), store.writes
    async with kept_up(credentials):
        for _ in range(1000):
            await credentials.holder(text)
        await clock.advance(USED_TO_US / 2e6)
        await credentials.holder(text)
        await clock.advance(1)
        assert await last_used_us() == first_us
        assert store.writes == writes + 1
        await clock.advance(USED_TO_US / 2e6)
        await credentials.holder(text)
        await clock.advance(1)
        assert (await last_used_us() or 0) >= first_us + USED_TO_US
        assert store.writes == writes + 2


# --- who guesses -----------------------------------------------------------------------------------------------------

NAT = "203.0.113.9"


def guess(number: int) -> str:
    """A token that nobody made."""
    return token_text(f"tok_{number:016x}", b"g" * SECRET_BYTES)


async def flood(credentials: Credentials, count: int, address: str | None = NAT) -> list[MonitorError]:
    """What so many guesses at once are told."""
    told = await asyncio.gather(
        *(credentials.holder(guess(number), address) for number in range(count)), return_exceptions=True
    )
    return [it for it in told if isinstance(it, MonitorError)]


async def test_guesses_of_an_address_cost_the_store_so_many_looks(
    store: CountingStore, credentials: Credentials, clock: ManualClock
) -> None:
    """A thousand at once, too; whoever guesses on is told when to come back, and then has as many again."""
    for _ in range(2):
        before = store.reads
        told = await flood(credentials, 1000)
        assert [type(it) for it in told].count(TokenInvalid) == MOST_FAILURES
        refused = [it for it in told if isinstance(it, RateLimited)]
        assert (len(refused), refused[0].retry_after_s) == (1000 - MOST_FAILURES, WINDOW_S)
        assert store.reads - before <= MOST_FAILURES + 1
        assert {type(it) for it in await flood(credentials, 1, "203.0.113.10")} == {TokenInvalid}
        await clock.advance(WINDOW_S - 0.001)
        assert {type(it) for it in await flood(credentials, 1)} == {RateLimited}
        await clock.advance(0.001)


async def test_good_token_passes_whoever_guesses_at_its_address(
    store: CountingStore, credentials: Credentials, clock: ManualClock
) -> None:
    """Held or never seen before, made before the flood or during it, also by another process; a dead one does not."""
    held, new = await add_token(store, "held"), await add_token(store, "new")
    dead = await add_token(store, "dead", revoked_us=5)
    over = await add_token(store, "over", expires_us=clock.now_us() + 2_000_000)
    await credentials.holder(held, NAT)
    async with kept_up(credentials):
        await clock.advance(1)
        await flood(credentials, 1000)
        for text in (held, new):
            assert (await credentials.holder(text, NAT)).name in ("held", "new")
        late = await add_token(store, "late")
        await clock.advance(1)
        assert (await credentials.holder(late, NAT)).name == "late"
        await clock.advance(1)
        before = store.reads
        for text in (dead, over):
            with pytest.raises(RateLimited):
                await credentials.holder(text, NAT)
        assert store.reads == before


async def test_good_tokens_are_no_failures(store: CountingStore, credentials: Credentials) -> None:
    """However many are seen for the first time at once."""
    texts = [await add_token(store, f"{number:04}") for number in range(MOST_FAILURES)]
    found = await asyncio.gather(*(credentials.holder(text, NAT) for text in texts[:-1]))
    assert len(found) == MOST_FAILURES - 1
    assert {type(it) for it in await flood(credentials, MOST_FAILURES)} == {TokenInvalid}
    assert (await credentials.holder(texts[-1], NAT)).name == f"{MOST_FAILURES - 1:04}"


async def test_network_of_ipv6_is_one_address(credentials: Credentials) -> None:
    """Everybody has 2^64 of them; an IPv4 address inside IPv6 is that address."""
    for number in range(MOST_FAILURES):
        await flood(credentials, 1, f"2001:db8::{number:x}")
    assert {type(it) for it in await flood(credentials, 1, "2001:db8::ffff:1")} == {RateLimited}
    assert {type(it) for it in await flood(credentials, 1, "2001:db8:0:1::1")} == {TokenInvalid}
    await flood(credentials, MOST_FAILURES, f"::ffff:{NAT}")
    assert {type(it) for it in await flood(credentials, 1)} == {RateLimited}


async def test_addresses_that_are_kept_are_bounded(clock: ManualClock) -> None:
    """A flood from many takes no more memory; what is no address at all is one."""
    failures = Failures(clock)
    for number in range(30_000):
        failures.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    for nothing in (None, "", "unix:", "999.1.1.1"):
        failures.add(nothing)
    assert failures.statistics() == 10_000
