"""Subscribers are told when the service stands still while events wait, once, and when it goes on."""

import json
from collections.abc import Mapping

import pytest

from monitor.errors import StoreUnavailable
from monitor.events.codec import format_time
from monitor.fanout.channels import Selection, Subscription
from monitor.fanout.standstill import Standstill
from monitor.fanout.wires import WEBSOCKET
from tests.support.clocks import NOON_US, ManualClock
from tests.support.released import World, subscribed

EVERYTHING = Selection("default", frozenset({Subscription(frozenset({"executions"}))}))


class Lag:
    """What waits, as the test says; None = nobody knows."""

    def __init__(self) -> None:
        self.records: int | None = 0

    async def __call__(self) -> Mapping[int, int]:
        if self.records is None:
            raise StoreUnavailable
        return {0: self.records}


class Watched:
    """A hub with one subscriber, watched for a standstill."""

    def __init__(self) -> None:
        self.clock, self.lag = ManualClock(NOON_US), Lag()
        self.world = World(clock=self.clock)
        self.hub = self.world.hub()
        self.reader = subscribed(self.hub, EVERYTHING, WEBSOCKET)
        self.standstill = Standstill(self.hub, self.lag, self.clock)

    async def look(self, seconds: int) -> list[tuple[str, object]]:
        """Look for so many seconds; what the subscriber was told: types and lags."""
        for _ in range(seconds):
            await self.clock.advance(1.0)
            await self.standstill.look()
        return told(self.reader._take_replies())


def told(messages: list[bytes]) -> list[tuple[str, object]]:
    """Type and lag of control frames."""
    return [(frame["type"], frame.get("lag")) for frame in map(json.loads, messages)]


@pytest.fixture
def watched() -> Watched:
    """Nothing has happened yet."""
    return Watched()


async def test_silence_is_no_standstill(watched: Watched) -> None:
    """When nothing waits, everything there is was told."""
    assert await watched.look(60) == []


@pytest.mark.parametrize("lag", [3, None])
async def test_what_waits_for_five_seconds_is_told_once(watched: Watched, lag: int | None) -> None:
    """Also when nobody can say how much; and once more when it goes on."""
    watched.lag.records = lag
    assert await watched.look(4) == []
    assert await watched.look(30) == [("stream.stale", lag)]
    watched.lag.records = 0
    assert await watched.look(1) == [("stream.fresh", None)]
    assert await watched.look(30) == []


async def test_a_backlog_that_is_worked_off_is_no_standstill(watched: Watched) -> None:
    """However long it takes, as long as the position moves."""
    watched.lag.records = 1000
    for _ in range(20):
        assert await watched.look(3) == []
        await watched.world.append()
        watched.world.publish(watched.hub)


async def test_newcomers_are_told_as_well(watched: Watched) -> None:
    """Since when, as the others were."""
    watched.lag.records = 7
    await watched.look(10)
    newcomer = subscribed(watched.hub, EVERYTHING, WEBSOCKET)
    [frame] = map(json.loads, newcomer._take_replies())
    assert frame == {"type": "stream.stale", "since": format_time(NOON_US), "lag": 7}
