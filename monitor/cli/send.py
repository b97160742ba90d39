"""`monitor send`: posts the events of a file or a pipe to a running service."""

import os
import stat
from typing import BinaryIO

from monitor.cli.door import http_door
from monitor.cli.event_file import read_items
from monitor.cli.pushing import print_tally, progress_bar, push_all


async def send_file(file: BinaryIO, url: str, token: str | None = None, *, as_json: bool) -> int:
    """Send every event of `file` and report; returns 1 when any was rejected, else 0.

    Raises Unavailable when nobody answers at `url`: sending the same file again is harmless.
    """
    with progress_bar("Sending", _size_bytes(file), "bytes") as advance:
        async with http_door(url, token) as push:
            tally = await push_all(push, read_items(file.name, file), advance)
    print_tally(tally, as_json=as_json)
    return 1 if tally.rejected else 0


def _size_bytes(file: BinaryIO) -> int | None:
    """None for a pipe."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
