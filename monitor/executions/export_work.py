"""The loop that writes the files of export jobs, a portion at a time, and removes them when their time has come.

Promises: a job survives every crash, for how far it is changes in one transaction, after the bytes are on the disk; a
file has each execution once at most; of two processes that work on one job, as after a pause of the first, one alone
gets on. One portion of each team follows the other, the oldest job of each, and between
two of them there is as much rest as the portion took: whoever sends events or asks hardly notices.
"""

import asyncio
import errno
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog
from msgspec.structs import replace

from monitor.clock import Clock, rest
from monitor.errors import Unavailable
from monitor.executions.export_files import ExportFiles, FileCut
from monitor.executions.export_jobs import Bounds, ended
from monitor.executions.exports import PAGE_ROWS, Once, RowForm
from monitor.executions.pages import list_page, more_of
from monitor.projections.filter import parse_json
from monitor.store.base import Reader, Store, Writer
from monitor.store.execution_port import ListQuery
from monitor.store.export_port import ExportAsked, ExportJob

ROUND_S: Final = 60.0
"""Between two looks for what has expired."""

_PAGES: Final = 4
"""Of a portion: a tenth of a second of one thread, for one wait for the disk."""

_MOST_COUNTED: Final = 1_000_000
"""Rows that are counted for the total, once: a second of one thread."""

_LONGEST_REST_S: Final = 1.0
_PAUSE_S: Final = 1.0

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Portion(NamedTuple):
    """What a file is to go on with, and how the job stands then."""

    job: ExportJob
    content: bytes
    keys: list[int]


class _Own(NamedTuple):
    """The file of a job in which this process writes, and what it was branched from: a file at so many rows."""

    name: str
    of: tuple[str, int]


class ExportWork:
    """Works on every open job of the store."""

    def __init__(
        self,
        *,
        store: Store,
        files: ExportFiles,
        clock: Clock,
        bounds: Bounds,
        form_of: Callable[[ExportAsked], RowForm],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`form_of` writes rows as they were asked for."""
        self._store, self._files, self._clock = store, files, clock
        self._bounds, self._form_of, self._random_bytes = bounds, form_of, random_bytes
        self._woken = asyncio.Event()
        # The files of this process, by the key of their job, and what they hold.
        self._own: dict[int, _Own] = {}
        self._once: dict[int, Once] = {}
        self._tidied_s: float | None = None
        self._log = structlog.get_logger("exports")

    def wake(self) -> None:
        """Look at once: a job was made. Call it on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled, which loses nothing."""
        # Since it ran last, another process may have gone on with the jobs.
        self._once.clear()
        self._own.clear()
        while True:
            self._woken.clear()
            try:
                await self._tidy_in_time()
                worked = await self._round()
            except Unavailable as error:
                self._log.warning("cannot export for the moment", code=error.code, reason=error.message)
                await self._clock.sleep(_PAUSE_S)
            else:
                if not worked:
                    await rest(self._woken, ROUND_S, self._clock)

    async def tidy(self) -> None:
        """Forget jobs whose time has come, and remove every file that belongs to none."""
        now_us = self._clock.now_us()
        names = await asyncio.to_thread(self._files.names)
        expired = await self._store.write(lambda writer: writer.drop_expired_exports(now_us))
        kept = await self._store.read(lambda reader: reader.kept_exports())
        growing = {job.file_name for job in kept if job.is_open} | {own.name for own in self._own.values()}
        complete = {job.file_name for job in kept} - growing
        strays = await asyncio.to_thread(self._files.sweep, names, growing, complete)
        if expired or strays:
            self._log.info("removed exports", expired=len(expired), files=strays)

    async def _tidy_in_time(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._tidied_s is None or now_s - self._tidied_s >= ROUND_S:
            await self.tidy()
            self._tidied_s = now_s

    async def _round(self) -> bool:
        """One portion of the oldest job of each team. Returns whether there were any."""
        open_jobs = await self._store.read(lambda reader: reader.open_export_jobs())
        first = {job.team: job for job in reversed(open_jobs)}
        self._once = {job.key: self._once[job.key] for job in first.values() if job.key in self._once}
        self._own = {job.key: self._own[job.key] for job in first.values() if job.key in self._own}
        for job in first.values():
            began_s = self._clock.monotonic_s()
            await self._go_on(job)
            took_s = self._clock.monotonic_s() - began_s
            await self._clock.sleep(min(took_s, _LONGEST_REST_S))
        return bool(first)

    async def _go_on(self, job: ExportJob) -> None:
        """One portion: read it, have it on the disk, record it."""
        began_s = self._clock.monotonic_s()
        # Until the portion is recorded nobody knows what the file holds.
        once, moved = self._once.pop(job.key, None), job
        try:
            moved = await self._taken_over(job)
            once = once or await self._once_of(moved)
            moved = await self._written(moved, once)
        except FileCut:
            self._log.warning("the file of an export is not as recorded; it begins anew", job=job.id)
            self._own.pop(job.key, None)
            moved, once = replace(moved, rows=0, bytes=0, after=None), None
        except OSError as error:
            moved = _failed(moved, *_reason(error))
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - an export that cannot be written must not end the service at each start
            self._log.exception("an export failed", job=job.id)
            moved = _failed(moved, "INTERNAL_ERROR", "the rows cannot be written; the log of the service tells why")
        worked_us = round((self._clock.monotonic_s() - began_s) * 1_000_000)
        if await self._record(job, replace(moved, worked_us=job.worked_us + worked_us)) and once:
            self._once[job.key] = once

    async def _taken_over(self, job: ExportJob) -> ExportJob:
        """The job with a file that no other process writes. Raises FileCut and OSError."""
        own, stands = self._own.get(job.key), (job.file_name, job.rows)
        if own is None or (job.file_name != own.name and stands != own.of):
            own = _Own(f"{job.id}.{self._random_bytes(4).hex()}", stands)
            await asyncio.to_thread(self._files.branch, own.name, job.file_name, job.bytes, job.rows)
            self._own[job.key] = own
        return replace(job, file=own.name)

    async def _written(self, job: ExportJob, once: Once) -> ExportJob:
        """The job as it stands with one portion more, which is on the disk. Raises FileCut and OSError."""
        portion = await self._store.read(lambda reader: self._portion(reader, job, once))
        moved = portion.job
        if moved.state != "failed":
            await asyncio.to_thread(self._files.append, job.file, job.bytes, portion.content, job.rows, portion.keys)
        if moved.state == "completed":
            await asyncio.to_thread(self._files.settle)
        return moved

    async def _once_of(self, job: ExportJob) -> Once:
        # A million keys take a fifth of a second: not on the event loop.
        return await asyncio.to_thread(lambda: Once(self._files.keys(job.file, job.rows)))

    def _portion(self, reader: Reader, job: ExportJob, once: Once) -> _Portion:
        form = self._form_of(job.asked)
        pieces, keys = [form.head()] if not job.bytes else [], list[int]()
        moved = replace(job, state="running", started_us=job.started_us or self._clock.now_us())
        for _ in range(_PAGES):
            page = list_page(reader, _query(moved), more_of(with_data=job.asked.with_data))
            rows, new = once.only(page)
            pieces.append(form.rows(rows, is_first=not (job.rows or keys)))
            keys += new
            moved = replace(moved, after=page.after, total=page.total, total_is_lower_bound=page.total_is_lower_bound)
            if page.after is None:
                pieces.append(form.end())
                moved = replace(moved, state="completed")
                break
        content = b"".join(pieces)
        moved = replace(moved, rows=job.rows + len(keys), bytes=job.bytes + len(content))
        used_bytes = sum(it.held_bytes for it in reader.export_jobs(job.team) if it.key != job.key)
        if used_bytes + moved.bytes > self._bounds.bytes:
            message = (
                f"the files of the team's exports would take more than {self._bounds.bytes} bytes; delete others, "
                "narrow the filter, or have MONITOR_EXPORT_BYTES raised"
            )
            moved = _failed(job, "EXPORT_TOO_LARGE", message)
        return _Portion(moved, content, keys)

    async def _record(self, job: ExportJob, moved: ExportJob) -> bool:
        """Let a job stand as it does now, if it still stood as it did. Returns whether it goes on; what nobody fetches
        any more is removed.
        """
        if moved.state == "completed":
            # What was counted at the beginning may have gone, or have got company.
            moved = replace(moved, total=moved.rows, total_is_lower_bound=False)
        if not moved.is_open:
            moved = ended(moved, self._clock.now_us(), self._bounds.keep_s)
        if moved.state == "failed":
            # First of all: where the disk is full, the record needs the room.
            await asyncio.to_thread(self._files.remove, moved.file_name)
        is_wanted = await self._store.write(lambda writer: _put(writer, job, moved), durable=not moved.is_open)
        if not is_wanted:
            await asyncio.to_thread(self._files.remove, moved.file_name)
            return False
        if job.file_name != moved.file_name:
            # Who wrote it before may be at it still: what follows has no name.
            await asyncio.to_thread(self._files.remove, job.file_name)
        if not moved.is_open:
            await asyncio.to_thread(self._files.finish, moved.file_name)
            self._log.info("an export has ended", job=moved.id, state=moved.state, rows=moved.rows, bytes=moved.bytes)
        return moved.is_open


def _put(writer: Writer, job: ExportJob, moved: ExportJob) -> bool:
    """Whether the job was as it was found: nobody else has gone on with it, nor called it off."""
    held = writer.export_job(job.team, job.id)
    if held is None or (held.file, held.rows) != (job.file, job.rows):
        return False
    return writer.put_export_job(moved)


def _query(job: ExportJob) -> ListQuery:
    counted = None if job.total is None else (job.total, job.total_is_lower_bound)
    return ListQuery(
        job.team,
        parse_json(job.asked.filter),
        job.asked.sort,
        PAGE_ROWS,
        job.after,
        counted=counted,
        most_counted=_MOST_COUNTED,
    )


def _failed(job: ExportJob, code: str, message: str) -> ExportJob:
    return replace(job, state="failed", code=code, message=message)


def _reason(error: OSError) -> tuple[str, str]:
    if error.errno in _NO_ROOM:
        return "NO_SPACE", "the disk of the service has no room for the file; make room, or narrow the filter"
    return "NOT_WRITTEN", f"the file cannot be written: {error.strerror or error}"
