"""A backup is taken while events come in; what is restored goes on from there, nothing lost and nothing doubled."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.access.teams import team_rule
from monitor.clock import SystemClock
from monitor.errors import StartupError
from monitor.journal import open_sqlite_journal
from monitor.keeping.backup import Backup, back_up, restore
from monitor.settings import Settings
from monitor.store import open_sqlite_store
from tests.support.folders import mingled, opened, registered, rows, told, unwatched
from tests.support.made_up import VARIED
from tests.support.processes import dying_with_us
from tests.support.receiver import LOOPBACK, receiving
from tests.support.replay import contents, deliveries, replayed
from tests.support.service import Service, eventually
from tests.support.traffic import paced, traffic

EVENTS_PER_S = 1000
ENDS = ["execution.completed", "execution.failed", "execution.cancelled"]


async def command(data: Path, *words: str) -> dict[str, Any]:
    """What a command of the program prints as JSON."""
    ended = await asyncio.to_thread(
        subprocess.run,
        dying_with_us([sys.executable, "-m", "monitor", *words, "--json"]),
        env=os.environ | {"MONITOR_DATA": str(data)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return dict(json.loads(ended.stdout))


@asynccontextmanager
async def fed(service: Service) -> AsyncIterator[list[int]]:
    """A service to which events come all the time; gives the number that was acknowledged."""
    acknowledged = [0]

    async def feed() -> None:
        async with service.client() as client:
            entries = traffic(7, mix=VARIED, active=40, window=30)
            async for batch in paced(entries, EVENTS_PER_S, SystemClock()):
                body = b"\n".join(entry.value for entry in batch)
                headers = {"content-type": "application/x-ndjson"}
                assert (await client.post("/v1/events", content=body, headers=headers)).status_code == 200
                acknowledged[0] += len(batch)

    feeding = asyncio.create_task(feed())
    try:
        yield acknowledged
    finally:
        assert not feeding.done() or isinstance(feeding.exception(), httpx.TransportError), feeding.exception()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def at_least(acknowledged: list[int], count: int) -> None:
    """Return when so many events were acknowledged."""

    async def is_so() -> bool:
        return acknowledged[0] >= count

    await eventually(is_so, what=lambda: f"{acknowledged[0]} of {count} events")


async def test_backup_under_load_is_restored_after_a_kill(tmp_path: Path) -> None:
    """Up to the backup everything is there and counted once; what was delivered after it comes again, under its id."""
    service = Service(tmp_path / "data", webhook_allow=",".join(LOOPBACK))
    async with receiving() as receiver:
        service.launch()
        try:
            await service.ready()
            async with service.client() as client:
                answer = await client.post("/v1/webhooks", json={"url": receiver.url, "events": ENDS})
                assert answer.status_code == 201, answer.text
            async with fed(service) as acknowledged:
                await at_least(acknowledged, 1500)
                made = await command(service.data, "backup", str(tmp_path / "backup"), "--with-key")
                during = acknowledged[0]
                await at_least(acknowledged, during + 500)
                service.kill()
            sent = Counter(request.headers["webhook-id"] for request in receiver.requests)
            await command(tmp_path / "restored", "restore", str(tmp_path / "backup"))
            again = Service(tmp_path / "restored", webhook_allow=",".join(LOOPBACK))
            again.launch()
            try:
                await again.ready()
                await again.caught_up()
                await delivered(again)
                assert await again.stop() == 0
            finally:
                again.close()
        finally:
            service.close()
        await compare(tmp_path, made)
        arrived = Counter(request.headers["webhook-id"] for request in receiver.requests)
    # An attempt that the kill, or the backup, caught in flight is made again.
    assert max(arrived.values()) <= max(sent.values(), default=0) + 1 <= 3
    owed = {id_ for (id_,) in rows(again.data / "store.db", "SELECT id FROM deliveries")}
    assert owed <= set(arrived)
    repeats = len(arrived - sent)
    print(f"backup at {made['offsets']}, {during} acknowledged by its end; {repeats} of {len(owed)} came again")


async def delivered(service: Service) -> None:
    """Return when nothing is owed any more."""
    states: list[str] = []

    async def is_delivered() -> bool:
        nonlocal states
        async with service.client() as client:
            [webhook] = (await client.get("/v1/webhooks")).json()["data"]
            found = await client.get(f"/v1/webhooks/{webhook['id']}/deliveries", params={"limit": 100})
            states = sorted({row["status"] for row in found.json()["data"]})
            return states == ["delivered"]

    await eventually(is_delivered, what=lambda: f"{states}")


async def compare(tmp_path: Path, made: dict[str, Any]) -> None:
    """The restored store against a replay of its journal, which is the beginning of the one that went on."""
    journal = await open_sqlite_journal(tmp_path / "restored" / "journal.db", clock=SystemClock())
    store = await open_sqlite_store(tmp_path / "restored" / "store.db")
    try:
        clean = await replayed(journal, team_rule(exclusive=True, trust_body=False))
        assert await contents(store) == await contents(clean)
        end = (await journal.bounds())[0].end
    finally:
        await store.close()
        await journal.close()
    assert end >= made["offsets"]["0"] >= 1500 - 200
    statement = "SELECT place, key, value, headers, stored_us FROM records WHERE place < ? ORDER BY place"
    copied, original = (rows(tmp_path / name / "journal.db", statement, end) for name in ("restored", "data"))
    assert copied == original


# --- at rest ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A folder with executions and deliveries."""
    async with opened(tmp_path / "data") as parts:
        await registered(parts)
        await told(parts, mingled(5, 8))
    return tmp_path / "data"


async def backed_up(data: Path, **options: Any) -> Backup:
    """A backup beside the folder."""
    return await back_up(Settings(data=data), data.parent / "backup", unwatched, **options)


async def restored(data: Path, **settings: Any) -> Backup:
    """That backup, brought back to a new folder."""
    return await restore(Settings(data=data.parent / "new", **settings), data.parent / "backup", unwatched)


async def test_backup_is_for_its_owner_alone_and_says_what_it_holds(data: Path) -> None:
    """Everything about executions is in it."""
    made = await backed_up(data, with_key=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (data.parent / "backup").iterdir()}
    assert modes == dict.fromkeys(("backup.json", "journal.db", "key", "store.db"), 0o600)
    assert (data.parent / "backup").stat().st_mode & 0o777 == 0o700
    [(end,)] = rows(data / "store.db", "SELECT next FROM offsets")
    assert (made.document["offsets"], made.has_key) == ({"0": end}, True)


async def test_journal_begins_a_new_life(data: Path) -> None:
    """Positions of before may name records that are told differently now: who shows one is told so."""
    await backed_up(data, with_key=True)
    await restored(data)
    async with opened(data) as old:
        before, owed = old.journal.incarnation, await deliveries(old.store)
    async with opened(data.parent / "new") as new:
        assert new.journal.incarnation != before
        # Whatever became of them meanwhile: they are sent again, under the ids that receivers know.
        assert await deliveries(new.store) == owed != []


async def test_key_can_be_kept_elsewhere(data: Path) -> None:
    """Without it the start is refused; put back, it opens what it sealed."""
    await backed_up(data)
    assert not (data.parent / "backup" / "key").exists()
    await restored(data)
    with pytest.raises(StartupError, match=r"key, which opens the secrets of the store, is missing"):
        async with opened(data.parent / "new"):
            pass
    (data.parent / "new" / "key").write_bytes((data / "key").read_bytes())
    async with opened(data.parent / "new") as parts:
        assert len(await parts.store.read(lambda reader: reader.endpoints(None))) == 1


async def test_other_key_is_not_overwritten(data: Path) -> None:
    """It may open something else."""
    await backed_up(data, with_key=True)
    (data.parent / "new").mkdir()
    (data.parent / "new" / "key").write_bytes(b"o" * 32)
    with pytest.raises(StartupError, match="is not the key of this backup"):
        await restored(data)


async def test_folder_in_use_takes_no_backup(data: Path) -> None:
    """Neither of them."""
    (data.parent / "backup").mkdir()
    (data.parent / "backup" / "mine").write_text("dear")
    with pytest.raises(StartupError, match="is not empty"):
        await backed_up(data)
    (data.parent / "backup" / "mine").unlink()
    await backed_up(data, with_key=True)
    with pytest.raises(StartupError, match=r"is not empty \(journal.db, store.db\)"):
        await restore(Settings(data=data), data.parent / "backup", unwatched)


async def test_nothing_to_back_up(tmp_path: Path) -> None:
    """No folder is made for it."""
    with pytest.raises(StartupError, match="there is nothing to back up"):
        await back_up(Settings(data=tmp_path / "none"), tmp_path / "backup", unwatched)
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("backup.json", lambda path: path.unlink(), "no backup, or one that was not finished"),
        ("backup.json", lambda path: path.write_text("{"), "cannot be read"),
        ("backup.json", lambda path: path.write_text('{"format": 9, "files": {}}'), "another version"),
        ("backup.json", lambda path: path.write_text('{"format": 1, "files": {"../x": {}}}'), "another version"),
        ("store.db", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "not as it was backed up"),
        ("journal.db", lambda path: path.unlink(), "cannot restore"),
    ],
)
async def test_what_is_no_whole_backup_is_refused(data: Path, name: str, spoil: Any, message: str) -> None:
    """In one line, and nothing is there that a service would start on."""
    await backed_up(data, with_key=True)
    spoil(data.parent / "backup" / name)
    with pytest.raises(StartupError, match=message):
        await restored(data)
    left = {path.name for path in (data.parent / "new").glob("*")}
    assert not left & {"store.db", "journal.db", "key"}
