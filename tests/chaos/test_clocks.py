"""Wall clocks are wrong by minutes, and are set while everything runs: nothing is judged, sent or counted by them."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.chaos.conftest import Shaken
from tests.support.debian import Unavailable
from tests.support.service import LATE_S, Service, eventually
from tests.support.wrong_clocks import WrongClock

MINUTES_S = 600


@pytest.fixture
def clock(tmp_path: Path) -> WrongClock:
    """To be given to a process."""
    try:
        return WrongClock(tmp_path)
    except Unavailable as error:
        pytest.skip(f"no wrong clocks: {error}")


async def test_clock_set_ahead_and_back(on_kafka: Shaken, clock: WrongClock, long_form: bool) -> None:
    """Ten minutes ahead, then as many behind, in the middle of the load."""
    async with on_kafka() as house:
        [service] = house.projectors
        service.environment |= clock.environment
        assert await service.stop() == 0
        await house.restart(service)
        for ahead_s in (MINUTES_S, -MINUTES_S, 0) * (5 if long_form else 1):
            clock.set(ahead_s)
            await goes(service, ahead_s)
            await house.load.more(300)


async def goes(service: Service, ahead_s: float) -> None:
    """Return when the process goes by the time that it was given, which it tells with every answer."""

    async def is_set() -> bool:
        async with service.client() as client:
            said = parsedate_to_datetime((await client.get("/livez")).headers["date"])
        return abs((said - datetime.now(UTC)).total_seconds() - ahead_s) < LATE_S

    await eventually(is_set)
