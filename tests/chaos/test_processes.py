"""Processes of the service are killed and frozen at any instruction: in the middle of a batch, a flush, a send.

Whoever else does the same work goes on with it; who comes back finds its place taken, or takes it again.
"""

import random

import pytest

from tests.chaos.conftest import Shaken
from tests.chaos.house import SEED, House, lasting
from tests.chaos.shape import SPREAD
from tests.support.receiver import answering, hanging
from tests.support.service import Service

# A hundred kills take longer than a test usually may.
pytestmark = pytest.mark.timeout(7200)


async def test_projectors_killed_at_random(spread: Shaken, long_form: bool) -> None:
    """SIGKILL to one of those who fold, again and again."""
    chance = random.Random(SEED)
    async with spread() as house:
        for number in range(100 if long_form else 2):
            projector = house.projectors[number % 2]
            await lasting(chance.uniform(0.02, 0.4))  # the random instant
            projector.kill()
            await house.restart(projector)


async def test_projectors_wake_up_as_zombies(spread: Shaken, long_form: bool) -> None:
    """Each in turn is frozen over what it does until the other has its partitions, and then goes on as if nothing were.

    While one wakes up the other falls asleep, so that each meets what the other left behind.
    """
    async with spread() as house:
        for number in range(20 if long_form else 2):
            zombie, other = house.projectors[number % 2], house.projectors[1 - number % 2]
            zombie.pause()
            await taken_over(house, other)
            zombie.resume()
            house.load.start()
            await house.load.more(100)


async def test_gateway_killed_in_the_middle_of_a_flush(spread: Shaken, long_form: bool) -> None:
    """Its clients have half of what was told; at another gateway they get the other half."""
    chance = random.Random(SEED)
    async with spread(SPREAD._replace(clients=500 if long_form else 50)) as house:
        for number in range(12 if long_form else 1):
            gateway = house.gateways[number % 3]
            await house.load.more(100)
            await lasting(chance.uniform(0.0, 0.05))  # the random instant
            gateway.kill()
            # The others are enough.
            await house.everybody_is_back()
            await house.load.more(100)
            await house.restart(gateway)


async def test_deliverer_killed_in_the_middle_of_sends(on_kafka: Shaken, long_form: bool) -> None:
    """What was being sent comes again, under the same id and with the same bytes, and both sends are on record."""
    async with on_kafka() as house:
        for _ in range(10 if long_form else 1):
            await killed_in_sends(house, house.deliverers[0])
            await house.restart(house.deliverers[0])
            await house.load.more(100)
    assert house.promises["G7 webhooks"].counts["repeated"] > 0


@pytest.mark.long
async def test_deliverer_that_died_is_stood_in_for(spread: Shaken) -> None:
    """Another one sends what was being sent, once the lease has ended."""
    async with spread() as house:
        for deliverer in house.deliverers:
            await killed_in_sends(house, deliverer)
            await house.load.pause()
            await house.delivered()
            await house.restart(deliverer)
            house.load.start()
    assert house.promises["G7 webhooks"].counts["repeated"] > 0


async def killed_in_sends(house: House, deliverer: Service) -> None:
    """While it waits for the receiver, as others may."""
    house.receiver.behave(hanging)
    await house.receiver.received(len(house.receiver.requests) + 10)
    deliverer.kill()
    house.receiver.behave(answering(200))
    house.receiver.hang_up()


async def taken_over(house: House, by: Service) -> None:
    """Return when everything that was told is folded by one of them. The load rests then."""
    await house.load.pause()
    await by.caught_up()
