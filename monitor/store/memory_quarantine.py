"""What could not be applied, in memory. `memory` mixes it into its sessions."""

from collections.abc import Iterable, Mapping, Sequence

from monitor.events.model import Poison
from monitor.projections.bursts import UNCOUNTED
from monitor.store.quarantine_port import (
    EVERYTHING,
    Decision,
    HaltRow,
    Quarantined,
    QuarantineQuery,
    QuarantineRow,
)


class MemoryQuarantine:
    """The quarantine part of the Reader and Writer ports."""

    # By id; rows are replaced, never changed.
    _quarantine: dict[int, Quarantined]
    # By partition.
    _halts: dict[int, HaltRow]

    def quarantine(self, limit: int, query: QuarantineQuery = EVERYTHING) -> Sequence[QuarantineRow]:
        fitting = [it.row for it in self._quarantine.values() if _fits(it.row, query)]
        return fitting[::-1][:limit]

    def quarantined(self, id_: int) -> Quarantined | None:
        return self._quarantine.get(id_)

    def undecided(self) -> int:
        return sum(it.row.decision is None for it in self._quarantine.values())

    def undecided_in(self, partition: int, start: int) -> Sequence[int]:
        rows = (it.row for it in self._quarantine.values() if it.row.decision is None)
        counted = (row for row in rows if row.partition == partition and row.reason not in UNCOUNTED)
        return sorted(row.offset for row in counted if row.offset >= start)

    def halts(self) -> Mapping[int, HaltRow]:
        return dict(self._halts)

    def resume(self, partition: int, until: int, resumed_us: int, resumed_by: str) -> int:
        found = self._halts.get(partition)
        if found is None or not found.stands:
            return 0
        self._halts[partition] = HaltRow(found.halt, until, resumed_us, resumed_by)
        burst = self.undecided_in(partition, found.halt.first)
        rows = [it.row for it in self._quarantine.values() if it.row.partition == partition]
        accepted = [row.id for row in rows if row.offset in burst and row.decision is None]
        for id_ in accepted:
            self.decide(id_, "accepted", resumed_us, resumed_by)
        return len(accepted)

    def decide(self, id_: int, decision: Decision, decided_us: int, decided_by: str) -> None:
        found = self._quarantine[id_]
        row = found.row._replace(decision=decision, decided_us=decided_us, decided_by=decided_by)
        self._quarantine[id_] = found._replace(row=row)

    def _add_quarantine(self, poison: Iterable[Poison]) -> None:
        for bad in poison:
            id_ = len(self._quarantine) + 1
            self._quarantine[id_] = _quarantined(id_, bad)
            of = self._halts.get(bad.record.partition)
            if of and of.until is not None and bad.record.offset < of.until:
                self.decide(id_, "accepted", of.resumed_us or 0, of.resumed_by or "")


def _quarantined(id_: int, bad: Poison) -> Quarantined:
    record = bad.record
    row = QuarantineRow(
        id=id_,
        team=bad.team,
        partition=record.partition,
        offset=record.offset,
        stored_us=record.stored_us,
        reason=bad.reason,
        field=bad.field,
        message=bad.message,
        decision=None,
        decided_us=None,
        decided_by=None,
        size_bytes=None if record.value is None else len(record.value),
    )
    return Quarantined(row, record.key, record.value, record.headers)


def _fits(row: QuarantineRow, query: QuarantineQuery) -> bool:
    return (
        query.team in (None, row.team)
        and query.reason in (None, row.reason)
        and query.partition in (None, row.partition)
        and query.decision in (None, row.decision)
        and query.is_decided in (None, row.decision is not None)
        and (query.since_us is None or row.stored_us >= query.since_us)
        and (query.until_us is None or row.stored_us < query.until_us)
        and (query.before_id is None or row.id < query.before_id)
    )
