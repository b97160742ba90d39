"""Exports as jobs at the desk: ask for a file of a whole list, see how far it is, fetch it, call it off, remove it.

Every question is a principal's and sees its team alone. What was answered as done survives a loss of power.
`export_work` writes the files; called by the native face, which does the spelling.
"""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import BinaryIO, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import CannotCancelExport, ExportGone, ExportNotFound, ExportNotReady, TooManyExports
from monitor.executions.export_files import ExportFiles
from monitor.store.base import Store, Writer
from monitor.store.export_port import ExportAsked, ExportJob

_ID_BYTES: Final = 12


class Bounds(NamedTuple):
    """What a team may have, and for how long."""

    jobs: int
    bytes: int
    # From its end on.
    keep_s: int


class ExportJobs:
    """The use cases. Every method raises StoreUnavailable."""

    def __init__(
        self,
        *,
        store: Store,
        files: ExportFiles,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        bounds: Bounds,
        on_job: Callable[[], None],
        where: str | None = None,
    ) -> None:
        """`on_job` wakes who writes the files; `where` names the folder that several processes must have in common."""
        self._where = where
        self._store, self._files, self._clock = store, files, clock
        self._random_bytes, self._bounds, self._on_job = random_bytes, bounds, on_job

    async def start(self, who: Principal, asked: ExportAsked, seed: str | None = None) -> ExportJob:
        """A new job; the same `seed` again is the same job. Raises TooManyExports."""
        job = ExportJob(
            id=f"exp_{self._word(who, seed)}",
            team=who.team,
            actor=who.name,
            asked=asked,
            created_us=self._clock.now_us(),
        )
        started = await self._store.write(lambda writer: _add(writer, job, self._bounds), durable=True)
        self._on_job()
        return started

    async def listed(self, who: Principal) -> Sequence[ExportJob]:
        """All of the team, the newest first: as many as it may have, at most."""
        return await self._store.read(lambda reader: reader.export_jobs(who.team))

    async def single(self, who: Principal, job_id: str) -> ExportJob:
        """One job. Raises ExportNotFound."""
        found = None
        if job_id.isprintable():
            found = await self._store.read(lambda reader: reader.export_job(who.team, job_id))
        if found is None:
            raise ExportNotFound(exportId=job_id)
        return found

    async def opened(self, job: ExportJob) -> BinaryIO:
        """The file of a completed job, which stays whole while it is open. Raises ExportNotReady and ExportGone."""
        if job.state != "completed":
            why = "is still being written" if job.is_open else f"has {job.state}"
            raise ExportNotReady(f"the export {why}: there is no file to fetch", exportId=job.id, status=job.state)
        try:
            return await asyncio.to_thread(self._files.open, job.file_name)
        except OSError:
            raise ExportGone(self._elsewhere, exportId=job.id) from None

    @property
    def _elsewhere(self) -> str | None:
        if self._where is None:
            return None
        return (
            f"The file of the export is not in {self._where} of the process that was asked; all gateways need that "
            "folder in common, whichever of them writes. Or it was removed: ask for a new export."
        )

    async def cancel(self, who: Principal, job_id: str) -> ExportJob:
        """A job that was called off; what was written is removed. Raises ExportNotFound and CannotCancelExport."""
        await self.single(who, job_id)
        cancelled = await self._store.write(lambda writer: self._cancel(writer, who, job_id), durable=True)
        await asyncio.to_thread(self._files.remove, cancelled.file_name)
        return cancelled

    async def remove(self, who: Principal, job_id: str) -> None:
        """Forget a job, whatever its state, and remove its file. Raises ExportNotFound."""
        job = await self.single(who, job_id)
        await self._store.write(lambda writer: writer.drop_export_job(job), durable=True)
        await asyncio.to_thread(self._files.remove, job.file_name)

    def _cancel(self, writer: Writer, who: Principal, job_id: str) -> ExportJob:
        # Read again: it may have moved or ended since.
        job = writer.export_job(who.team, job_id)
        if job is None:
            raise ExportNotFound(exportId=job_id)
        cancelled = ended(job, self._clock.now_us(), self._bounds.keep_s)
        if not writer.put_export_job(replace(cancelled, state="cancelled")):
            raise CannotCancelExport(exportId=job_id, status=job.state)
        return replace(cancelled, state="cancelled")

    def _word(self, who: Principal, seed: str | None) -> str:
        if seed is None:
            return self._random_bytes(_ID_BYTES).hex()
        asked = msgspec.json.encode((who.team, who.token_id or who.name, seed))
        return blake2b(asked, digest_size=_ID_BYTES, person=b"monitor-export").hexdigest()


def ended(job: ExportJob, now_us: int, keep_s: int) -> ExportJob:
    """The job as it stands when it has ended now."""
    return replace(job, finished_us=now_us, expires_us=now_us + keep_s * 1_000_000)


def _add(writer: Writer, job: ExportJob, bounds: Bounds) -> ExportJob:
    """Store it, or find the equal one. Jobs without a file give way to new ones. Raises TooManyExports."""
    found = writer.export_job(job.team, job.id)
    if found is not None:
        return found
    others = writer.export_jobs(job.team)
    kept = [it for it in others if it.is_open or it.state == "completed"]
    held_bytes = sum(it.held_bytes for it in kept)
    if len(kept) >= bounds.jobs or held_bytes >= bounds.bytes:
        raise TooManyExports(exports=len(kept), limit=bounds.jobs, bytes=held_bytes, limitBytes=bounds.bytes)
    for useless in [it for it in others if it not in kept][max(0, bounds.jobs - len(kept) - 1) :]:
        writer.drop_export_job(useless)
    return writer.add_export_job(job)
