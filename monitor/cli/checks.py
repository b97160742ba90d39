"""What `monitor doctor` can tell of the machine without opening anything: installation, settings, data folder, lock."""

import fcntl
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final, Literal, NamedTuple

from monitor import __version__
from monitor.settings import Settings, keys

_DISTRIBUTION: Final = "execution-monitor"

_OLDEST_PYTHON: Final = (3, 11)

_LITTLE_DISK_BYTES: Final = 2 << 30
"""A busy service writes some GiB a day; below this it is time to look."""

_NO_DISK_BYTES: Final = 128 << 20
"""SQLite needs room for its log and a checkpoint beside the file."""


class Finding(NamedTuple):
    """Something that was looked at. `cure` says what to do, and is empty where nothing is wrong."""

    state: Literal["ok", "warn", "fail"]
    subject: str
    text: str
    cure: str = ""


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


def check_settings(settings: Settings) -> Finding:
    """Which settings differ from the defaults."""
    fields = type(settings).model_fields
    chosen = [
        f"{key}={_spelt(getattr(settings, name))}"
        for name, key in keys().items()
        if getattr(settings, name) != fields[name].default
    ]
    return Finding("ok", "settings", ", ".join(chosen) or "all at their defaults")


def _spelt(value: object) -> str:
    """As it would stand in the environment."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
        return Finding("ok", "lock", f"held by process {lock.read_text().strip()}")
    except OSError as error:
        return Finding("fail", "lock", f"{lock} cannot be read: {error.strerror}", "chown the data folder")
    return Finding("ok", "lock", "free: no process works on the folder")


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
