"""Wall clocks are wrong by minutes, and are set while everything runs: nothing is judged, sent or counted by them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.chaos.conftest import Shaken
from tests.chaos.house import House
from tests.support.debian import Unavailable
from tests.support.service import LATE_S, Service, eventually
from tests.support.wrong_clocks import WrongClock

# Seven processes, of which some are started twice.
pytestmark = pytest.mark.timeout(900)

MINUTES_S = 600


@pytest.fixture
def clocks(tmp_path: Path) -> Sequence[WrongClock]:
    """To be given to processes, each its own."""
    try:
        return [WrongClock(tmp_path / f"clock-{number}") for number in range(4)]
    except Unavailable as error:
        pytest.skip(f"no wrong clocks: {error}")


# The short form is part of the other one.
@pytest.mark.long
async def test_clock_set_ahead_and_back(on_kafka: Shaken, clocks: Sequence[WrongClock]) -> None:
    """Ten minutes ahead, then as many behind, in the middle of the load."""
    async with on_kafka() as house:
        [service] = house.projectors
        await given(house, {clocks[0]: service})
        for ahead_s in (MINUTES_S, -MINUTES_S, 0) * 5:
            clocks[0].set(ahead_s)
            await goes(service, ahead_s)
            await house.load.more(300)


async def test_clocks_of_some_are_wrong(spread: Shaken, clocks: Sequence[WrongClock], long_form: bool) -> None:
    """One of each role is ahead or behind by minutes, while the others go right: no lease moves, nobody is misled."""
    async with spread() as house:
        wrong = [house.projectors[0], house.gateways[0], house.deliverers[0], house.gateways[1]]
        of = dict(zip(clocks, wrong, strict=True))
        await given(house, of)
        for turn in range(6 if long_form else 2):
            for number, (clock, service) in enumerate(of.items()):
                ahead_s = MINUTES_S * (-1) ** (number + turn)
                clock.set(ahead_s)
                await goes(service, ahead_s)
            await house.load.more(200)


async def given(house: House, of: Mapping[WrongClock, Service]) -> None:
    """Start them anew, each with its clock."""
    for clock, service in of.items():
        service.environment |= clock.environment
        assert await service.stop() == 0
        service.launch()
    for service in of.values():
        await service.ready()


async def goes(service: Service, ahead_s: float) -> None:
    """Return when the process goes by the time that it was given, which it tells with every answer."""

    async def is_set() -> bool:
        async with service.client() as client:
            said = parsedate_to_datetime((await client.get("/livez")).headers["date"])
        return abs((said - datetime.now(UTC)).total_seconds() - ahead_s) < LATE_S

    await eventually(is_set)
