"""Server and loops as one: what is said to listen does, and whoever runs beside it ends with it."""

import asyncio
from pathlib import Path

import pytest

from monitor.app import open_parts
from monitor.janitor import Janitor
from monitor.serving import running, serve
from monitor.settings import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an embedded service in a folder of its own, on a free port."""
    return read_settings({}, data=tmp_path / "data", port=0)


async def test_address_takes_connections_as_soon_as_it_is_named(settings: Settings) -> None:
    """Whoever waits for the line `listening` need not try again."""
    async with open_parts(settings) as parts, running(parts, settings) as base_url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base_url.rpartition(":")[2]))
        writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_what_runs_beside_the_loops_ends_the_service(settings: Settings) -> None:
    """When it has done its work the service drains; when it fails, the failure comes out."""
    seen: list[str] = []

    async def look(url: str) -> None:
        seen.append(url)

    await serve(settings, on_ready=look)
    assert [url.startswith("http://127.0.0.1:") for url in seen] == [True]

    async def fail(_url: str) -> None:
        raise ValueError("nothing to show")

    with pytest.raises(ExceptionGroup) as caught:
        await serve(settings, on_ready=fail)
    assert caught.group_contains(ValueError, match="nothing to show")


async def test_loop_that_dies_takes_everything_with_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what runs beside the loops: it is not left to talk to a service that is gone."""
    ended = asyncio.Event()

    async def stay(_url: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def die(_: Janitor) -> None:
        await asyncio.sleep(0)
        raise ValueError("a loop that died")

    monkeypatch.setattr(Janitor, "run", die)
    with pytest.raises(ExceptionGroup) as caught:
        await serve(settings, on_ready=stay)
    assert caught.group_contains(ValueError, match="a loop that died")
    assert ended.is_set()
