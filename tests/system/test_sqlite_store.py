"""The embedded store keeps its promises when the process is killed, the disk is full, or the file is not its own."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from monitor.errors import StartupError, StoreUnavailable
from monitor.store import Reader, Store, open_sqlite_store
from tests.support.numbered import append, contents, expected
from tests.support.processes import dying_with_us

TOP = Path(__file__).parents[2]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with a hundred events."""
    store = await open_sqlite_store(tmp_path / "store.db")
    await store.write(lambda writer: writer.bind("aabbccddeeff", [0]))
    await store.write(lambda writer: append(writer, 100))
    yield store
    await store.close()


async def commit_until_killed(path: Path) -> None:
    """What the child process does: commit batches of growing size and say how far each one went."""
    store = await open_sqlite_store(path)
    await store.write(lambda writer: writer.bind("aabbccddeeff", [0]))
    for count in range(1, 1_000_000):
        print(await store.write(partial(append, count=count % 40 + 1)), flush=True)


def commit_and_kill(path: Path, commits: int) -> int:
    """Kill a child process after so many commits or a few more; returns the last offset that it reported."""
    command = [sys.executable, __file__, str(path)]
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    with subprocess.Popen(dying_with_us(command), env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        reported = [int(next(child.stdout)) for _ in range(commits)]
        child.kill()
        # The last line may be cut off.
        return max([*reported, *map(int, child.stdout.read().split(b"\n")[:-1])])


async def test_killed_process_leaves_a_prefix(tmp_path: Path, long_form: bool) -> None:
    """After SIGKILL at any instant the store holds whole batches, all that were reported, and offsets that agree."""
    path, killed_at = tmp_path / "store.db", 0
    for turn in range(100 if long_form else 8):
        reported = await asyncio.to_thread(commit_and_kill, path, 5 + turn)
        store = await open_sqlite_store(path)
        found = await store.read(contents)
        await store.close()
        assert found == expected(found[0])
        assert found[0] >= reported > killed_at
        killed_at = found[0]


async def test_full_disk_stores_nothing_and_passes(store: Store, tmp_path: Path) -> None:
    """A transaction that does not fit is undone as a whole and said to be unavailable; with room again, all goes on."""

    def limit_pages(pages: int) -> None:
        store._driver.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

    before = await store.read(contents)
    [(pages,)] = store._driver.execute("PRAGMA page_count")  # type: ignore[attr-defined]
    limit_pages(pages + 20)
    for durable in (False, True):
        with pytest.raises(StoreUnavailable, match="full"):
            await store.write(lambda writer: append(writer, 1000), durable=durable)
        assert await store.read(contents) == before
    limit_pages(1 << 30)
    await store.write(lambda writer: append(writer, 1000))
    assert await store.read(contents) == expected(1100)


async def test_long_reader_does_not_hold_up_the_writer(store: Store) -> None:
    """While a reader looks at its snapshot, commits go on, and it does not see them."""
    looking, go_on = threading.Event(), threading.Event()

    def look(reader: Reader) -> list[int]:
        offsets = [reader.offsets()[0].next]
        looking.set()
        assert go_on.wait(60)
        return [*offsets, reader.offsets()[0].next]

    reading = asyncio.create_task(store.read(look))
    await asyncio.to_thread(looking.wait, 60)
    assert [await store.write(lambda writer: append(writer, 50)) for _ in range(5)] == [150, 200, 250, 300, 350]
    go_on.set()
    assert await reading == [100, 100]


async def test_session_is_void_afterwards(store: Store) -> None:
    """What was handed to the work cannot be used once the transaction is over."""
    for call in (store.read, store.write):
        session = await call(lambda session: session)
        with pytest.raises(Exception, match="closed"):
            session.offsets()


async def test_reader_cannot_write(store: Store, tmp_path: Path) -> None:
    """The connections of readers refuse to change anything."""
    with pytest.raises(StoreUnavailable, match="readonly"):
        await store.read(lambda reader: reader._connection.exec_driver_sql("DELETE FROM offsets"))  # type: ignore[attr-defined]


# Files that are not the store's own


async def test_reopened_store_holds_what_was_stored(store: Store, tmp_path: Path) -> None:
    """Closing and opening again changes nothing."""
    before = await store.read(contents)
    await store.close()
    again = await open_sqlite_store(tmp_path / "store.db")
    assert await again.read(contents) == before
    await again.close()


@pytest.mark.parametrize(
    ("statement", "cure"),
    [
        ("UPDATE meta SET schema_version = 99", "start that version, .* without the registered webhooks"),
        ("UPDATE meta SET fold_version = 99", "`monitor rebuild`, which keeps webhooks .* the version that folded it"),
        ("DROP TABLE offsets", "move it away"),
    ],
)
async def test_other_versions_are_refused_with_the_cure(
    store: Store, tmp_path: Path, statement: str, cure: str
) -> None:
    """A file of another layout or folded by other rules is not touched."""
    await store.close()
    with sqlite3.connect(tmp_path / "store.db") as driver:
        driver.execute(statement)
    driver.close()
    with pytest.raises(StartupError, match=cure):
        await open_sqlite_store(tmp_path / "store.db")


async def test_foreign_database_is_refused(tmp_path: Path) -> None:
    """Another program's file stays as it is."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as driver:
        driver.execute("CREATE TABLE photos (id INTEGER PRIMARY KEY)")
    driver.close()
    with pytest.raises(StartupError, match="another program"):
        await open_sqlite_store(path)
    driver = sqlite3.connect(path)
    assert driver.execute("SELECT name FROM sqlite_schema").fetchall() == [("photos",)]
    driver.close()


async def test_damaged_file_is_refused(store: Store, tmp_path: Path) -> None:
    """A file that is no database, or none any more, is named with the cure."""
    await store.close()
    for spoilt in (b"not a database, only text" * 100, (tmp_path / "store.db").read_bytes()[:30_000]):
        path = tmp_path / "spoilt.db"
        path.write_bytes(spoilt)
        with pytest.raises(StartupError, match=r"damaged.*backup"):
            await open_sqlite_store(path)


async def test_unusable_folder_is_refused(tmp_path: Path) -> None:
    """A folder that is missing is an error of the settings, said in one line."""
    with pytest.raises(StartupError, match="make its folder writable"):
        await open_sqlite_store(tmp_path / "missing" / "store.db")


if __name__ == "__main__":
    asyncio.run(commit_until_killed(Path(sys.argv[1])))
