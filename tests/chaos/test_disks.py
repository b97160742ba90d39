"""A disk is full: whoever tells is refused, whoever watches hears that it stands still; with room, all goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.conftest import Shaken
from tests.chaos.house import House
from tests.support.service import eventually
from tests.support.small_disk import SmallDisk, can_mount, small_disk

pytestmark = pytest.mark.timeout(900)


ROOM_BYTES: Final = 64 << 20
"""What the load of ten rounds takes, several times."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """One of our own."""
    if not can_mount():
        pytest.skip("only root may mount a small disk")
    with small_disk(tmp_path / "disk", ROOM_BYTES) as disk:
        yield disk


async def test_full_for_the_journal(by_itself: Shaken, disk: SmallDisk, tmp_path: Path, long_form: bool) -> None:
    """An event that cannot be written down is not acknowledged."""
    placed(tmp_path / "all-1", "journal.db", disk)
    async with by_itself() as shaken:
        for _ in range(10 if long_form else 1):
            disk.fill()
            await refused(shaken)
            disk.free()
            await shaken.load.more(200)


async def test_full_for_the_store(on_kafka: Shaken, disk: SmallDisk, tmp_path: Path, long_form: bool) -> None:
    """Events wait in the journal, and subscribers are told that what they see is old."""
    placed(tmp_path / "all-1", "store.db", disk)
    async with on_kafka() as shaken:
        for _ in range(10 if long_form else 1):
            disk.fill()
            await told_stale(shaken)
            disk.free()
            await told_fresh(shaken)


def placed(folder: Path, name: str, disk: SmallDisk) -> None:
    """Let a file of the data folder lie on the small disk, with all that SQLite keeps beside it."""
    folder.mkdir()
    (folder / name).symlink_to(disk.folder / name)


async def refused(house: House) -> None:
    """Return when the load was."""
    before = house.door.answers[503]

    async def is_refused() -> bool:
        return house.door.answers[503] > before

    await eventually(is_refused, what=lambda: f"{house.door.answers}")


async def told_stale(house: House) -> None:
    """Return when everybody who reads was."""
    before = [client.diary.counts["stream.stale"] for client in house.readers]

    async def are_told() -> bool:
        now = [client.diary.counts["stream.stale"] for client in house.readers]
        return all(new > old for new, old in zip(now, before, strict=True))

    await eventually(are_told)


async def told_fresh(house: House) -> None:
    """Return when everybody knows that what they see is news again: only then it can get old once more."""

    async def are_told() -> bool:
        counts = [client.diary.counts for client in house.readers]
        return all(it["stream.fresh"] == it["stream.stale"] for it in counts)

    await eventually(are_told, what=lambda: f"{[client.diary.counts for client in house.readers]}")
