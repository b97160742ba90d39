"""Rates: so many requests in any second and no more, told with every answer."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import httpx
import pytest

from monitor.access.principal import LOCAL, Principal
from monitor.app import Parts, create_app, open_parts
from monitor.errors import RateLimited
from monitor.settings import read_settings
from monitor.web.rates import Rates
from tests.support.clocks import NOON_US, ManualClock
from tests.support.tokens import add_token, bearer

CI = Principal("acme", "ci", "admin", token_id="tok_1")


async def test_window_moves_with_the_clock() -> None:
    """Not by whole seconds: at the edge of one, nobody gets twice as many."""
    clock = ManualClock()
    rates = Rates(clock, 2)
    left = []
    for pause_s in (0.9, 0.05):
        await clock.advance(pause_s)
        rate = rates.take(CI)
        assert rate is not None
        left.append((rate.limit, rate.remaining))
    assert left == [(2, 1), (2, 0)]
    await clock.advance(0.1)
    with pytest.raises(RateLimited) as refused:
        rates.take(CI)
    assert refused.value.retry_after_s == 1
    await clock.advance(0.849999)
    with pytest.raises(RateLimited):
        rates.take(CI)
    await clock.advance(0.000001)
    assert rates.take(CI) is not None


async def test_no_second_holds_more_than_the_limit() -> None:
    """Whatever the pace; and what is refused does not count."""
    clock, random, taken = ManualClock(), Random(7), list[int]()
    rates = Rates(clock, 5)
    for _ in range(2000):
        await clock.advance(random.choice((0.0, 0.001, 0.05, 0.2, 0.7)))
        try:
            rates.take(CI)
        except RateLimited:
            continue
        taken.append(clock.now_us())
    assert all(later - earlier >= 1_000_000 for earlier, later in zip(taken, taken[5:], strict=False))
    assert any(later - earlier < 1_000_000 for earlier, later in zip(taken, taken[4:], strict=False))


async def test_tokens_do_not_use_up_each_others() -> None:
    """Each has its own window, and its own rate where it has one; who needs no token is not limited."""
    clock = ManualClock()
    rates = Rates(clock, 1)
    fast = Principal("acme", "fast", "admin", token_id="tok_2", rate=3)
    for _ in range(3):
        rates.take(fast)
        rates.take(LOCAL)
    rates.take(CI)
    for who in (CI, fast):
        with pytest.raises(RateLimited):
            rates.take(who)


async def test_headers_tell_when_all_of_it_is_back() -> None:
    """In seconds, and in Unix time."""
    clock = ManualClock()
    rate = Rates(clock, 9).take(CI)
    assert rate is not None
    assert rate.headers() == {
        "ratelimit-limit": "9",
        "ratelimit-remaining": "8",
        "ratelimit-reset": "1",
        "x-ratelimit-limit": "9",
        "x-ratelimit-remaining": "8",
        "x-ratelimit-reset": str(NOON_US // 1_000_000 + 1),
    }


async def test_windows_that_have_passed_are_forgotten() -> None:
    """A hundred thousand tokens leave no more behind than the latest ten thousand."""
    clock = ManualClock()
    rates = Rates(clock, 1)
    for number in range(30_000):
        if number % 5000 == 0:
            await clock.advance(2)
        rates.take(Principal("acme", "x", "viewer", token_id=f"tok_{number}"))
    assert len(rates._windows) <= 15_000


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A service whose clock stands."""
    async with open_parts(read_settings({}, data=tmp_path / "data", rate_limit=2), ManualClock()) as opened:
        yield opened


async def test_service_refuses_and_tells(parts: Parts) -> None:
    """429 with all headers; refusals of other kinds count and tell too, streams count when they open."""
    transport = httpx.ASGITransport(create_app(parts))
    ci, sender = bearer(await add_token(parts.store, "ci")), bearer(await add_token(parts.store, "s", rate=1))
    async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as client:
        first = await client.get("/v1/executions", headers=ci)
        missing = await client.get("/v1/executions/none", headers=ci)
        refused = await client.get("/v1/executions", headers=ci)
        assert [first.status_code, missing.status_code, refused.status_code] == [200, 404, 429]
        assert [it.headers["ratelimit-remaining"] for it in (first, missing, refused)] == ["1", "0", "0"]
        assert refused.json()["error"]["code"] == "RATE_LIMITED"
        assert (refused.headers["retry-after"], refused.headers["x-ratelimit-limit"]) == ("1", "2")
        lines = {**sender, "accept": "application/x-ndjson"}
        wrong = await client.get("/v1/executions/stream", params={"x": "y"}, headers=lines)
        late = await client.get("/v1/executions/stream", headers=lines)
        assert [wrong.status_code, late.status_code] == [400, 429]
        assert late.headers["ratelimit-remaining"] == "0"
        nobody = await client.get("/v1/executions")
        assert (nobody.status_code, "ratelimit-limit" in nobody.headers) == (401, False)
