"""Processes of the service are killed at any instruction: in the middle of a batch, a flush, a send."""

import random
from typing import Final

import pytest

from tests.chaos.conftest import Shaken
from tests.chaos.house import SEED, lasting
from tests.chaos.shape import Shape
from tests.support.receiver import answering, hanging

# A hundred kills take longer than a test usually may.
pytestmark = pytest.mark.timeout(3600)

ALONE: Final = Shape()
"""One process does everything."""


async def test_killed_at_random(on_kafka: Shaken, long_form: bool) -> None:
    """SIGKILL to who folds, again and again."""
    chance = random.Random(SEED)
    async with on_kafka(ALONE) as house:
        for number in range(100 if long_form else 5):
            [*projectors] = house.projectors
            projector = projectors[number % len(projectors)]
            await lasting(chance.uniform(0.02, 0.4))  # the random instant
            projector.kill()
            await house.restart(projector)
        await house.everybody_is_back()


async def test_gateway_killed_in_the_middle_of_a_flush(on_kafka: Shaken, long_form: bool) -> None:
    """Its clients have half of what was told; wherever they come back, they get the other half."""
    chance = random.Random(SEED)
    async with on_kafka(ALONE._replace(clients=500 if long_form else 50)) as house:
        for number in range(10 if long_form else 2):
            gateway = house.gateways[number % len(house.gateways)]
            await house.load.more(100)
            await lasting(chance.uniform(0.0, 0.05))  # the random instant
            gateway.kill()
            await house.restart(gateway)
            await house.everybody_is_back()


async def test_deliverer_killed_in_the_middle_of_sends(on_kafka: Shaken, long_form: bool) -> None:
    """What was being sent comes again, under the same id and with the same bytes, and both sends are on record."""
    async with on_kafka(ALONE) as house:
        for number in range(10 if long_form else 1):
            deliverer = house.deliverers[number % len(house.deliverers)]
            house.receiver.behave(hanging)
            await house.receiver.received(len(house.receiver.requests) + 5)
            deliverer.kill()
            house.receiver.behave(answering(200))
            await house.restart(deliverer)
            await house.load.more(100)
    sent = house.promises["G7 webhooks"].counts
    assert sent["repeated"] >= 5
    assert sent["attempts recorded"] >= sent["requests"]
