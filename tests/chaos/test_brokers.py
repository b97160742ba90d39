"""Brokers are killed, frozen and restarted, their leaders move, and too few of them are left.

What was acknowledged is there once, subscribers and receivers miss nothing, and all goes on by itself.
"""

import pytest

from tests.chaos.conftest import Shaken
from tests.chaos.house import House, lasting

# A minute of silence, and what it takes to make up for it.
pytestmark = pytest.mark.timeout(1800)


async def test_broker_killed(on_kafka: Shaken, long_form: bool) -> None:
    """SIGKILL to the broker that leads a partition, again and again in the long form; it comes back later."""
    async with on_kafka() as house:
        for _ in range(10 if long_form else 1):
            [node, *_] = (await house.cluster.leaders(house.topic)).values()
            house.cluster.kill(node)
            await house.load.more(500)
            await house.cluster.launch(node)
            await house.cluster.healed()


async def test_broker_frozen(on_kafka: Shaken, long_form: bool) -> None:
    """SIGSTOP to a leader, for longer than a request waits for its answer, or a whole minute."""
    async with on_kafka() as house:
        [node, *_] = (await house.cluster.leaders(house.topic)).values()
        house.cluster.broker(node).pause()
        await lasting(60.0 if long_form else 7.0)
        house.cluster.broker(node).resume()
        await house.load.more(300)


async def test_whole_cluster_restarted(on_kafka: Shaken, long_form: bool) -> None:
    """SIGKILL to all brokers at once; who takes events in dies as well before any is back."""
    async with on_kafka() as house:
        for _ in range(5 if long_form else 1):
            house.cluster.kill()
            await lasting(60.0 if long_form else 1.0)
            # Had anything been acknowledged since, it would be gone now.
            for gateway in house.gateways:
                gateway.kill()
            await house.cluster.launch()
            await house.restart(*house.gateways)
            await house.load.more(300)


async def test_leaders_moved(on_kafka: Shaken, long_form: bool) -> None:
    """Every partition is led by another broker, and another, while all of them run."""
    async with on_kafka() as house:
        for _ in range(30 if long_form else 3):
            await house.cluster.move_leaders(house.topic)
            await house.load.more(200)


async def test_under_replicated_write_refused(on_kafka: Shaken, long_form: bool) -> None:
    """With two of three brokers down nobody is told that an event is safe; once they are back, it is."""
    async with on_kafka() as house:
        await house.load.pause()
        house.cluster.kill(1, 2)
        refusal = await house.refused()
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (503, "JOURNAL_UNAVAILABLE")
        assert "may or may not be there" in refusal.json()["error"]["message"]
        await house.cluster.launch(1, 2)
        house.load.start()
        await house.load.more(300)
        if long_form:
            await one_too_few(house)


async def one_too_few(house: House) -> None:
    """All of them are asked to have what is acknowledged, and one lacks: the brokers themselves say no."""
    await house.cluster.healed()
    await house.load.pause()
    await house.cluster.require_in_sync(house.topic, 3)
    house.cluster.kill(1)
    assert (await house.refused()).status_code == 503
    await house.cluster.launch(1)
    house.load.start()
    await house.load.more(300)
