"""A disk of a few megabytes that can be filled and freed: a file system in memory, which root alone may mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 16 << 20

_PIECE_BYTES: Final = 1 << 16


class SmallDisk:
    """A mounted folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room at all."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for piece_bytes in (_PIECE_BYTES, 1):
                try:
                    while ballast.write(bytes(piece_bytes)) == piece_bytes:
                        pass
                except OSError:
                    continue  # with smaller pieces

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


def can_mount() -> bool:
    """Whether we may."""
    return os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size_bytes: int = SIZE_BYTES) -> Iterator[SmallDisk]:
    """A disk at `folder`, which is made; gone with everything on it when the block ends."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
