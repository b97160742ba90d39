"""The files of export jobs, in a folder of their own: each grows behind what is recorded of it, and is read by nobody
else on the machine.

What a dead process wrote beyond the record is cut off before the file goes on. Whoever goes on with the work of another
process does so in a file of its own: that one may live, and a disk that hangs may carry out later what it asked for.
Beside a file that grows stand the keys of its rows, eight bytes each, so that none is written twice. Everything here
waits for the disk: call it in a thread.
"""

import os
import shutil
from array import array
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

_KEY_BYTES: Final = 8
_KEYS: Final = ".keys"


class FileCut(Exception):
    """The file is shorter than is recorded, or gone: it has to begin anew."""


class ExportFiles:
    """A file has one writer; others read what is complete."""

    def __init__(self, folder: Path) -> None:
        """The folder is made when it is needed."""
        self._folder = folder

    def branch(self, name: str, of: str, at_bytes: int, at_rows: int) -> None:
        """Begin a file with the first `at_bytes`, and the keys of the first `at_rows`, of another one, which stays.

        Raises FileCut and OSError.
        """
        if at_bytes:
            _copy(self._folder / of, self._folder / name, at_bytes)
            _copy(self._folder / f"{of}{_KEYS}", self._folder / f"{name}{_KEYS}", at_rows * _KEY_BYTES)

    def append(self, name: str, at_bytes: int, content: bytes, at_rows: int, keys: Iterable[int]) -> None:
        """Let `content` follow the first `at_bytes` of a file, and its rows' keys those of the first `at_rows`; on the
        disk when this returns. Raises FileCut, and OSError with everything behind `at_bytes` as good as not there.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        _put(self._folder / f"{name}{_KEYS}", at_rows * _KEY_BYTES, array("q", keys).tobytes())
        _put(self._folder / name, at_bytes, content)

    def keys(self, name: str, rows: int) -> Iterable[int]:
        """Of the first so many rows. Raises FileCut."""
        if not rows:
            return ()
        try:
            content = (self._folder / f"{name}{_KEYS}").read_bytes()[: rows * _KEY_BYTES]
        except FileNotFoundError:
            raise FileCut from None
        if len(content) < rows * _KEY_BYTES:
            raise FileCut
        return array("q", content)

    def finish(self, name: str) -> None:
        """Nothing follows any more: the keys of its rows are not needed."""
        with suppress(OSError):  # the next sweep tries again
            (self._folder / f"{name}{_KEYS}").unlink(missing_ok=True)

    def settle(self) -> None:
        """Have the names of files on the disk too."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def open(self, name: str) -> BinaryIO:
        """A file to read; it stays whole while it is open, whoever removes it. Raises FileNotFoundError."""
        return (self._folder / name).open("rb")

    def remove(self, name: str) -> None:
        """Remove it, if it is there."""
        for path in (self._folder / name, self._folder / f"{name}{_KEYS}"):
            with suppress(OSError):  # the next sweep tries again
                path.unlink(missing_ok=True)

    def names(self) -> frozenset[str]:
        """Of everything that is there."""
        return frozenset(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else frozenset()

    def sweep(self, names: Collection[str], growing: Collection[str], complete: Collection[str]) -> int:
        """Remove those of `names` that belong to no export; returns how many.

        List them before asking which exports there are: another process may begin one meanwhile.
        """
        strays = set(names) - {*growing, *complete, *(f"{name}{_KEYS}" for name in growing)}
        for name in strays:
            with suppress(OSError):
                (self._folder / name).unlink()
        return len(strays)


def _copy(path: Path, to: Path, size: int) -> None:
    try:
        with path.open("rb") as source, open(to, "wb", opener=_private) as target:
            shutil.copyfileobj(source, target)
            if target.tell() < size:
                raise FileCut
            target.truncate(size)
    except FileNotFoundError:
        raise FileCut from None


def _put(path: Path, at_bytes: int, content: bytes) -> None:
    if at_bytes and not path.exists():
        raise FileCut
    with open(path, "r+b" if at_bytes else "wb", opener=_private) as file:
        if os.fstat(file.fileno()).st_size < at_bytes:
            raise FileCut
        file.truncate(at_bytes)
        file.seek(at_bytes)
        file.write(content)
        file.flush()
        os.fdatasync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
