"""Node's own clients of the stream: the packages `eventsource` and `ws`, in the versions of the lock file beside them.

Installed once into the cache, never into the work tree. Run as a module, this does it before any test counts its time.
"""

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.cache import cache_folder, locked, replacing
from tests.support.debian import Unavailable, install
from tests.support.processes import dying_with_us

PROGRAMS: Final = Path(__file__).parent / "node"
_WANTED: Final = ("package.json", "package-lock.json")
_DOWNLOAD_LIMIT_S: Final = 120


def prepare() -> Path:
    """The folder in which the packages are installed. Raises Unavailable."""
    return installed(PROGRAMS)


def installed(programs: Path) -> Path:
    """The folder with the packages that `programs` name in their lock file. Raises Unavailable."""
    if not (shutil.which("node") and shutil.which("npm")):
        install("nodejs", "npm")
    wanted = b"".join((programs / name).read_bytes() for name in _WANTED)
    folder = cache_folder("node") / hashlib.sha256(wanted).hexdigest()[:12]
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            _install_packages(programs, folder)
    return folder


def _install_packages(programs: Path, folder: Path) -> None:
    with replacing(folder) as fresh:
        for name in _WANTED:
            shutil.copy(programs / name, fresh)
        npm = ["npm", "clean-install", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run(npm, cwd=fresh, check=True, timeout=_DOWNLOAD_LIMIT_S, capture_output=True, text=True)
        except subprocess.SubprocessError as error:
            said = str(getattr(error, "stderr", None) or error).strip().rpartition("\n")[2]
            raise Unavailable(f"npm did not deliver the packages of {programs.name}: {said}") from error


@asynccontextmanager
async def followed(kind: str, url: str, what: Any, longest_bytes: int) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """What `node/follow.mjs` tells while the block runs: `events` or `messages` of `url`. Raises Unavailable."""
    command = ["node", str(PROGRAMS / "follow.mjs"), str(prepare()), kind, url, json.dumps(what)]
    node = await asyncio.create_subprocess_exec(
        *dying_with_us(command), stdout=asyncio.subprocess.PIPE, limit=longest_bytes
    )
    assert node.stdout is not None
    try:
        yield _lines(node.stdout)
    finally:
        # It has ended already when its client does not come back.
        if node.returncode is None:
            node.kill()
        # With what is left of its output: a pipe that nobody has read to its end stays open beyond the test.
        await node.communicate()


async def _lines(printed: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    async for line in printed:
        yield json.loads(line)


if __name__ == "__main__":
    try:
        prepare()
    except Unavailable as error:
        sys.exit(f"No clients of Node: {error}")
