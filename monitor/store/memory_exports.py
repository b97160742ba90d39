"""Export jobs in memory: says in plain Python what `exports` does in SQL. `memory` mixes it in."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from monitor.store.export_port import ExportJob


@dataclass(slots=True)
class ExportTables:
    """Everything that is stored. Rows are replaced, never changed."""

    last_key: int = 0
    jobs: dict[int, ExportJob] = field(default_factory=dict)

    def copy(self) -> "ExportTables":
        """Tables of their own that share the rows."""
        return ExportTables(self.last_key, dict(self.jobs))


class MemoryExports:
    """Implements ExportReader and ExportWriter over `_exports`."""

    _exports: ExportTables

    def export_job(self, team: str, job_id: str) -> ExportJob | None:
        return next((it for it in self._exports.jobs.values() if (it.team, it.id) == (team, job_id)), None)

    def export_jobs(self, team: str) -> Sequence[ExportJob]:
        return [it for it in reversed(self._exports.jobs.values()) if it.team == team]

    def open_export_jobs(self) -> Sequence[ExportJob]:
        return [it for it in self._exports.jobs.values() if it.is_open]

    def kept_exports(self) -> Sequence[ExportJob]:
        return [it for it in self._exports.jobs.values() if it.is_open or it.state == "completed"]

    def add_export_job(self, job: ExportJob) -> ExportJob:
        self._exports.last_key += 1
        job = msgspec.structs.replace(job, key=self._exports.last_key)
        self._exports.jobs[job.key] = job
        return job

    def put_export_job(self, job: ExportJob) -> bool:
        held = self._exports.jobs.get(job.key)
        if held is None or not held.is_open:
            return False
        self._exports.jobs[job.key] = job
        return True

    def drop_export_job(self, job: ExportJob) -> None:
        self._exports.jobs.pop(job.key, None)

    def drop_expired_exports(self, now_us: int) -> Sequence[ExportJob]:
        expired = [it for it in self._exports.jobs.values() if it.expires_us is not None and it.expires_us <= now_us]
        for job in expired:
            self.drop_export_job(job)
        return expired
