"""A shared store is migrated when its operator says so: once, whoever begins, beside processes that go on."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import op

from monitor.cli.migrate import migrate_store
from monitor.errors import StartupError
from monitor.keeping.migrate import migrate
from monitor.settings import Settings
from monitor.store import open_postgres_store
from monitor.store.migrations.steps import Step
from monitor.store.postgres_layout import ALONE, LOCK
from monitor.store.tables import SCHEMA_VERSION
from tests.support.folders import unwatched
from tests.support.processes import dying_with_us
from tests.support.service import eventually

STORES = Path(__file__).parents[1] / "data" / "stores"

FIRST = 7
"""The first layout of which PostgreSQL has ever made tables."""

CATALOGUE = (
    (
        "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity, collation_name"
        " FROM information_schema.columns WHERE table_schema = 'public'"
    ),
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    (
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
    ),
    "SELECT relname, relkind, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace",
)


def asked(url: str, statement: Any, *values: Any) -> list[tuple[Any, ...]]:
    """What a statement finds, or nothing for one that only does something."""
    with psycopg.connect(url, autocommit=True) as connection:
        answer = connection.execute(statement, values or None)
        return answer.fetchall() if answer.description else []


def schema(url: str) -> list[list[tuple[Any, ...]]]:
    """Every column, index, constraint and sequence, with what is set for it."""
    return [sorted(asked(url, question), key=str) for question in CATALOGUE]


def of_this_version(url: str) -> Settings:
    """Settings that name the database."""
    return Settings(store=url, journal="kafka://127.0.0.1:9/never-asked")


async def made(url: str) -> None:
    """A store of this version."""
    store = await open_postgres_store(url)
    await store.close()


@pytest.fixture
async def earlier(postgres_url: str) -> str:
    """A store as the version before leases would have had it."""
    await made(postgres_url)
    asked(postgres_url, "DROP TABLE leases")
    asked(postgres_url, "UPDATE meta SET schema_version = 6, endpoints_version = 41")
    return postgres_url


def stamp(url: str) -> int:
    """The layout that it says."""
    return int(asked(url, "SELECT schema_version FROM meta")[0][0])


async def test_tables_are_those_of_a_new_store(postgres_url: str, postgres: Any) -> None:
    """From each layout that there has been: whoever changes tables says how they come about in a database that is."""
    await made(postgres_url)
    expected = schema(postgres_url)
    layouts = {int(path.stem.removeprefix("postgres_")): path.read_text() for path in STORES.glob("postgres_*.sql")}
    assert set(layouts) >= {FIRST, *range(FIRST, SCHEMA_VERSION)}
    for layout, dump in sorted(layouts.items()):
        with postgres.database() as url:
            asked(url, dump)
            done = await migrate(of_this_version(url), unwatched)
            assert (done.before, [step.layout for step in done.steps]) == (
                layout,
                list(range(layout + 1, SCHEMA_VERSION + 1)),
            )
            assert schema(url) == expected, "a table was changed without a step in monitor/store/migrations"


async def test_earlier_layout_is_refused_until_its_operator_says_so(earlier: str, postgres: Any) -> None:
    """With the cure, which works, and keeps every row."""
    with pytest.raises(StartupError, match="`monitor migrate`, beside which processes of that version may go on"):
        await open_postgres_store(earlier)
    assert stamp(earlier) == 6
    done = await migrate(of_this_version(earlier), unwatched)
    assert (done.before, done.now, done.copy, done.rebuild) == (6, SCHEMA_VERSION, None, False)
    assert asked(earlier, "SELECT endpoints_version FROM meta") == [(41,)]
    await made(earlier)
    with postgres.database() as fresh:
        await made(fresh)
        assert schema(earlier) == schema(fresh)


async def test_command_line_says_what_it_does(earlier: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A look changes nothing, and exits 1 while there are steps to take."""
    settings = of_this_version(earlier)
    assert await migrate_store(settings, check=True, as_json=False) == 1
    assert capsys.readouterr().out.startswith("7: Adds the table of leases")
    assert stamp(earlier) == 6
    assert await migrate_store(settings, check=False, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["layout"] == {"before": 6, "now": SCHEMA_VERSION, "ofThisVersion": SCHEMA_VERSION}
    assert (document["migrated"], document["copy"]) == (True, None)
    assert await migrate_store(settings, check=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == []


async def test_of_several_one_migrates(earlier: str) -> None:
    """The others wait for it and find it done."""
    settings = of_this_version(earlier)
    done = await asyncio.gather(*(migrate(settings, unwatched) for _ in range(4)))
    assert sorted(len(it.steps) for it in done) == [0, 0, 0, SCHEMA_VERSION - 6]
    await made(earlier)


async def test_it_waits_for_who_writes(earlier: str) -> None:
    """And a start meanwhile waits for it in turn."""
    with psycopg.connect(earlier) as writer:
        writer.execute(ALONE)
        migrating = asyncio.create_task(migrate(of_this_version(earlier), unwatched))
        await waiting(earlier, 1)
        starting = asyncio.create_task(open_postgres_store(earlier))
        await waiting(earlier, 2)
        assert stamp(earlier) == 6
    assert (await migrating).before == 6
    await (await starting).close()


async def waiting(url: str, count: int) -> None:
    """Return when so many wait for the store's lock."""
    question = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM"
    question += " pg_database WHERE datname = current_database()) AND (classid::bigint << 32 | objid::bigint) = %s"

    async def is_so() -> bool:
        return len(await asyncio.to_thread(asked, url, question, LOCK)) >= count

    await eventually(is_so)


@contextmanager
def looked_at(url: str, table: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody reads a table for long."""
    with psycopg.connect(url) as reader:
        reader.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
        yield reader


async def test_long_reader_does_not_hold_up_everybody(earlier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants a table that is looked at lets go again soon, and says so in the end; nothing is changed."""
    monkeypatch.setattr("monitor.store.migrations.postgres_database._PATIENCE", "SET LOCAL lock_timeout = '50ms'")
    widen = Step(SCHEMA_VERSION, "widens a table", lambda: op.execute("ALTER TABLE meta ADD COLUMN beside INT"), False)
    monkeypatch.setattr("monitor.store.migrations.steps.pending", lambda _: [widen])
    with looked_at(earlier, "meta"), pytest.raises(StartupError, match="kept its tables from being changed"):
        await migrate(of_this_version(earlier), unwatched)
    assert stamp(earlier) == 6
    with pytest.raises(StartupError, match="are not those of the layout"):
        await migrate(of_this_version(earlier), unwatched)


@pytest.mark.parametrize("layout", [5, SCHEMA_VERSION + 1])
async def test_other_layouts_are_refused(earlier: str, layout: int) -> None:
    """Nobody knows what is in it."""
    asked(earlier, "UPDATE meta SET schema_version = %s", layout)
    for trying in (open_postgres_store(earlier), migrate(of_this_version(earlier), unwatched)):
        with pytest.raises(StartupError, match="start that version, restore a dump"):
            await trying
    assert stamp(earlier) == layout


async def test_what_is_of_no_known_layout_stays_as_it_is(earlier: str) -> None:
    """However it is stamped."""
    asked(earlier, "ALTER TABLE tokens ADD COLUMN colour TEXT")
    before = schema(earlier)
    with pytest.raises(StartupError, match="are not those of the layout"):
        await migrate(of_this_version(earlier), unwatched)
    assert (stamp(earlier), schema(earlier)) == (6, before)


async def test_empty_and_foreign_databases_are_said(postgres_url: str) -> None:
    """Nothing is made in them."""
    with pytest.raises(StartupError, match="there is nothing to migrate"):
        await migrate(of_this_version(postgres_url), unwatched)
    asked(postgres_url, "CREATE TABLE progress (id INTEGER)")
    with pytest.raises(StartupError, match="holds another program's tables"):
        await migrate(of_this_version(postgres_url), unwatched)


async def test_unreachable_database_is_said(postgres_url: str) -> None:
    """In one line."""
    with pytest.raises(StartupError, match="It is as it was"):
        await migrate(of_this_version("postgresql://postgres@127.0.0.1:9/none"), unwatched)


@pytest.mark.parametrize("point", ["stepped", "compared"])
async def test_killed_in_the_middle(earlier: str, point: str) -> None:
    """Nothing of it is there; the next try ends well."""
    before = schema(earlier)
    name = {"stepped": "run", "compared": "differences"}[point]
    script = (
        "import os, signal, sys\n"
        "from monitor.store.migrations import postgres_database, steps\n"
        "from tests.support.folders import unwatched\n"
        f"inner = steps.{name}\n"
        f"steps.{name} = lambda *args: (inner(*args), os.kill(os.getpid(), signal.SIGKILL))\n"
        "postgres_database.migrate(sys.argv[1], unwatched)\n"
    )
    command = dying_with_us([sys.executable, "-c", script, earlier])
    killed = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert (schema(earlier), stamp(earlier)) == (before, 6)
    assert (await migrate(of_this_version(earlier), unwatched)).steps
    await made(earlier)
