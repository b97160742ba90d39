"""What happens every day: each process is replaced by a new one, and clients go from one gateway to another."""

import pytest

from tests.chaos.conftest import Shaken
from tests.chaos.house import lasting

# Seven processes, one after the other, each with a start of some seconds.
pytestmark = pytest.mark.timeout(1800)


async def test_rolling_restart(spread: Shaken, long_form: bool) -> None:
    """One after the other drains, ends with 0 and is started again, while events are told: nobody outside notices."""
    async with spread() as house:
        for _ in range(3 if long_form else 1):
            for service in house.services.values():
                assert await service.stop() == 0, service.log.read_text()
                await house.restart(service)
                await house.load.more(100)
        await house.everybody_is_back()
    assert house.promises["G4 G5 one truth, no gap"].counts["losses of those who read on"] == 0


async def test_clients_move_between_gateways(spread: Shaken, long_form: bool) -> None:
    """Cut off again and again, each comes back to the next gateway with the position that the last one told it."""
    async with spread() as house:
        for _ in range(30 if long_form else 4):
            for client in house.clients:
                client.cut()
            await house.load.more(100)
            await house.everybody_is_back()
            await lasting(0.2)  # some go on with a snapshot, some without
    moved = house.promises["G4 G5 one truth, no gap"].counts
    assert moved["connections lost"] >= len(house.clients) * (30 if long_form else 4)
    assert moved["losses of those who read on"] == 0
