"""Folders that tests make once and keep: what one run downloaded serves every later one, and several at once."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Where everything about `name` is kept."""
    return Path("~/.cache/execution-monitor").expanduser() / name


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the file lock `path` against other processes; waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A fresh folder that becomes `target` when the block succeeds: a half-made one is never seen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=target.parent) as scratch:
        fresh = Path(scratch) / target.name
        fresh.mkdir()
        yield fresh
        fresh.rename(target)
