"""Real reverse proxies in front of a real service: nginx and HAProxy from Debian's packages, on a loopback port.

Each is a process of the test's own, with a configuration in the test's folder, and ends with the test. Run as a module,
this has the programs at hand before any test counts its time.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.debian import Unavailable, unpacked
from tests.support.processes import dying_with_us, free_ports
from tests.support.service import eventually

PROGRAMS: Final = ("nginx", "haproxy")
README: Final = Path(__file__).parents[2] / "README.md"

DEFAULT_SITE: Final = """
server {
    listen 80;
    location / {
        proxy_pass http://127.0.0.1:8080;
    }
}
"""
"""nginx's own way to proxy."""

_NGINX: Final = """\
daemon off;
master_process off;
pid FOLDER/pid;
error_log stderr;
events {}
http {
    # As Debian's nginx.conf has it.
    sendfile on;
    tcp_nopush on;
    gzip on;
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
SITE
}
"""
"""Nothing here is about proxying."""

_HAPROXY: Final = """\
defaults
    mode http
    # As Debian's haproxy.cfg has it.
    timeout connect 5000
    timeout client 50000
    timeout server 50000
frontend here
    bind 127.0.0.1:80
    default_backend monitor
backend monitor
    server one 127.0.0.1:8080
"""


def readme_site() -> str:
    """The lines that the README prints: for WebSockets, and for an EventSource while the service is away."""
    [site] = re.findall(r"^```nginx\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return str(site)


@asynccontextmanager
async def nginx(service_port: int, folder: Path, site: str = DEFAULT_SITE) -> AsyncIterator[str]:
    """The URL of an nginx with this `site`, written for a service on 127.0.0.1:8080. Raises Unavailable."""
    [port] = free_ports(1)
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};").replace(":8080", f":{service_port}")
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.replace("FOLDER", str(folder)).replace("SITE", site))
    async with _running("nginx", "-e", "stderr", "-c", str(configuration), port=port):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def haproxy(service_port: int, folder: Path) -> AsyncIterator[str]:
    """The URL of an HAProxy with its defaults. Raises Unavailable."""
    [port] = free_ports(1)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_HAPROXY.replace(":8080", f":{service_port}").replace(":80\n", f":{port}\n", 1))
    async with _running("haproxy", "-db", "-f", str(configuration), port=port):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def _running(name: str, *arguments: str, port: int) -> AsyncIterator[None]:
    program = unpacked(name)
    process = await asyncio.create_subprocess_exec(
        *dying_with_us([program.path, *arguments]),
        env={**os.environ, **program.environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    # Read all the while, lest it waits for a reader.
    complaints = asyncio.create_task(process.stderr.read())

    async def is_listening() -> bool:
        assert process.returncode is None, (await complaints).decode()
        return await _listens(port)

    try:
        await eventually(is_listening, what=lambda: f"{name} does not listen")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await complaints


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


if __name__ == "__main__":
    for wanted in PROGRAMS:
        try:
            unpacked(wanted)
        except Unavailable as error:
            sys.exit(f"No {wanted}: {error}")
