"""What `monitor doctor` tells of the machine without opening anything: installation, data folder, lock, open files."""

import fcntl
import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from monitor import __version__
from monitor.cli.findings import Finding

_DISTRIBUTION: Final = "execution-monitor"

_OLDEST_PYTHON: Final = (3, 11)

_LITTLE_DISK_BYTES: Final = 2 << 30
"""A busy service writes some GiB a day; below this it is time to look."""

_NO_DISK_BYTES: Final = 128 << 20
"""SQLite needs room for its log and a checkpoint beside the file."""

_OTHER_FILES: Final = 500
"""Beside streams: requests, webhooks under way, the database's files."""


def check_python() -> Finding:
    """Whether this Python is new enough."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}; monitor {__version__}"
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("fail", "python", text, "install Python 3.11 or newer")
    return Finding("ok", "python", text)


def check_dependencies() -> Finding:
    """Whether every package that is needed is installed, and in which version; extras where they are there."""
    found, missing = [], []
    for requirement in requires(_DISTRIBUTION) or []:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            # What has a marker is for another platform or an extra.
            missing += [] if ";" in requirement else [name]
    if missing:
        return Finding("fail", "packages", f"missing: {', '.join(missing)}", f"install {_DISTRIBUTION} again")
    return Finding("ok", "packages", ", ".join(found))


def check_folder(folder: Path) -> Iterator[Finding]:
    """Whether the data folder can be written, and how much room its disk has."""
    where = folder.absolute()
    if folder.exists() and not folder.is_dir():
        yield Finding("fail", "data folder", f"{where} is a file", "name a folder with MONITOR_DATA")
        return
    there = _nearest(where)
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("fail", "data folder", f"{there} cannot be written by this user", "chown it, or set MONITOR_DATA")
    elif there == where:
        yield Finding("ok", "data folder", f"{where} can be written")
    else:
        yield Finding("ok", "data folder", f"{where} is made at the first start")
    yield _check_disk(there)


def check_lock(folder: Path) -> Finding:
    """Who works on the data folder now."""
    lock = folder / "lock"
    if not lock.exists():
        return Finding("ok", "lock", "free: no process works on the folder")
    try:
        with lock.open() as file:
            # Shared and given back at once: a service that starts at this very instant is the only one to notice.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding("ok", "lock", f"held by process {lock.read_text().strip()}: a service runs, or a command")
    except OSError as error:
        return Finding("fail", "lock", f"{lock} cannot be read: {error.strerror}", "chown the data folder")
    return Finding("ok", "lock", "free: no process works on the folder")


def check_open_files(wanted: int) -> Finding:
    """Whether a process of this user may have a socket for each of `wanted` streams, and some files beside."""
    # The service takes what it may have at its start, so that only the upper limit counts.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if most != resource.RLIM_INFINITY and most < needed:
        text = f"{most} may be open, and MONITOR_STREAMS={wanted} needs {needed}"
        return Finding("warn", "open files", text, "raise LimitNOFILE= or `ulimit -Hn`, or lower MONITOR_STREAMS")
    return Finding("ok", "open files", f"{'any number' if most == resource.RLIM_INFINITY else most} may be open")


def _check_disk(folder: Path) -> Finding:
    free_bytes = shutil.disk_usage(folder).free
    text = f"{free_bytes / (1 << 30):.1f} GiB free"
    if free_bytes < _NO_DISK_BYTES:
        return Finding("fail", "disk", text, "make room: events cannot be taken any more")
    if free_bytes < _LITTLE_DISK_BYTES:
        return Finding("warn", "disk", text, "make room, or lower MONITOR_JOURNAL_KEEP")
    return Finding("ok", "disk", text)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the closest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())
