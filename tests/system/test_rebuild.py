"""A rebuild folds the store anew from the journal, keeps what people and receivers know, and can be killed anywhere."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.rebuild import rebuild_store
from monitor.errors import DataFolderBusy, JournalMismatch, StartupError
from monitor.keeping.rebuild import Rebuilt, rebuild
from monitor.settings import Settings
from monitor.store.kinds import tables_of
from tests.support.dying import REBUILD_POINTS
from tests.support.folders import alter, mingled, opened, registered, rows, told, told_raw
from tests.support.processes import dying_with_us
from tests.support.replay import contents, deliveries

LEDGER = ("endpoints", "lanes", "delivery_bodies", "deliveries", "attempts", "replays", "quarantine")

EXECUTIONS = 30


class Course:
    """Notes what was done, and of how much."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    @contextmanager
    def __call__(self, doing: str, total: int | None, unit: str) -> Iterator[Any]:
        self.done[doing] = 0
        yield lambda count: self.done.update({doing: self.done[doing] + count})
        assert total is None or self.done[doing] == total, (doing, self.done[doing], total, unit)


async def rebuilt(data: Path, **options: Any) -> Rebuilt:
    """A rebuild of the folder."""
    return await rebuild(Settings(data=data), Course(), **options)


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A folder with executions of every kind, some deleted or noted upon, quarantine, and what a webhook is owed."""
    events = mingled(7, EXECUTIONS)
    ids = sorted({event["executionId"] for event in events})
    half = len(events) // 2
    async with opened(tmp_path / "data") as parts:
        await told(parts, events[:half], batch=97)
        await registered(parts)
        await told_raw(parts, b"no event", b'{"type": "execution.started"}')
        await told(parts, [noted(id_) for id_ in ids[:9]])
        await told(parts, [deleted(id_) for id_ in ids[3:6]])
        await told(parts, events[half:], batch=211)
        await told(parts, events[half : half + 50])  # again
        await told(parts, events[:200], team="acme")
    return tmp_path / "data"


def noted(execution_id: str) -> dict[str, Any]:
    """Somebody takes a note."""
    return about(execution_id, "execution.annotated", {"tags": ["seen"], "note": "looked at"})


def deleted(execution_id: str) -> dict[str, Any]:
    """Somebody deletes it."""
    return about(execution_id, "execution.deleted", {})


def about(execution_id: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """An event."""
    return {"type": kind, "executionId": execution_id, "timestamp": "2026-11-22T12:00:00Z", "data": data}


def ledger(data: Path) -> dict[str, Any]:
    """Everything that a rebuild carries over."""
    kept = {name: rows(data / "store.db", f"SELECT * FROM {name} ORDER BY 1, 2") for name in LEDGER}  # noqa: S608
    return kept | {
        "offsets": rows(data / "store.db", "SELECT * FROM offsets"),
        "meta": rows(data / "store.db", "SELECT * FROM meta"),
    }


def names_in(data: Path) -> list[str]:
    """Every file."""
    return sorted(path.name for path in data.iterdir())


async def everything(data: Path) -> Any:
    """What the service shows."""
    async with opened(data) as parts:
        return await contents(parts.store), await contents(parts.store, "acme"), await deliveries(parts.store)


async def trimmed(data: Path, share: float) -> int:
    """Have the journal forget this share of its records; returns where it begins then."""
    async with opened(data) as parts:
        bounds = (await parts.journal.bounds())[0]
        await parts.journal.trim(0, cut := round(bounds.end * share))
    return cut


# --- the same again --------------------------------------------------------------------------------------------------


async def test_what_is_folded_anew_is_what_was_there(data: Path) -> None:
    """Row by row, and the old file stays until it is removed."""
    shown, kept, before = await everything(data), ledger(data), (data / "store.db").read_bytes()
    done = await rebuilt(data)
    assert [(table.name, table.differences) for table in done.tables if table.differing] == []
    assert (done.executions, done.carried) == (len(shown[0]["executions"]) + len(shown[1]["executions"]) + 3, 3)
    assert all(table.live == table.fresh for table in done.tables)
    assert (data / "store.db").read_bytes() != before
    assert (data / "store.db.before-rebuild").read_bytes() == before
    assert ledger(data) == kept
    assert await everything(data) == shown
    assert names_in(data) == [
        "journal.db",
        "key",
        "lock",
        "store.db",
        "store.db.before-rebuild",
    ]


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
async def test_executions_whose_first_record_is_gone_are_carried_over(data: Path, share: float) -> None:
    """However much the journal has forgotten: nothing of them changes, nor of what is counted and was said of them."""
    cut = await trimmed(data, share)
    shown, kept = await everything(data), ledger(data)
    done = await rebuilt(data)
    assert [(table.name, table.differences) for table in done.tables if table.differing] == []
    assert await everything(data) == shown
    assert ledger(data) == kept
    assert 3 < done.carried <= done.executions
    assert (done.carried == done.executions) == (share == 1.0)
    assert done.records == kept["offsets"][0][1] - cut


async def test_nothing_is_sent_twice(data: Path) -> None:
    """What was planned stays planned, wherever the fold begins; the webhook hears of what comes next."""
    owed = (await everything(data))[2]
    await rebuilt(data)
    async with opened(data) as parts:
        await parts.pipeline.catch_up()
        assert await deliveries(parts.store) == owed
        await told(parts, [about("exec_new", "execution.started", {})])
        assert len(await deliveries(parts.store)) == len(owed) + 1


async def test_keys_go_on(data: Path) -> None:
    """A new execution and a new webhook get keys that nobody had."""
    await rebuilt(data)
    [(executions,)] = rows(data / "store.db", "SELECT max(key) FROM executions")
    async with opened(data) as parts:
        await told(parts, [about("exec_new", "execution.started", {})])
        await parts.store.write(lambda writer: writer.remove_endpoint("default", "wh_1"))
        assert (await registered(parts)).key == 2
    assert rows(data / "store.db", "SELECT key FROM executions WHERE id = 'exec_new'") == [(executions + 1,)]


async def test_what_the_store_has_lost_is_blanked_as_the_journal_says(data: Path) -> None:
    """A migration may leave no execution behind; what was deleted is still to be erased."""
    question = "SELECT team, id FROM erasures JOIN executions USING (key) ORDER BY 1, 2"
    before = rows(data / "store.db", question)
    assert len(before) == 3
    for name in (*tables_of("executions"), *tables_of("sums")):
        alter(data / "store.db", f"DELETE FROM {name}")  # noqa: S608
    await rebuilt(data)
    assert rows(data / "store.db", question) == before


# --- differences -----------------------------------------------------------------------------------------------------

ENDED = """
SELECT DISTINCT e.key, id FROM executions AS e JOIN log_lines AS l ON l.key = e.key
WHERE team = 'default' AND status = 'success'
"""

DAMAGE = {
    "executions": "UPDATE executions SET status = 'running' WHERE key = {key}",
    "progress": "UPDATE progress SET completed = completed + 7 WHERE key = {key}",
    "log_lines": "DELETE FROM log_lines WHERE key = {key}",
    "tags": "INSERT INTO tags VALUES ({key}, 'alien')",
    "totals": "UPDATE totals SET count = count + 1",
    "releases": "DELETE FROM releases WHERE key = (SELECT max(key) FROM releases)",
}


async def test_differences_are_found_and_named_and_gone_after_it(data: Path) -> None:
    """In every kind of table; a look alone changes nothing."""
    shown = await everything(data)
    key, name = rows(data / "store.db", ENDED)[0]
    for statement in DAMAGE.values():
        assert alter(data / "store.db", statement.format(key=key))
    damaged = (data / "store.db").read_bytes()
    looked = await rebuilt(data, check=True)
    assert (data / "store.db").read_bytes() == damaged
    assert {it.name for it in looked.tables if it.differing} == set(DAMAGE)
    for table in looked.tables:
        assert (table.live[1] == table.fresh[1]) == (table.name not in DAMAGE)
        if table.name in {"executions", "progress", "log_lines", "tags"}:
            assert {it.of.split(" ")[0] for it in table.differences} == {f"default/{name}"}
    await rebuilt(data)
    assert await everything(data) == shown
    assert (await rebuilt(data, check=True)).differing == 0


async def test_command_line_tells_what_it_came_to(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people, as JSON, and by the exit code of a look."""
    settings = Settings(data=data)
    assert await rebuild_store(settings, check=True, rate=None, as_json=False) == 0
    assert "nothing was replaced" in capsys.readouterr().out
    keys = [key for key, _ in rows(data / "store.db", ENDED)]
    for key in keys:
        alter(data / "store.db", "UPDATE executions SET status = 'running', mode = 'x' WHERE key = ?", key)
    assert await rebuild_store(settings, check=True, rate=None, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["replaced"] is False
    [table] = [it for it in document["tables"] if it["differing"]]
    assert {(it["kind"], *it["columns"]) for it in table["differences"]} == {("changed", "mode", "status")}
    assert table["differing"] == document["differing"] == len(keys)
    assert await rebuild_store(settings, check=False, rate=None, as_json=False) == 0
    assert "executions default/" in (told := capsys.readouterr().out)
    assert "the one of before is" in told
    assert await rebuild_store(settings, check=True, rate=None, as_json=False) == 0


async def test_pace_is_held(data: Path) -> None:
    """No more records a second than asked for."""
    clock = _Sleeper()
    await rebuild(Settings(data=data), Course(), check=True, rate=100, clock=clock)
    [(end,)] = rows(data / "store.db", "SELECT next FROM offsets")
    assert clock.slept_s == pytest.approx(end / 100, rel=0.01)


class _Sleeper:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def now_us(self) -> int:
        return 1_795_343_400_000_000

    def monotonic_s(self) -> float:
        return self.slept_s

    async def sleep(self, delay_s: float) -> None:
        self.slept_s += delay_s


# --- what stands in its way ------------------------------------------------------------------------------------------


async def test_folder_in_use_is_left_alone(data: Path) -> None:
    """The message says what to do."""
    async with opened(data):
        with pytest.raises(DataFolderBusy, match="a store is built anew while its service is stopped"):
            await rebuilt(data)


async def test_other_rules_name_the_cure_and_it_works(data: Path) -> None:
    """A store that was folded by an older version starts again after a rebuild."""
    shown = await everything(data)
    alter(data / "store.db", "UPDATE meta SET fold_version = 0")
    with pytest.raises(StartupError, match="`monitor rebuild`"):
        await everything(data)
    done = await rebuilt(data)
    assert done.fold_versions[0] == 0
    assert await everything(data) == shown


async def test_missing_store_is_no_rebuild(data: Path) -> None:
    """The next start makes one."""
    (data / "store.db").unlink()
    with pytest.raises(StartupError, match="the next start folds the journal into one"):
        await rebuilt(data)


async def test_missing_journal_is_not_made(data: Path) -> None:
    """An empty one would take the store's place as the truth."""
    (data / "journal.db").unlink()
    with pytest.raises(JournalMismatch, match="is missing; put it back"):
        await rebuilt(data)
    assert not (data / "journal.db").exists()


async def test_other_journal_is_refused(data: Path, tmp_path: Path) -> None:
    """A store is folded anew only from its own."""
    async with opened(tmp_path / "other") as parts:
        await told(parts, [about("exec_other", "execution.started", {})])
    (tmp_path / "other" / "journal.db").replace(data / "journal.db")
    before = (data / "store.db").read_bytes()
    with pytest.raises(JournalMismatch, match="was built from journal"):
        await rebuilt(data)
    assert (data / "store.db").read_bytes() == before


async def test_damaged_store_is_told(data: Path) -> None:
    """In one line, and stays as it is."""
    with (data / "store.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_960)
    with pytest.raises(StartupError, match=r"restore a backup"):
        await rebuilt(data)
    assert not (data / "store.db.rebuild").exists()


# --- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", REBUILD_POINTS)
async def test_killed_at_a_named_instruction(data: Path, point: str) -> None:
    """One of both stores is in place, whole and nothing lost; the next rebuild ends well."""
    await trimmed(data, 0.3)
    shown, kept = await everything(data), ledger(data)
    command = [sys.executable, "-m", "tests.support.dying", point, "1", "rebuild"]
    killed = await asyncio.to_thread(
        subprocess.run, dying_with_us(command), env={"MONITOR_DATA": str(data)}, capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert await everything(data) == shown
    assert ledger(data) == kept
    assert (await rebuilt(data)).differing == 0
    assert await everything(data) == shown
    assert not (data / "store.db.rebuild").exists()
