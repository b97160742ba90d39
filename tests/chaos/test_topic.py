"""The topic itself is not what it was: cut, deleted and created again, or given more partitions."""

from contextlib import AsyncExitStack

import pytest

from tests.chaos.archive import Archive
from tests.chaos.conftest import Shaken
from tests.chaos.house import House
from tests.chaos.load import event_id, journal_door
from tests.support.kafka_topics import delete_before

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("how", ["frozen", pytest.param("killed", marks=pytest.mark.long)])
async def test_retention_cut_below_the_stored_offset(on_kafka: Shaken, how: str) -> None:
    """While nobody folds, records are told and cut. What is gone is named, and subscribers are told of the gap."""
    async with on_kafka() as house, AsyncExitStack() as stack:
        [service] = house.projectors
        await house.load.pause()
        await house.caught_up()
        if how == "frozen":
            service.pause()
        else:
            service.kill()
        journal = await house.open_journal(stack)
        house.load.door = journal_door(journal)
        await house.load.tell(400)
        house.archive = Archive(journal)
        await house.archive.add(journal)
        first_left = (await journal.bounds())[0].end - 20
        await delete_before(house.cluster, house.topic, first_left)
        await house.load.tell(400)
        if how == "frozen":
            service.resume()
        else:
            await house.restart(service)
        await house.load.tell(200)
        await house.caught_up()
        async with service.client() as client:
            [row] = (await client.get("/v1/quarantine")).json()["data"]
        assert (row["reason"], row["partition"]) == ("retention_cut", 0)
        assert f"records {row['offset']} to {first_left - 1}" in row["message"]
        house.cut = {event_id(record) for record in house.archive.forget(0, row["offset"], first_left)}
        house.load.door = house.door
        house.load.start()
    counts = house.promises["G4 G5 one truth, no gap"].counts
    assert counts["losses announced"] >= counts["subscribers"]
    assert house.cut


async def test_topic_deleted_and_created_again(on_kafka: Shaken) -> None:
    """The service ends, refuses to start and names the cure; with that, subscribers are told that all begins anew."""
    async with on_kafka() as house:
        await house.load.pause()
        await house.caught_up()
        house.load.door = house.door
        await house.cluster.drop_topic(house.topic)
        await house.cluster.make_topic(house.topic, house.shape.partitions)
        await ended(house, "was deleted and created again")
        await cured(house, "move store.db away")
        house.load.acknowledged.clear()
        house.load.start()
        await house.load.more(300)
    assert all(client.diary.counts["stream.reset incarnation"] for client in house.clients)


async def test_partitions_added(on_kafka: Shaken) -> None:
    """Keys move to other partitions, so that the store is another journal's: the same, but nothing is gone."""
    async with on_kafka() as house:
        await house.cluster.add_partitions(house.topic, 5)
        await ended(house, "has 5 partitions now, not 3: keys have moved")
        await house.load.give_up()
        await cured(house, "with 3 partition(s), not")
        house.load.start()
        await house.load.more(300)
    assert all(client.diary.counts["stream.reset incarnation"] for client in house.clients)


async def ended(house: House, why: str) -> None:
    """The service notices, says why and tells its subscribers before it is gone."""
    [service] = house.projectors
    assert await service.ended() == 1
    assert why in service.log.read_text()
    assert all(client.diary.counts["stream.drain"] for client in house.readers)


async def cured(house: House, cure: str) -> None:
    """It does not start with the store that it has, and says what to do; that is done."""
    [service] = house.projectors
    service.launch()
    assert await service.ended() == 2
    assert cure in service.log.read_text().splitlines()[-1]
    for file in service.data.glob("store.db*"):
        file.rename(service.data / f"old-{file.name}")
    await house.probe.stop()
    house.is_begun_anew = True
    await house.restart(service)
