"""Export jobs in SQL that both databases share. `queries` and `sqlite_write` mix them in."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, delete, insert, select, update

from monitor.store.export_port import ExportJob
from monitor.store.export_tables import OPEN_EXPORT, export_jobs

_J: Final = export_jobs.c

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ExportJob).decode


class ExportReads:
    """Implements ExportReader over `_connection`."""

    _connection: Connection

    def export_job(self, team: str, job_id: str) -> ExportJob | None:
        found = self._jobs(_wanted().where(_J.team == team, _J.id == job_id))
        return found[0] if found else None

    def export_jobs(self, team: str) -> Sequence[ExportJob]:
        return self._jobs(_wanted().where(_J.team == team).order_by(_J.key.desc()))

    def open_export_jobs(self) -> Sequence[ExportJob]:
        return self._jobs(_wanted().where(OPEN_EXPORT).order_by(_J.key))

    def kept_exports(self) -> Sequence[ExportJob]:
        found = self._jobs(_wanted().order_by(_J.key))
        return [job for job in found if job.is_open or job.state == "completed"]

    def _jobs(self, wanted: Select[Any]) -> list[ExportJob]:
        found = self._connection.execute(wanted)
        return [msgspec.structs.replace(_decode(row.body), key=row.key) for row in found]


class ExportWrites(ExportReads):
    """Implements ExportWriter."""

    def add_export_job(self, job: ExportJob) -> ExportJob:
        row = {"id": job.id, "team": job.team, **_columns(job)}
        key = self._connection.scalars(insert(export_jobs).values(row).returning(_J.key)).one()
        return msgspec.structs.replace(job, key=key)

    def put_export_job(self, job: ExportJob) -> bool:
        its = update(export_jobs).where(_J.key == job.key, OPEN_EXPORT)
        return self._connection.execute(its.values(_columns(job))).rowcount > 0

    def drop_export_job(self, job: ExportJob) -> None:
        self._connection.execute(delete(export_jobs).where(_J.key == job.key))

    def drop_expired_exports(self, now_us: int) -> Sequence[ExportJob]:
        expired = self._jobs(_wanted().where(_J.expires_us <= now_us))
        for job in expired:
            self.drop_export_job(job)
        return expired


def _wanted() -> Select[Any]:
    return select(_J.key, _J.body)


def _columns(job: ExportJob) -> dict[str, Any]:
    return {"is_open": int(job.is_open), "expires_us": job.expires_us, "body": _encode(job)}
