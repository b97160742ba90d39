"""`monitor export`: a whole list into a file, which is there complete or not at all."""

import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from monitor.cli.listing import Wanted, query_of
from monitor.cli.pushing import progress_bar
from monitor.cli.screen import Screen
from monitor.cli.service import Away, open_service, reason_of
from monitor.errors import StartupError, Unavailable

STDOUT: Final = Path("-")

_PIECE_BYTES: Final = 64 * 1024


async def export(
    url: str, file: Path, wanted: Wanted, token: str | None, *, form: str, columns: str | None, with_data: bool
) -> int:
    """Write every execution that is wanted to `file`; returns 0.

    Raises Unavailable when the answer breaks off, Refused for what cannot be asked, StartupError for a file that cannot
    be written. A file that stood there stays as it was until the new one is complete.
    """
    more = {"format": form, "columns": columns, "include": "data" if with_data else None}
    query = [*query_of(wanted), *((name, said) for name, said in more.items() if said)]
    async with open_service(url, token) as service:
        try:
            async with service.opened("/v1/executions/export", query, "*/*") as response:
                pieces = response.content.iter_chunked(_PIECE_BYTES)
                total = response.headers.get("monitor-total", "").rstrip("+")
                count = await _write(file, pieces)
        except Away as away:
            raise Unavailable(f"{url} does not answer: {away.reason}") from None
        except (OSError, ValueError) as error:
            raise StartupError(f"cannot write {file}: {reason_of(error)}") from error
    if file != STDOUT:
        Screen().note(f"{total or 'all'} executions, {count} bytes, in {file}")
    return 0


async def _write(file: Path, pieces: AsyncIterator[bytes]) -> int:
    import aiohttp  # noqa: PLC0415 - loads only where a request is made

    unfinished = file.with_name(f"{file.name}.part")
    count = 0
    try:
        with nullcontext(sys.stdout.buffer) if file == STDOUT else unfinished.open("wb") as target:
            with progress_bar("exporting", None, "B") as advance:
                async for piece in pieces:
                    target.write(piece)
                    count += len(piece)
                    advance(len(piece))
            target.flush()
    except aiohttp.ClientError as error:
        unfinished.unlink(missing_ok=True)
        raise Away(f"{reason_of(error)} after {count} bytes") from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if file != STDOUT:
        unfinished.replace(file)
    return count
