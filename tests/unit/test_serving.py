"""Server and loops as one: what is said to listen does, and whoever runs beside it ends with it."""

import asyncio
import resource
import socket
from pathlib import Path

import httpx
import pytest

from monitor.app import open_parts
from monitor.janitor import Janitor
from monitor.serving import GRACE_S, _configuration, _listen, running, serve
from monitor.settings import Settings, read_settings
from monitor.streams.direct import DirectHttp, DirectWebSocket
from tests.support.raw_websocket import handshake
from tests.support.server import until

STREAM = "/v1/executions/stream?channels=executions"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an embedded service in a folder of its own, on a free port."""
    return read_settings({}, data=tmp_path / "data", port=0, auth="off")


async def test_address_takes_connections_as_soon_as_it_is_named(settings: Settings) -> None:
    """Whoever waits for the line `listening` need not try again."""
    async with open_parts(settings) as parts, running(parts, settings) as base_url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base_url.rpartition(":")[2]))
        writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_idle_connections_outlive_those_who_keep_them(settings: Settings) -> None:
    """nginx gives up what was idle for 60 s; were we sooner, its next request could meet our end of it."""
    async with open_parts(settings) as parts:
        assert _configuration(parts, settings).timeout_keep_alive > 60


async def test_idle_connection_holds_no_drain_up(settings: Settings) -> None:
    """It is closed at once."""
    async with open_parts(settings) as parts, httpx.AsyncClient() as client, asyncio.timeout(GRACE_S / 2):
        async with running(parts, settings) as base_url:
            assert (await client.get(f"{base_url}/livez")).status_code == 200
        with pytest.raises(httpx.TransportError):
            await client.get(f"{base_url}/livez")


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


def test_accepted_sockets_inherit_what_the_kernel_is_told(settings: Settings) -> None:
    """Frames leave at once; little is held back for slow readers, and dead ones are given up."""
    with _listen(settings) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            options = ("TCP_NODELAY", "TCP_USER_TIMEOUT", "TCP_NOTSENT_LOWAT")
            told = [accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options]
    assert told == [1, 30_000, 64 * 1024]


async def test_it_opens_as_many_files_as_it_may(settings: Settings) -> None:
    """Whatever the shell was content with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen: list[int] = []

    async def look(_url: str) -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        await serve(settings, on_ready=look)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == [hard]


@pytest.mark.parametrize(
    "request_bytes",
    [f"GET {STREAM} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), handshake(STREAM)],
    ids=["sse", "websocket"],
)
async def test_reader_that_takes_nothing_does_not_hold_up_the_end(
    settings: Settings, request_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for longer than its socket may linger."""
    for protocol in (DirectHttp, DirectWebSocket):
        monkeypatch.setattr(protocol, "linger_s", 0.1)
    loop = asyncio.get_running_loop()
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with open_parts(settings) as parts:
            async with running(parts, settings) as base_url:
                stuck.connect(("127.0.0.1", int(base_url.rpartition(":")[2])))
                stuck.sendall(request_bytes)
                await until(lambda: parts.hub.statistics().groups)
                async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                    await client.post(f"{base_url}/v1/events", json=[event(number) for number in range(100)])
                await until(lambda: parts.hub.statistics().full)
                began_s = loop.time()
            assert loop.time() - began_s < GRACE_S / 3


def event(number: int) -> dict[str, object]:
    """A large one."""
    return {
        "type": "execution.started",
        "executionId": f"e{number}",
        "workflowId": "wf_1",
        "timestamp": "2026-11-22T10:30:00Z",
        "data": {"inputData": {"text": "x" * 10_000}},
    }
