"""The topic itself is not what it was: cut, deleted and created again, or given more partitions."""

from contextlib import AsyncExitStack

import pytest

from tests.chaos.archive import Archive
from tests.chaos.conftest import Shaken
from tests.chaos.load import event_id, journal_door
from tests.support.kafka_topics import delete_before

pytestmark = pytest.mark.timeout(900)


async def test_retention_cut_below_the_stored_offset(on_kafka: Shaken) -> None:
    """While nobody folds, records are told and cut. What is gone is named, and subscribers are told of the gap."""
    async with on_kafka() as house, AsyncExitStack() as stack:
        [service] = house.projectors
        await house.load.pause()
        await house.caught_up()
        service.kill()
        journal = await house.open_journal(stack)
        house.load.door = journal_door(journal)
        house.archive = Archive(journal)
        await house.archive.add(journal)
        folded = {partition: held.end for partition, held in (await journal.bounds()).items()}
        await house.load.tell(400)
        cut_at = folded[0] + 50
        house.cut = {event_id(record) for record in await journal.read(0, folded[0], cut_at, 50)}
        await delete_before(house.cluster, house.topic, cut_at)
        await house.load.tell(400)
        await house.restart(service)
        house.load.door = house.door
        house.load.start()
        await house.load.more(200)
        async with service.client() as client:
            [row] = (await client.get("/v1/quarantine")).json()["data"]
            assert (row["reason"], row["partition"], row["offset"]) == ("retention_cut", 0, folded[0])
            assert f"records {folded[0]} to {cut_at - 1}" in row["message"]
    assert house.promises["G4 G5 one truth, no gap"].counts["losses announced"] > 0
