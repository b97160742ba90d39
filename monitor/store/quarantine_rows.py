"""What could not be applied, in SQLAlchemy Core: mixins for the drivers' readers and writers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, delete, func, insert, select, update

from monitor.errors import Fenced
from monitor.events.model import Poison
from monitor.projections.bursts import UNCOUNTED, Halt
from monitor.store import quarantine_tables, tables
from monitor.store.quarantine_port import (
    EVERYTHING,
    Decision,
    HaltRow,
    Quarantined,
    QuarantineQuery,
    QuarantineRow,
)

_Q: Final = quarantine_tables.quarantine.c

_ROW: Final = (
    *(_Q.id, _Q.team, _Q.partition, _Q.offset, _Q.stored_us, _Q.reason, _Q.field, _Q.message),
    *(_Q.decision, _Q.decided_us, _Q.decided_by, func.length(_Q.value)),
)

_headers: Final = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...])


class QuarantineReads:
    """Implements QuarantineReader over `_connection`."""

    _connection: Connection

    def quarantine(self, limit: int, query: QuarantineQuery = EVERYTHING) -> Sequence[QuarantineRow]:
        wanted = _fitting(query).order_by(_Q.id.desc()).limit(limit)
        return [QuarantineRow(*row) for row in self._connection.execute(wanted)]

    def quarantined(self, id_: int) -> Quarantined | None:
        wanted = select(*_ROW, _Q.key, _Q.value, _Q.headers).where(_Q.id == id_)
        found = self._connection.execute(wanted).one_or_none()
        if found is None:
            return None
        *row, key, value, headers = found
        return Quarantined(QuarantineRow(*row), key, value, _headers.decode(headers))

    def undecided(self) -> int:
        wanted = select(func.count()).select_from(quarantine_tables.quarantine).where(quarantine_tables.UNDECIDED)
        return self._connection.scalars(wanted).one()

    def undecided_in(self, partition: int, start: int) -> Sequence[int]:
        wanted = select(_Q.offset).where(quarantine_tables.UNDECIDED, _Q.partition == partition, _Q.offset >= start)
        return self._connection.scalars(wanted.where(_Q.reason.not_in(UNCOUNTED)).order_by(_Q.offset)).all()

    def halts(self) -> Mapping[int, HaltRow]:
        found = self._connection.execute(select(quarantine_tables.halts))
        return {partition: HaltRow(Halt(*row[:5]), *row[5:]) for partition, *row in found}


class QuarantineWrites(QuarantineReads):
    """Implements what QuarantineWriter adds, and puts records in."""

    def decide(self, id_: int, decision: Decision, decided_us: int, decided_by: str) -> None:
        decided = {"decision": decision, "decided_us": decided_us, "decided_by": decided_by}
        self._connection.execute(update(quarantine_tables.quarantine).where(_Q.id == id_).values(decided))

    def _add_quarantine(self, poison: Iterable[Poison]) -> None:
        values = [_values(bad) for bad in poison]
        if values:
            halts = self.halts()
            decided = [row | _decided_already(halts.get(row["partition"]), row["offset"]) for row in values]
            self._connection.execute(insert(quarantine_tables.quarantine), decided)

    def resume(self, partition: int, until: int, resumed_us: int, resumed_by: str) -> int:
        found = self.halts().get(partition)
        if found is None or not found.stands:
            return 0
        resumed = {"until": until, "resumed_us": resumed_us, "resumed_by": resumed_by}
        self._connection.execute(
            update(quarantine_tables.halts).where(quarantine_tables.halts.c.partition == partition).values(resumed)
        )
        burst = (quarantine_tables.UNDECIDED, _Q.partition == partition, _Q.offset >= found.halt.first)
        accepted = {"decision": "accepted", "decided_us": resumed_us, "decided_by": resumed_by}
        counted = _Q.reason.not_in(UNCOUNTED)
        return self._connection.execute(
            update(quarantine_tables.quarantine).where(*burst, counted).values(accepted)
        ).rowcount

    def _halt(self, partition: int, halt: Halt) -> None:
        """Beside the move to where it stands. Raises Fenced where the partition does not stand there."""
        offsets = tables.offsets.c
        standing = select(offsets.next).where(offsets.partition == partition)
        if self._connection.scalars(standing).one() != halt.offset:
            raise Fenced(f"partition {partition} does not stand at {halt.offset}")
        self._connection.execute(
            delete(quarantine_tables.halts).where(quarantine_tables.halts.c.partition == partition)
        )
        self._connection.execute(insert(quarantine_tables.halts).values(partition=partition, **halt._asdict()))


def _fitting(query: QuarantineQuery) -> Select[Any]:
    wanted = select(*_ROW)
    for column, said in (
        *((_Q.team, query.team), (_Q.reason, query.reason)),
        *((_Q.partition, query.partition), (_Q.decision, query.decision)),
    ):
        if said is not None:
            wanted = wanted.where(column == said)
    if query.is_decided is not None:
        wanted = wanted.where(_Q.decision.is_not(None) if query.is_decided else quarantine_tables.UNDECIDED)
    if query.since_us is not None:
        wanted = wanted.where(_Q.stored_us >= query.since_us)
    if query.until_us is not None:
        wanted = wanted.where(_Q.stored_us < query.until_us)
    return wanted if query.before_id is None else wanted.where(_Q.id < query.before_id)


def _decided_already(row: HaltRow | None, offset: int) -> dict[str, Any]:
    """The decision about a record of a burst that was accepted before it was read to its end."""
    is_forgiven = row is not None and row.until is not None and offset < row.until
    return {
        "decision": "accepted" if is_forgiven else None,
        "decided_us": row.resumed_us if row and is_forgiven else None,
        "decided_by": row.resumed_by if row and is_forgiven else None,
    }


def _values(bad: Poison) -> dict[str, Any]:
    record = bad.record
    return {
        "team": bad.team,
        "partition": record.partition,
        "offset": record.offset,
        "stored_us": record.stored_us,
        "reason": bad.reason,
        "field": bad.field,
        "message": bad.message,
        "key": record.key,
        "value": record.value,
        "headers": msgspec.msgpack.encode(record.headers),
    }
