"""The wiring: everything opens together or says why not, and nothing stays behind."""

import shutil
import stat
import threading
from pathlib import Path

import httpx
import msgspec
import pytest

from monitor.access.principal import LOCAL
from monitor.access.sealing import KEY_BYTES
from monitor.app import create_app, open_parts
from monitor.errors import DataFolderBusy, DataFolderUnusable, JournalMismatch, StartupError
from monitor.events.model import Entry
from monitor.executions.wishes import Wish
from monitor.settings import Settings, read_settings
from monitor.store.delivery_port import DeliveryQuery
from tests.support.contract.checked import CHECKED


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an embedded service in a folder of its own."""
    return read_settings({}, data=tmp_path / "data", auth="off")


async def open_once(settings: Settings) -> None:
    """Open and close again."""
    async with open_parts(settings):
        pass


async def test_folder_is_taken_by_one_and_free_afterwards(settings: Settings) -> None:
    """Whoever comes second learns who works there; the lock goes with its holder."""
    async with open_parts(settings):
        with pytest.raises(DataFolderBusy, match=r"process \d+ works on .*MONITOR_DATA"):
            await open_once(settings)
    await open_once(settings)


async def test_data_is_for_its_owner_alone(settings: Settings) -> None:
    """The folder holds what the executions held; other users of the machine cannot look into it."""
    await open_once(settings)
    assert stat.S_IMODE(settings.data.stat().st_mode) == 0o700


async def test_everything_is_closed_again_where_opening_fails(settings: Settings) -> None:
    """A store that is none, found after the journal was opened: no thread, no lock and no connection is left."""
    await open_once(settings)
    (settings.data / "store.db").write_bytes(b"no database at all, whatever its name says" * 100)
    before = set(threading.enumerate())
    for _ in range(2):
        with pytest.raises(StartupError, match="store"):
            await open_once(settings)
    assert {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("journal")} == set()


@pytest.mark.parametrize("size", [0, KEY_BYTES - 1, KEY_BYTES + 1])
async def test_key_of_another_size_is_refused(settings: Settings, size: int) -> None:
    """Before anything was sealed with it, or opened in vain; it stays as it is."""
    settings.data.mkdir()
    (settings.data / "key").write_bytes(bytes(size))
    with pytest.raises(DataFolderUnusable, match=rf"key is no key of this service \({size} bytes\)"):
        await open_once(settings)
    assert (settings.data / "key").read_bytes() == bytes(size)


async def test_settings_shape_what_webhooks_carry(tmp_path: Path) -> None:
    """What is masked is masked before it is stored, and links lead to where others reach the service."""
    environment = {"MONITOR_MASK": "+email", "MONITOR_PUBLIC_URL": "https://monitor.example.com/base/"}
    event = {"type": "execution.failed", "executionId": "e1", "timestamp": "2026-11-22T10:30:00Z"}
    data = {"email": "raw", "token": "raw", "kept": 1}
    async with open_parts(read_settings(environment, data=tmp_path / "data")) as parts:
        wish: Wish = {"url": "https://example.com/", "events": ["*"]}
        await parts.webhooks.register(LOCAL, wish)
        await parts.webhooks.register(LOCAL, {**wish, "payload": "thin"})
        await parts.intake.accept([msgspec.json.encode(event | {"data": data})], team=LOCAL.team)
        await parts.pipeline.catch_up()
        full, thin = await parts.store.read(
            lambda reader: [
                msgspec.json.decode(reader.deliveries(DeliveryQuery(endpoint.key), 1)[0].body)
                for endpoint in reader.endpoints(LOCAL.team)
            ]
        )
    assert full["data"] == {"email": "***", "token": "***", "kept": 1}
    assert thin["dataUrl"] == "https://monitor.example.com/base/v1/executions/e1/data"


async def test_file_in_the_place_of_the_folder_is_refused(settings: Settings) -> None:
    """One line, with the setting that cures it."""
    settings.data.write_text("a file")
    with pytest.raises(DataFolderUnusable, match="MONITOR_DATA"):
        await open_once(settings)


async def test_journal_and_store_that_do_not_belong_together_are_refused(settings: Settings) -> None:
    """A journal that is lost is not made anew beside its store, and no other one takes its place."""
    await open_once(settings)
    (settings.data / "journal.db").unlink()
    with pytest.raises(JournalMismatch, match="is missing; put it back"):
        await open_once(settings)
    assert not (settings.data / "journal.db").exists()
    await open_once(Settings(data=settings.data / "other"))
    (settings.data / "other" / "journal.db").rename(settings.data / "journal.db")
    with pytest.raises(JournalMismatch, match="was built from journal"):
        await open_once(settings)


async def test_journal_of_an_older_backup_is_refused(settings: Settings, tmp_path: Path) -> None:
    """The same journal, but it ends before what was folded: its next records would be taken for repeats."""
    await open_once(settings)
    shutil.copytree(settings.data, tmp_path / "backup")
    async with open_parts(settings) as parts:
        await parts.journal.append([Entry(b"k", b"not an event")])
        await parts.pipeline.catch_up()
    shutil.copy(tmp_path / "backup" / "journal.db", settings.data / "journal.db")
    with pytest.raises(JournalMismatch, match="folded up to 1, but its journal ends at 0"):
        await open_once(settings)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nothing", 404, "NOT_FOUND"), ("PATCH", "/v1/executions", 405, "METHOD_NOT_ALLOWED")],
)
async def test_every_address_answers_in_the_same_envelope(
    settings: Settings, method: str, path: str, status: int, code: str
) -> None:
    """Those that are none, too."""
    async with open_parts(settings) as parts:
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", event_hooks=CHECKED) as client:
            answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
