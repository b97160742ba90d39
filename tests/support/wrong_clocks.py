"""A wall clock that is wrong, and is set while its process runs: the system's own, as that process sees it.

The library that tells the wrong time comes with Debian's package `libfaketime`; the monotonic clock stays as it is.
Run as a module, this unpacks it.
"""

import sys
from pathlib import Path
from typing import Final

from tests.support.debian import Unavailable, unpacked_library

_REREAD_S: Final = 1
"""How soon a process sees that its clock was set."""


def faketime() -> Path:
    """The library. Raises Unavailable."""
    return unpacked_library("libfaketime", "libfaketimeMT.so.1")


class WrongClock:
    """What `environment` gives to a process; `set` moves its clock."""

    def __init__(self, file: Path) -> None:
        """`file` says how wrong it is."""
        self._said = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._said),
            "FAKETIME_CACHE_DURATION": str(_REREAD_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: float) -> None:
        """Let the clock be so many seconds ahead of the machine's; behind, if negative."""
        fresh = self._said.with_suffix(".new")
        fresh.write_text(f"{ahead_s:+g}\n")
        fresh.rename(self._said)


if __name__ == "__main__":
    try:
        faketime()
    except Unavailable as error:
        sys.exit(f"No wrong clocks: {error}")
