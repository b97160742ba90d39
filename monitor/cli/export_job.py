"""`monitor export --job`: the service writes the file first; fetching it goes on where it was cut off.

Beside the file that is to be, `FILE.part` holds what was fetched of it, and `FILE.job` what was asked for and under
which id: the same command once more goes on from there, another one begins anew.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from monitor.cli.listing import Wanted, query_of
from monitor.cli.pushing import progress_bar
from monitor.cli.screen import Screen
from monitor.cli.service import Away, Refused, Service, Unwatchable, open_service, reason_of
from monitor.errors import StartupError, Unavailable

T = TypeVar("T")

Job = dict[str, Any]

_LOOK_S: Final = 0.5
_TRIES: Final = 10
_PAUSE_S: Final = 1.0
"""Between two of them: as long as a service takes to start again."""

_PIECE_BYTES: Final = 64 * 1024
_FILTER: Final = re.compile(r"filter\[(\w+)\](?:\[(\w+)\])?")


class _Note(msgspec.Struct, frozen=True):
    url: str
    asked: dict[str, Any]
    id: str


class _Files(NamedTuple):
    file: Path
    part: Path
    note: Path

    def forget(self) -> None:
        """Leave nothing of a file that is not to be."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


async def export_by_job(
    url: str, file: Path, wanted: Wanted, token: str | None, *, form: str, columns: str | None, with_data: bool
) -> int:
    """Have every execution that is wanted in `file`; returns 0.

    Raises Unavailable when the service stays away, Refused for what cannot be asked, StartupError for an export that
    failed and a file that cannot be written. A file that stood there stays until the new one is complete.
    """
    files = _Files(file, file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.job"))
    asked = _asked(wanted, form, columns, with_data=with_data)
    async with open_service(url, token) as service:
        try:
            job = await _written(service, files, await _found(service, files, asked))
            await _fetched(service, files, job)
            files.part.replace(file)
            files.forget()
            with suppress(Away, Refused):  # it expires by itself
                async with service.opened(_at(job), (), "*/*", "DELETE"):
                    pass
        except Away as away:
            message = f"{url} does not answer: {away.reason}; the same command once more goes on where this one was"
            raise Unavailable(message) from None
        except OSError as error:
            raise StartupError(f"cannot write {file}: {reason_of(error)}") from error
    Screen().note(f"{job['rows']} executions, {job['bytes']} bytes, in {file}")
    return 0


def _asked(wanted: Wanted, form: str, columns: str | None, *, with_data: bool) -> dict[str, Any]:
    """The body of the request. Raises Unwatchable for a test that is there twice."""
    tests: dict[str, dict[str, list[str]]] = {}
    for name, said in query_of(wanted):
        if found := _FILTER.fullmatch(name):
            ops = tests.setdefault(found[1], {})
            if (found[2] or "eq") in ops:
                raise Unwatchable(f"'{name}' is given twice; separate several values by commas")
            ops[found[2] or "eq"] = said.split(",")
    more = {"columns": columns and columns.split(","), "sort": wanted.sort, "includeData": with_data}
    return {"format": form, "filter": tests, **{name: said for name, said in more.items() if said}}


async def _found(service: Service, files: _Files, asked: dict[str, Any]) -> Job:
    """The job that an earlier command began, else a new one."""
    try:
        note = msgspec.json.decode(files.note.read_bytes(), type=_Note)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        note = None
    if note is not None and (note.url, note.asked) == (service.url, asked):
        with suppress(Refused):
            job = (await _patiently(lambda: service.read(f"/v1/exports/{note.id}"))).document
            if job["status"] in ("queued", "running", "completed"):
                return job
    files.forget()
    job = await service.tell("POST", "/v1/exports", asked)
    files.note.write_bytes(msgspec.json.encode(_Note(service.url, asked, job["id"])))
    return job


async def _written(service: Service, files: _Files, job: Job) -> Job:
    """The job when it is completed. Raises StartupError for one that has ended without a file."""
    while job["status"] == "queued":
        job = await _looked(service, job)
    total = None if job.get("totalIsLowerBound") else job["total"]
    with progress_bar("exporting", total, "executions") as advance:
        shown = 0
        while job["status"] == "running":
            advance(job["rows"] - shown)
            shown = job["rows"]
            job = await _looked(service, job)
    if job["status"] != "completed":
        files.forget()
        why = (job["error"] or {}).get("message", "somebody called it off")
        raise StartupError(f"the export has {job['status']}: {why}")
    return job


async def _looked(service: Service, job: Job) -> Job:
    await asyncio.sleep(_LOOK_S)
    return (await _patiently(lambda: service.read(_at(job)))).document


async def _fetched(service: Service, files: _Files, job: Job) -> None:
    """Have all of the file in `part`, in as many goes as it takes as long as each brings something."""
    failures = 0
    with progress_bar("downloading", job["bytes"], "bytes") as advance:
        files.part.touch()
        advance(files.part.stat().st_size)
        while (had_bytes := files.part.stat().st_size) < job["bytes"]:
            try:
                await _fetch(service, files, job, had_bytes, advance)
            except Away as away:
                failures = failures + 1 if files.part.stat().st_size <= had_bytes else 0
                if failures == _TRIES:
                    raise
                await asyncio.sleep(max(away.pause_s, _PAUSE_S))
            except Refused:
                files.forget()
                raise


async def _fetch(service: Service, files: _Files, job: Job, had_bytes: int, advance: Callable[[int], None]) -> None:
    import aiohttp  # noqa: PLC0415 - loads only where a request is made

    more = {"range": f"bytes={had_bytes}-", "if-range": f'"{job["id"]}"'} if had_bytes else {}
    async with service.opened(f"{_at(job)}/file", (), "*/*", headers=more) as response:
        # All of it, where only the rest was asked for, is another file: the one before is of no use.
        with files.part.open("ab" if response.status == 206 else "wb") as part:
            try:
                async for piece in response.content.iter_chunked(_PIECE_BYTES):
                    part.write(piece)
                    advance(len(piece))
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Away(reason_of(error)) from error


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What the service answers, once it is there again."""
    for _ in range(_TRIES - 1):
        try:
            return await ask()
        except Away as away:
            await asyncio.sleep(max(away.pause_s, _PAUSE_S))
    return await ask()


def _at(job: Job) -> str:
    return f"/v1/exports/{job['id']}"
