"""Programs that tests run beside the service, from Debian's packages where the machine lacks them.

What only has to run is unpacked into the cache: that starts no service, as installing a server's package would, and
changes nothing outside. What must be installed to work is installed, by root alone.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.cache import cache_folder, locked, replacing

LIMIT_S: Final = 300

# Another run may be installing as well.
_APT: Final = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")


class Unavailable(Exception):
    """What a test wants to run cannot be had here; the message says why and what would help."""


class Program(NamedTuple):
    """A command, and what its environment needs besides the usual."""

    path: str
    environment: Mapping[str, str]


def unpacked(name: str, package: str | None = None) -> Program:
    """The command `name`: the machine's, or that of Debian's `package` (None: of that name). Raises Unavailable."""
    # A plain user's path often lacks the folder where servers are.
    if found := shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))):
        return Program(found, {})
    root = _root(package or name)
    [command] = root.glob(f"usr/*bin/{name}")
    libraries = sorted({str(library.parent) for library in root.rglob("*.so*")})
    return Program(str(command), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {})


def unpacked_library(package: str, name: str) -> Path:
    """A shared library of one of Debian's packages. Raises Unavailable."""
    [library] = _root(package).rglob(name)
    return library


def unpacked_root(name: str, *further: str) -> Path:
    """The folder with what the machine lacks of these packages and what they depend on. Raises Unavailable."""
    root = cache_folder("debian") / _release() / name
    with locked(root.parent / f"{name}.lock"):
        if not root.exists():
            _unpack([name, *further], root)
    return root


def install(*packages: str) -> None:
    """Install Debian's packages with what they depend on. Raises Unavailable, so when we are not root."""
    if os.geteuid() != 0:
        raise Unavailable(f"only root can install Debian's {', '.join(packages)}")
    _apt("update")
    _apt("install", "--yes", "--no-install-recommends", *packages)


def _root(package: str) -> Path:
    """Where it is unpacked, with what it needs and the machine lacks."""
    root = cache_folder("debian") / _release() / package
    with locked(root.with_suffix(".lock")):
        if not root.exists():
            _unpack(package, root)
    return root


def _unpack(names: Sequence[str], root: Path) -> None:
    if os.geteuid() == 0:
        _apt("update")  # who is not root has to do with the lists that are there
    planned = _apt("install", "--simulate", "--no-install-recommends", *names)
    lacking = re.findall(r"^Inst (\S+)", planned, re.MULTILINE)
    with replacing(root) as fresh:
        if lacking:
            _apt("download", *lacking, folder=fresh)
        for package in fresh.glob("*.deb"):
            _run(["dpkg-deb", "--extract", package.name, "."], fresh)
            package.unlink()


def _apt(*words: str, folder: Path | None = None) -> str:
    if shutil.which("apt-get") is None:
        raise Unavailable("this is no Debian: there is no apt-get")
    return _run([*_APT, *words], folder)


def _run(command: Sequence[str], folder: Path | None) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, check=True, timeout=LIMIT_S, capture_output=True, text=True, cwd=folder, env=environment
        )
    except subprocess.SubprocessError as error:
        said = str(getattr(error, "stderr", None) or error).strip().rpartition("\n")[2]
        raise Unavailable(f"{command[0]} failed: {said}") from error
    return done.stdout


def _release() -> str:
    """What is unpacked for one release of the system may not run on the next."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
