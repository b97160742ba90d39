"""Journal and store that are out of step: the start is refused with exit code 2, and the cure that it names works."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.errors import StartupError
from monitor.keeping.backup import back_up, restore
from monitor.settings import Settings
from tests.support.folders import alter, mingled, opened, registered, told, unwatched
from tests.support.replay import contents

Fault = Callable[[Path, Path], None]
"""Spoils the first of two folders."""


def older_journal(data: Path, old: Path) -> None:
    """Somebody restored the journal alone."""
    shutil.copy(old / "journal.db", data / "journal.db")


def other_journal(data: Path, _: Path) -> None:
    """That of another folder."""
    shutil.copy(data.parent / "other" / "journal.db", data / "journal.db")


def swapped_stores(data: Path, _: Path) -> None:
    """The store of another folder, with its key."""
    shutil.copy(data.parent / "other" / "key", data / "key")
    shutil.copy(data.parent / "other" / "store.db", data / "store.db")


def lost_end(data: Path, _: Path) -> None:
    """Records at the journal's end are gone."""
    assert alter(data / "journal.db", "DELETE FROM records WHERE place > (SELECT max(place) FROM records) - 9") == 9


def changed_record(data: Path, _: Path) -> None:
    """The journal was written on from an older copy: the last record that was folded is another one."""
    last = "(SELECT max(place) FROM records)"
    assert alter(data / "journal.db", f"UPDATE records SET value = x'7b7d' WHERE place = {last}")  # noqa: S608


def torn_journal(data: Path, _: Path) -> None:
    """Half of its bytes are gone."""
    size_bytes = (data / "journal.db").stat().st_size
    with (data / "journal.db").open("r+b") as file:
        file.truncate(size_bytes // 2 // 4096 * 4096)
        file.write(b"\0" * 4096)


def no_journal_at_all(data: Path, _: Path) -> None:
    """Something else stands in its place."""
    (data / "journal.db").write_bytes(b"not a database" * 1000)


def missing_journal(data: Path, _: Path) -> None:
    """It is not there."""
    (data / "journal.db").unlink()


def swapped_files(data: Path, _: Path) -> None:
    """Each stands in the place of the other."""
    (data / "journal.db").rename(data / "x")
    (data / "store.db").rename(data / "journal.db")
    (data / "x").rename(data / "store.db")


FAULTS: dict[Fault, str] = {
    older_journal: r"folded up to \d+, but its journal ends at \d+",
    other_journal: "was built from journal",
    swapped_stores: "was built from journal",
    lost_end: r"folded up to \d+, but its journal ends at \d+",
    changed_record: "is not the one that was folded",
    no_journal_at_all: "is damaged or no journal at all",
    missing_journal: "is missing; put it back",
}


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A folder, an older copy of it, its backup, and another folder."""
    events = mingled(3, 12)
    async with opened(tmp_path / "data") as parts:
        await told(parts, events[:50])
    shutil.copytree(tmp_path / "data", tmp_path / "old")
    async with opened(tmp_path / "data") as parts:
        await registered(parts)
        await told(parts, events[50:])
    async with opened(tmp_path / "other") as parts:
        await told(parts, mingled(4, 12))
    await back_up(Settings(data=tmp_path / "data"), tmp_path / "backup", unwatched, with_key=True)
    return tmp_path / "data"


async def shown(data: Path) -> dict[str, object]:
    """The executions that a service on this folder shows."""
    async with opened(data) as parts:
        await parts.pipeline.catch_up()
        return {"executions": (await contents(parts.store))["executions"]}


async def refusal(data: Path) -> str:
    """What it says instead of starting."""
    with pytest.raises(StartupError) as refused:
        await shown(data)
    assert refused.value.exit_code == 2
    assert "\n" not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_refused_with_cures_that_work(data: Path, fault: Fault) -> None:
    """Both of one backup in an empty folder; or anew from the journal that there is, without webhooks."""
    before = await shown(data)
    fault(data, data.parent / "old")
    said = await refusal(data)
    assert re.search(FAULTS[fault], said)
    assert await refusal(data) == said, "refusing has changed something"
    assert "`monitor restore`" in said
    await restore(Settings(data=data.parent / "restored"), data.parent / "backup", unwatched)
    assert await shown(data.parent / "restored") == before
    assert "move" in said
    assert "store.db" in said
    is_lost = fault in {no_journal_at_all, missing_journal}
    (data / "store.db").unlink()
    if is_lost:
        (data / "journal.db").unlink(missing_ok=True)
    anew = await shown(data)
    assert bool(anew["executions"]) is not is_lost


async def test_torn_journal_is_refused_or_read_to_its_end(data: Path) -> None:
    """Damage inside shows where it is read; then the backup is the cure."""
    before = await shown(data)
    torn_journal(data, data)
    assert "`monitor restore`" in await refusal(data)
    await restore(Settings(data=data.parent / "restored"), data.parent / "backup", unwatched)
    assert await shown(data.parent / "restored") == before


async def test_swapped_files_are_named(data: Path) -> None:
    """Each is told as what it is not; put back, they work."""
    before = await shown(data)
    swapped_files(data, data)
    assert re.search(r"journal\.db is not a journal but another program's database", await refusal(data))
    swapped_files(data, data)
    assert await shown(data) == before


async def test_missing_store_is_folded_from_the_beginning(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All executions are there again; webhooks are not, and the log says so."""
    before = await shown(data)
    (data / "store.db").unlink()
    capsys.readouterr()
    assert await shown(data) == before
    assert "no store beside the journal" in capsys.readouterr().out
    async with opened(data) as parts:
        assert await parts.store.read(lambda reader: reader.endpoints(None)) == []
    assert "no store beside the journal" not in capsys.readouterr().out
