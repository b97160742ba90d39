"""The files of export jobs, in a folder of their own: each grows behind what is recorded of it, and is read by nobody
else on the machine.

What a dead process wrote beyond the record is cut off before the file goes on. Beside a file that grows stand the keys
of its rows, eight bytes each, so that none is written twice. Everything here waits for the disk: call it in a thread.
"""

import os
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
    """One writes, alone; others read what is complete."""

    def __init__(self, folder: Path) -> None:
        """The folder is made when it is needed."""
        self._folder = folder

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

    def sweep(self, growing: Collection[str], complete: Collection[str]) -> int:
        """Remove what belongs to no export; returns how many files that were."""
        known = {*growing, *complete, *(f"{name}{_KEYS}" for name in growing)}
        found = list(self._folder.iterdir()) if self._folder.is_dir() else []
        strays = [path for path in found if path.name not in known]
        for path in strays:
            with suppress(OSError):
                path.unlink()
        return len(strays)


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
