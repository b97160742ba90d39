"""Orders in SQL that both databases share. `queries` and `ledger` mix them in."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from monitor.store import order_tables
from monitor.store.order_port import BulkItem, BulkJob, IdempotentRequest

_I: Final = order_tables.idempotent_requests.c
_J: Final = order_tables.bulk_jobs.c
_T: Final = order_tables.bulk_items.c

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_job: Final = msgspec.msgpack.Decoder(BulkJob).decode
_decode_item: Final = msgspec.msgpack.Decoder(BulkItem).decode


class OrderReads:
    """Implements OrderReader over `_connection`."""

    _connection: Connection

    def idempotent_request(self, team: str, principal: str, key: str) -> IdempotentRequest | None:
        wanted = select(order_tables.idempotent_requests).where(*_is(team, principal, key))
        found = self._connection.execute(wanted).one_or_none()
        return None if found is None else IdempotentRequest(*found)

    def idempotent_requests(self, team: str) -> int:
        counted = select(func.count()).select_from(order_tables.idempotent_requests).where(_I.team == team)
        return int(self._connection.scalar(counted) or 0)

    def bulk_job(self, team: str, job_id: str) -> BulkJob | None:
        found = self._connection.execute(select(_J.key, _J.body).where(_J.id == job_id, _J.team == team)).one_or_none()
        return None if found is None else _job(*found)

    def running_bulk_jobs(self) -> Sequence[BulkJob]:
        wanted = select(_J.key, _J.body).where(order_tables.RUNNING_BULK).order_by(_J.key)
        return [_job(*row) for row in self._connection.execute(wanted)]

    def bulk_items(self, job_key: int) -> Sequence[BulkItem]:
        wanted = select(_T.body).where(_T.job_key == job_key).order_by(_T.place)
        return [_decode_item(body) for body in self._connection.scalars(wanted)]


class OrderWrites(OrderReads):
    """Implements OrderWriter."""

    def put_idempotent_request(self, request: IdempotentRequest) -> None:
        self._drop_idempotent_request(request.team, request.principal, request.key)
        self._connection.execute(insert(order_tables.idempotent_requests).values(request._asdict()))

    def _drop_idempotent_request(self, team: str, principal: str, key: str) -> None:
        self._connection.execute(delete(order_tables.idempotent_requests).where(*_is(team, principal, key)))

    def forget_idempotent_requests(self, before_us: int, limit: int) -> int:
        old = select(_I.team, _I.principal, _I.key).where(_I.created_us < before_us).order_by(_I.created_us)
        gone = self._connection.execute(old.limit(limit)).all()
        for row in gone:
            self._drop_idempotent_request(*row)
        return len(gone)

    def add_bulk_job(self, job: BulkJob, execution_ids: Sequence[str]) -> BulkJob:
        row = {"id": job.id, "team": job.team, "created_us": job.created_us, "running": 1, "body": _encode(job)}
        key = self._connection.scalars(insert(order_tables.bulk_jobs).values(row).returning(_J.key)).one()
        items = [
            {"job_key": key, "place": place, "body": _encode(BulkItem(id_))} for place, id_ in enumerate(execution_ids)
        ]
        if items:
            self._connection.execute(insert(order_tables.bulk_items), items)
        return msgspec.structs.replace(job, key=key)

    def put_bulk_item(self, job_key: int, place: int, item: BulkItem) -> None:
        its = update(order_tables.bulk_items).where(_T.job_key == job_key, _T.place == place)
        self._connection.execute(its.values(body=_encode(item)))

    def finish_bulk_job(self, job: BulkJob) -> None:
        self._connection.execute(
            update(order_tables.bulk_jobs).where(_J.key == job.key).values(running=0, body=_encode(job))
        )

    def forget_bulk_jobs(self, before_us: int, limit: int) -> int:
        old = select(_J.key).where(_J.running == 0, _J.created_us < before_us)
        key = self._connection.scalar(old.order_by(_J.key).limit(1))
        if key is None:
            return 0
        some = select(_T.place).where(_T.job_key == key).order_by(_T.place).limit(limit)
        gone = delete(order_tables.bulk_items).where(_T.job_key == key, _T.place.in_(some))
        if count := self._connection.execute(gone).rowcount:
            return count
        return self._connection.execute(delete(order_tables.bulk_jobs).where(_J.key == key)).rowcount


def _is(team: str, principal: str, key: str) -> tuple[ColumnElement[bool], ...]:
    return (_I.team == team, _I.principal == principal, _I.key == key)


def _job(key: int, body: bytes) -> BulkJob:
    return msgspec.structs.replace(_decode_job(body), key=key)
