"""Stores of every earlier layout are brought to this one's in one step, whole or not at all, and go on as they were."""

import asyncio
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from monitor.access.teams import team_rule
from monitor.app import Parts, create_app
from monitor.cli.migrate import migrate_store
from monitor.errors import DataFolderBusy, StartupError
from monitor.keeping.backup import restore
from monitor.keeping.migrate import migrate
from monitor.keeping.rebuild import rebuild
from monitor.settings import Settings
from monitor.store import open_sqlite_store
from monitor.store.kinds import tables_of
from monitor.store.tables import SCHEMA_VERSION
from tests.support.dying import MIGRATION_POINTS
from tests.support.folders import alter, opened, rows, told, unwatched
from tests.support.layouts import deliveries as owed
from tests.support.processes import dying_with_us
from tests.support.replay import contents, deliveries, replayed

STORES = Path(__file__).parents[1] / "data" / "stores"

EARLIER = range(1, SCHEMA_VERSION)

# Executions of those before did not know where their events stand in the journal.
FOLDED_ANEW_BELOW = 3

# In lists of deliveries the first layout told what was answered to each attempt; a delivery itself does now.
TOLD_ELSEWHERE = {"response"}


def left_behind(layout: int, folder: Path) -> Path:
    """The data folder that a service of this layout left behind."""
    folder.mkdir()
    for name, dump in (("store.db", f"layout_{layout}.sql"), ("journal.db", f"layout_{layout}.journal.sql")):
        with closing(sqlite3.connect(folder / name)) as connection:
            connection.executescript((STORES / dump).read_text())
            connection.execute("PRAGMA journal_mode = WAL")
    (folder / "key").write_bytes(bytes.fromhex(told_by(layout)["key"]))
    (folder / "key").chmod(0o600)
    return folder


def told_by(layout: int) -> dict[str, Any]:
    """What its API told in the end."""
    return dict(json.loads((STORES / f"layout_{layout}.json").read_text()))


@pytest.fixture(params=EARLIER)
def layout(request: pytest.FixtureRequest) -> int:
    """Each earlier one."""
    return int(request.param)


@pytest.fixture
def data(tmp_path: Path, layout: int) -> Path:
    """A data folder of that layout."""
    return left_behind(layout, tmp_path / "data")


def schema(path: Path) -> list[str]:
    """Every table and index as it was made; of each table the indexes in the order in which SQLite knows them."""
    found = rows(path, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, rowid")
    return [re.sub(r"\s+", " ", statement).replace('"', "") for (statement,) in found]


async def fresh_schema(folder: Path) -> list[str]:
    """That of a store which was never of another layout."""
    store = await open_sqlite_store(folder / "fresh.db")
    await store.close()
    return schema(folder / "fresh.db")


async def shown(parts: Parts) -> dict[str, Any]:
    """What the API tells now, as `told_by` has it."""
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(base_url="http://localhost", transport=transport) as client:
        return {
            "executions": (await client.get("/v1/executions", params={"limit": "100"})).json(),
            "webhooks": (await client.get("/v1/webhooks")).json(),
            "deliveries": await owed(client),
        }


def covers(now: Any, then: Any) -> bool:
    """Whether everything that was told then is told now; there may be more."""
    if isinstance(then, Mapping):
        told_on = {key: it for key, it in then.items() if key not in TOLD_ELSEWHERE}
        return isinstance(now, Mapping) and all(key in now and covers(now[key], it) for key, it in told_on.items())
    if isinstance(then, list):
        return len(now) == len(then) and all(map(covers, now, then))
    return bool(now == then)


async def brought_here(data: Path, layout: int) -> None:
    """Do what the program says is to be done."""
    done = await migrate(Settings(data=data), unwatched)
    assert (done.before, done.now, done.rebuild) == (layout, SCHEMA_VERSION, layout < FOLDED_ANEW_BELOW)
    if done.rebuild:
        with pytest.raises(StartupError, match="`monitor rebuild`"):
            async with opened(data):
                pass
        await rebuild(Settings(data=data), unwatched)


# --- what it comes to ------------------------------------------------------------------------------------------------


async def test_tables_are_those_of_a_new_store(data: Path, tmp_path: Path) -> None:
    """Word for word, and of each table the indexes in their order: whoever changes tables says how they come about."""
    await migrate(Settings(data=data), unwatched)
    assert schema(data / "store.db") == await fresh_schema(tmp_path)


def test_every_earlier_layout_has_left_a_store_behind() -> None:
    """Of the code that it was of, not of today's."""
    dumps = {path.name for path in STORES.glob("layout_*")}
    assert dumps >= {f"layout_{layout}{end}" for layout in EARLIER for end in (".sql", ".journal.sql", ".json")}
    for layout in EARLIER:
        [stamp] = re.findall(r'INSERT INTO "meta" VALUES\(1,(\d+),', (STORES / f"layout_{layout}.sql").read_text())
        assert int(stamp) == layout


async def test_what_was_told_is_told_on(data: Path, layout: int) -> None:
    """Executions, webhooks and what is owed to them with every attempt; executions are what the journal says."""
    await brought_here(data, layout)
    async with opened(data, auth="off") as parts:
        now, then = await shown(parts), told_by(layout)
        for name in ("executions", "webhooks", "deliveries"):
            assert covers(now[name], then[name]), (name, now[name], then[name])
        again = await replayed(parts.journal, team_rule(exclusive=True, trust_body=False))
        assert await contents(parts.store) == await contents(again)


async def test_life_goes_on(data: Path, layout: int) -> None:
    """What comes next is folded, and owed to those who asked for it before, once; secrets open; keys are new."""
    await brought_here(data, layout)
    async with opened(data, auth="off") as parts:
        before = await deliveries(parts.store)
        event = {
            "type": "execution.started",
            "executionId": "exec_new",
            "timestamp": "2026-11-22T12:00:00Z",
            "data": {},
        }
        await told(parts, [event])
        assert len(await deliveries(parts.store)) == len(before) + 1
        [endpoint] = await parts.store.read(lambda reader: reader.endpoints(None))
        another = msgspec.structs.replace(endpoint, id="wh_new")
        added = await parts.store.write(lambda writer: writer.add_endpoint(another))
        assert added.key == 3, "the second one was removed"


async def test_what_was_deleted_before_is_blanked_too(tmp_path: Path) -> None:
    """The third layout still left its bytes in the journal."""
    data = left_behind(3, tmp_path / "data")
    [(id_,)] = rows(data / "store.db", "SELECT id FROM executions WHERE deleted = 1")
    before = told_of(data, id_)
    async with opened(data) as parts:
        await parts.eraser.tidy()
    assert rows(data / "store.db", "SELECT * FROM erasures") == []
    assert len(told_of(data, id_)) == len(before)
    assert any(b"nodeType" in value for value in before)
    assert not any(b"nodeType" in value for value in told_of(data, id_))


def told_of(data: Path, execution_id: str) -> list[bytes]:
    """What the journal holds of an execution."""
    wanted = execution_id.encode()
    return [value for (value,) in rows(data / "journal.db", "SELECT value FROM records") if wanted in value]


async def test_ledger_is_kept_row_by_row(data: Path, tmp_path: Path) -> None:
    """Every column that there was before has its value."""
    shutil.copy(data / "store.db", tmp_path / "before.db")
    await migrate(Settings(data=data), unwatched)
    for name in (*tables_of("ledger"), "offsets"):
        columns = [column for _, column, *_ in rows(tmp_path / "before.db", f'PRAGMA table_info("{name}")')]
        there = {column for _, column, *_ in rows(data / "store.db", f'PRAGMA table_info("{name}")')}
        # The body of an endpoint of the first layout is told in other words, and stays what it was in meaning.
        kept = [it for it in columns if it in there and (name, it) != ("endpoints", "body")]
        if kept:
            names = ", ".join(f'"{it}"' for it in kept)
            query = f'SELECT {names} FROM "{name}" ORDER BY 1, 2'  # noqa: S608
            assert rows(data / "store.db", query) == rows(tmp_path / "before.db", query), name


async def test_copy_stays_beside_it(data: Path, layout: int, tmp_path: Path) -> None:
    """For its owner alone, and as the store was: the version of before starts on it."""
    dump = dumped(data / "store.db")
    done = await migrate(Settings(data=data), unwatched)
    assert done.copy == data / f"store.db.layout-{layout}"
    assert dumped(done.copy) == dump
    assert done.copy.stat().st_mode & 0o777 == 0o600
    assert not any(name.endswith(".part") for name in names_in(data))


def names_in(data: Path) -> set[str]:
    """Every file."""
    return {path.name for path in data.iterdir()}


def bytes_in(data: Path) -> dict[str, bytes]:
    """Every file, as it is."""
    return {path.name: path.read_bytes() for path in data.iterdir()}


def dumped(path: Path) -> list[str]:
    """The file as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


async def test_restored_backup_of_before_is_migrated(tmp_path: Path) -> None:
    """By the restore itself, which looks whether a service will start on it."""
    folder = left_behind(SCHEMA_VERSION - 1, tmp_path / "backup")
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in bytes_in(folder).items()
    }
    (folder / "backup.json").write_text(json.dumps({"format": 1, "files": files}))
    await restore(Settings(data=tmp_path / "data"), folder, unwatched)
    async with opened(tmp_path / "data", auth="off") as parts:
        assert covers((await shown(parts))["executions"], told_by(SCHEMA_VERSION - 1)["executions"])


async def test_start_migrates(tmp_path: Path) -> None:
    """By itself, and once."""
    data = left_behind(SCHEMA_VERSION - 1, tmp_path / "data")
    async with opened(data, auth="off") as parts:
        assert covers((await shown(parts))["executions"], told_by(SCHEMA_VERSION - 1)["executions"])
    (data / f"store.db.layout-{SCHEMA_VERSION - 1}").unlink()
    async with opened(data):
        assert not list(data.glob("store.db.layout-*"))


def test_current_store_needs_no_alembic(tmp_path: Path) -> None:
    """Which is what most starts find."""
    script = (
        "import asyncio, sys, pathlib\n"
        "from monitor.app import open_parts\n"
        "from monitor.settings import Settings\n"
        "async def start():\n"
        f"    async with open_parts(Settings(data=pathlib.Path({str(tmp_path / 'data')!r}))): pass\n"
        "asyncio.run(start())\n"
        "asyncio.run(start())\n"
        "print([name for name in sys.modules if name.startswith(('alembic', 'mako'))])\n"
    )
    done = subprocess.run(dying_with_us([sys.executable, "-c", script]), capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- the command line ------------------------------------------------------------------------------------------------


async def test_look_names_the_steps_and_changes_nothing(
    data: Path, layout: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits 1 while there are some, also beside a service."""
    before = bytes_in(data)
    assert await migrate_store(Settings(data=data), check=True, as_json=False) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[: SCHEMA_VERSION - layout]] == [
        str(number) for number in range(layout + 1, SCHEMA_VERSION + 1)
    ]
    assert await migrate_store(Settings(data=data), check=True, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["layout"] == {"before": layout, "now": layout, "ofThisVersion": SCHEMA_VERSION}
    assert (document["migrated"], document["copy"]) == (False, None)
    assert bytes_in(data) == before
    assert await migrate_store(Settings(data=data), check=False, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["layout"] == {"before": layout, "now": SCHEMA_VERSION, "ofThisVersion": SCHEMA_VERSION}
    assert document["migrated"]
    assert await migrate_store(Settings(data=data), check=True, as_json=False) == 0
    assert "there is nothing to do" in capsys.readouterr().out


async def test_missing_store_is_said(tmp_path: Path) -> None:
    """The next start makes one."""
    with pytest.raises(StartupError, match="there is nothing to migrate"):
        await migrate(Settings(data=tmp_path), unwatched)


async def test_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    """The message says what to do."""
    async with opened(tmp_path / "data"):
        with pytest.raises(DataFolderBusy, match="a store is migrated while its service is stopped"):
            await migrate(Settings(data=tmp_path / "data"), unwatched)


# --- what stands in its way ------------------------------------------------------------------------------------------


async def test_without_the_lock_the_cure_is_named(data: Path) -> None:
    """Whoever looks beside a service changes nothing."""
    before = (data / "store.db").read_bytes()
    with pytest.raises(StartupError, match="`monitor migrate`, which keeps a copy"):
        await open_sqlite_store(data / "store.db")
    if int(rows(data / "store.db", "SELECT schema_version FROM meta")[0][0]) >= FOLDED_ANEW_BELOW:
        with pytest.raises(StartupError, match="`monitor migrate`"):
            await rebuild(Settings(data=data), unwatched)
    assert (data / "store.db").read_bytes() == before


@pytest.mark.parametrize("stamp", [0, SCHEMA_VERSION + 1])
async def test_later_layouts_are_refused(tmp_path: Path, stamp: int) -> None:
    """By every door, and the file is as it was."""
    data = left_behind(SCHEMA_VERSION - 1, tmp_path / "data")
    alter(data / "store.db", "UPDATE meta SET schema_version = ?", stamp)
    with pytest.raises(StartupError, match="start that version, restore a backup"):
        await migrate(Settings(data=data), unwatched)
    with pytest.raises(StartupError, match="start that version, restore a backup"):
        async with opened(data):
            pass
    assert rows(data / "store.db", "SELECT schema_version FROM meta") == [(stamp,)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE leases (name TEXT)",
        "ALTER TABLE tokens ADD COLUMN colour TEXT",
        "DROP TABLE export_jobs",
        "DROP INDEX executions_by_time",
        "CREATE INDEX tokens_by_colour ON tokens (body)",
    ],
)
async def test_what_is_of_no_known_layout_stays_as_it_is(tmp_path: Path, statement: str) -> None:
    """However it is stamped: a step that fails, or ends in other tables, is undone as a whole."""
    data = left_behind(6, tmp_path / "data")
    alter(data / "store.db", statement)
    before = dumped(data / "store.db")
    with pytest.raises(StartupError, match=r"it is as it was|are not those of the layout"):
        await migrate(Settings(data=data), unwatched)
    assert dumped(data / "store.db") == before


async def test_little_disk_is_said_before_anything_is_written(
    data: Path, layout: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how much is needed."""
    usage = shutil.disk_usage(data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(StartupError, match=r"needs \d+ MiB of free disk .* has 1; make room"):
        await migrate(Settings(data=data), unwatched)
    assert rows(data / "store.db", "SELECT schema_version FROM meta") == [(layout,)]
    assert f"store.db.layout-{layout}" not in names_in(data)


@pytest.mark.parametrize("point", MIGRATION_POINTS)
@pytest.mark.parametrize("words", [("migrate",), ("serve", "--port", "0")])
async def test_killed_at_a_named_instruction(tmp_path: Path, point: str, words: tuple[str, ...]) -> None:
    """The store of before or the new one is in place, whole; the next try ends well."""
    data = left_behind(3, tmp_path / "data")
    before = dumped(data / "store.db")
    command = [sys.executable, "-m", "tests.support.dying", point, "1", *words]
    environment = {"MONITOR_DATA": str(data), "MONITOR_AUTH": "off"}
    killed = await asyncio.to_thread(
        subprocess.run, dying_with_us(command), env=environment, capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr.decode()
    [(stamp,)] = rows(data / "store.db", "SELECT schema_version FROM meta")
    if point == "migrated":
        assert (stamp, schema(data / "store.db")) == (SCHEMA_VERSION, await fresh_schema(tmp_path))
    else:
        assert dumped(data / "store.db") == before
    await migrate(Settings(data=data), unwatched)
    assert schema(data / "store.db") == await fresh_schema(tmp_path)
    assert dumped(data / "store.db.layout-3") == before
    async with opened(data, auth="off") as parts:
        assert covers((await shown(parts))["executions"], told_by(3)["executions"])


@pytest.mark.parametrize("layout", [2, 5])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, layout: int, long_form: bool) -> None:
    """A file of some hundred MiB, or of one GiB, is copied and made anew within what a small one takes."""
    data = left_behind(layout, tmp_path / "data")
    small = migrated_in_kib(data)
    shutil.rmtree(data)
    data = left_behind(layout, tmp_path / "data")
    fill = (
        "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1000 + ?)"
        " INSERT INTO large_payloads SELECT i, 'output', zeroblob(100000) FROM n"
    )
    alter(data / "store.db", fill, 10_000 if long_form else 2_000)
    assert migrated_in_kib(data) < small + 100 * 1024


def migrated_in_kib(data: Path) -> int:
    """The most memory that a migration of the folder took, in a process of its own."""
    script = (
        "import resource, sys\nfrom monitor.store.migrations.sqlite_file import migrate\n"
        "from tests.support.folders import unwatched\nfrom pathlib import Path\n"
        "assert migrate(Path(sys.argv[1]), unwatched).copy\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    command = dying_with_us([sys.executable, "-c", script, str(data / "store.db")])
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return int(done.stdout)
