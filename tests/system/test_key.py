"""The key that seals secrets: one that opens nothing is refused at the start, before anything is sealed with it."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.receiver import LOOPBACK, Receiver, answering, receiving
from tests.support.service import Service

KEY, OTHER = (base64.b64encode(letter * 32).decode() for letter in (b"k", b"o"))
EVENT = {"type": "execution.failed", "workflowId": "wf_1", "timestamp": "2026-11-22T10:30:00Z", "id": "1"}


@asynccontextmanager
async def launched(folder: Path, **settings: str) -> AsyncIterator[Service]:
    """A service on a folder that may have served before."""
    service = Service(folder / "data", webhook_allow=LOOPBACK[0], **settings)
    service.launch()
    try:
        yield service
    finally:
        service.close()


async def serve(folder: Path, **settings: str) -> None:
    """Start, and stop once it is ready."""
    async with launched(folder, **settings) as service:
        await service.ready()
        assert await service.stop() == 0


async def refusal(folder: Path, **settings: str) -> str:
    """What it says when it ends by itself, with the exit code of one that could not start."""
    (folder / "data.log").write_text("")
    async with launched(folder, **settings) as service:
        assert await service.ended() == 2
        return service.log.read_text()


async def register(service: Service, receiver: Receiver) -> None:
    """An endpoint that is told of every failure."""
    async with service.client() as client:
        registered = await client.post("/v1/webhooks", json={"url": receiver.url, "events": ["execution.failed"]})
        assert registered.status_code == 201


async def fail(service: Service, execution_id: str) -> None:
    """An execution fails."""
    async with service.client() as client:
        await client.post("/v1/events", json=EVENT | {"executionId": execution_id})


async def test_case_43_wrong_key_is_refused_and_the_right_one_still_works(tmp_path: Path) -> None:
    """One line that names the setting and neither key; nothing is changed by it."""
    async with receiving() as receiver:
        receiver.behave(answering(200), answering(200))
        async with launched(tmp_path, key=KEY) as service:
            await service.ready()
            await register(service, receiver)
            await fail(service, "e1")
            await receiver.received(1)
            assert await service.stop() == 0
        said = await refusal(tmp_path, key=OTHER)
        assert re.fullmatch(r"\S* *MONITOR_KEY: does not open the secrets of the store; set the key [^\n]*\n", said)
        assert not any(key[:8] in said for key in (KEY, OTHER))
        async with launched(tmp_path, key=KEY) as service:
            await service.ready()
            await fail(service, "e2")
            await receiver.received(2)


async def test_case_43_key_from_the_settings_leaves_none_in_the_folder(tmp_path: Path) -> None:
    """Whoever copies the folder has the secrets, but nothing that opens them; without the setting it does not start."""
    await serve(tmp_path, key=KEY)
    assert not (tmp_path / "data" / "key").exists()
    said = await refusal(tmp_path)
    assert re.search(r"/key, which opens the secrets of the store, is missing; restore it .*MONITOR_KEY", said)
    assert not (tmp_path / "data" / "key").exists()


@pytest.mark.parametrize(("key", "says"), [("QUJD", "holds 3 bytes, not 32"), ("x" * 43, "is not base64")])
async def test_case_43_what_is_no_key_is_refused(tmp_path: Path, key: str, says: str) -> None:
    """Before any file is made, with the command that makes one."""
    said = await refusal(tmp_path, key=key)
    assert f"MONITOR_KEY: {says}; make one with: openssl rand -base64 32\n" in said
    assert key not in said
    assert not (tmp_path / "data").exists()


async def test_case_43_lost_or_replaced_key_file_is_refused(tmp_path: Path) -> None:
    """A new one is not made in its place; restored, or given by the settings, it opens everything again."""
    await serve(tmp_path)
    path = tmp_path / "data" / "key"
    kept = path.read_bytes()
    path.unlink()
    assert "is missing; restore it from a backup, or set MONITOR_KEY" in await refusal(tmp_path)
    assert not path.exists()
    path.write_bytes(b"o" * 32)
    assert "does not open the secrets of the store; restore it from a backup" in await refusal(tmp_path)
    assert path.read_bytes() == b"o" * 32
    await serve(tmp_path, key=base64.b64encode(kept).decode())
    path.write_bytes(kept)
    await serve(tmp_path)


async def test_case_43_new_store_takes_the_key_that_it_finds(tmp_path: Path) -> None:
    """Where the key is lost for good, moving the store away is the way out that the refusal names."""
    await serve(tmp_path, key=KEY)
    for file in (tmp_path / "data").glob("store.db*"):
        file.unlink()
    await serve(tmp_path, key=OTHER)
    assert "MONITOR_KEY" in await refusal(tmp_path, key=KEY)
