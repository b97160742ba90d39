"""Quarantine at the desk: what could not be applied, for people to look at and to decide about, each team its own.

A record stays there for good. Accepted, it is left out of every execution; replayed, its bytes went through intake once
more, which takes them only as an event. Decisions are durable and stand in the audit, as do reveals. A replay twice
over is harmless: an event is known by its id, and one without an id by its bytes.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from monitor.access.decoding import Decoding
from monitor.access.principal import Principal
from monitor.access.roles import Scope
from monitor.clock import Clock
from monitor.errors import (
    CannotAcceptRecord,
    CannotReplayRecord,
    ClientError,
    InsufficientPermissions,
    QuarantineNotFound,
)
from monitor.events.model import DEFAULT_TEAM, MAX_EVENT_BYTES, TEAM_HEADER, Event, Poison, Record
from monitor.events.position import Position
from monitor.executions.audit import Audit
from monitor.intake import Intake
from monitor.store.base import Reader, Store, Writer
from monitor.store.quarantine_port import RETENTION_CUT, Decision, Quarantined, QuarantineQuery, QuarantineRow
from monitor.telemetry.metrics import Metrics

T = TypeVar("T")

REVEAL: Final[Scope] = "executions:reveal"

_ID: Final = re.compile(r"qr_([0-9]{12})", re.ASCII)


def record_id(row: QuarantineRow) -> str:
    """What a record in quarantine is called outside."""
    return f"qr_{row.id:012}"


class QuarantinePage(NamedTuple):
    """Records, newest first."""

    rows: Sequence[QuarantineRow]
    has_more: bool


class Shown(NamedTuple):
    """A record with its bytes, masked unless they are revealed, and cut at 1 MiB."""

    row: QuarantineRow
    key: bytes | None
    value: bytes | None


class Quarantine:
    """The use cases of quarantine. Every method but `listed` raises QuarantineNotFound, and all raise Unavailable."""

    def __init__(
        self, *, store: Store, decoding: Decoding, intake: Intake, audit: Audit, clock: Clock, metrics: Metrics
    ) -> None:
        self._store, self._decoding, self._intake = store, decoding, intake
        self._audit, self._clock, self._metrics = audit, clock, metrics

    async def listed(self, who: Principal, query: QuarantineQuery, limit: int) -> QuarantinePage:
        """The latest `limit` records of the team that fit."""
        found = await self._store.read(lambda reader: reader.quarantine(limit + 1, query._replace(team=who.team)))
        return QuarantinePage([self._masked(row) for row in found[:limit]], len(found) > limit)

    async def shown(self, who: Principal, id_: str, *, reveal: bool = False) -> Shown:
        """One record. To `reveal` it needs a scope of its own: raises InsufficientPermissions."""
        if not reveal:
            found = await self._store.read(lambda reader: _found(reader, who, id_))
            # To mask a mebibyte may take a second or two: not on the event loop.
            return await asyncio.to_thread(self._shown, found)

        async def revealed() -> Shown:
            if not who.may(REVEAL):
                message = f"'reveal' needs the scope '{REVEAL}'; ask an administrator of your team for it"
                raise InsufficientPermissions(message, requiredPermission=REVEAL)
            found = await self._store.read(lambda reader: _found(reader, who, id_))
            await self._audit.record(who, "quarantine.reveal", id_)
            return Shown(self._masked(found.row), _cut(found.key), _cut(found.value))

        return await self._told(who, "quarantine.reveal", id_, revealed)

    async def accept(self, who: Principal, id_: str) -> QuarantineRow:
        """Leave a record out for good; again, it changes nothing. Raises CannotAcceptRecord for what was replayed."""

        def work(writer: Writer) -> QuarantineRow:
            row = _found(writer, who, id_).row
            if row.decision == "replayed":
                raise CannotAcceptRecord
            return row if row.decision else self._decide(writer, who, row, "accepted")

        async def accepted() -> QuarantineRow:
            return self._masked(await self._store.write(work, durable=True))

        return await self._told(who, "quarantine.accept", id_, accepted)

    async def replay(self, who: Principal, id_: str) -> tuple[QuarantineRow, Position | None]:
        """Put a record's bytes into the journal once more, and say where; None where that was done before.

        Raises CannotReplayRecord, which says why it still is no event.
        """

        async def replayed() -> tuple[QuarantineRow, Position | None]:
            found = await self._store.read(lambda reader: _found(reader, who, id_))
            if found.row.decision == "replayed":
                return self._masked(found.row), None
            position = await self._append(who, found)
            # Between the two a crash leaves it undecided, and a second replay is a repeat.
            row = await self._store.write(
                lambda writer: self._decide(writer, who, _found(writer, who, id_).row, "replayed"), durable=True
            )
            return self._masked(row), position

        return await self._told(who, "quarantine.replay", id_, replayed)

    async def _append(self, who: Principal, found: Quarantined) -> Position:
        event = self._event(who, found)
        headers = tuple(header for header in found.headers if header[0] != TEAM_HEADER)
        receipt = await self._intake.accept([event.record.value or b""], team=event.team, headers=headers)
        if fault := receipt.results[0].fault:
            raise self._refusal(fault.code, fault.message)
        return receipt.position

    def _event(self, who: Principal, found: Quarantined) -> Event:
        """What the record is by the rules of now."""
        row = found.row
        if row.reason == "id_reused":
            raise CannotReplayRecord(
                "another event has its id, and holds; accept that this one is left out, or have it sent with its own id"
            )
        if row.reason == RETENTION_CUT:
            raise CannotReplayRecord("the journal had lost these records before they were read; accept that")
        record = Record(row.partition, row.offset, found.key, found.value, found.headers, row.stored_us)
        [event] = self._decoding.revealed([record])
        if isinstance(event, Poison):
            raise self._refusal(event.reason, event.message)
        if who.team not in (event.team, DEFAULT_TEAM):
            raise CannotReplayRecord(f"it is another team's now; ask an administrator of the team '{DEFAULT_TEAM}'")
        return event

    def _refusal(self, reason: str, message: str) -> CannotReplayRecord:
        said = self._decoding.masking.masked_text(message)
        return CannotReplayRecord(
            f"the record still holds no event: {said}; mend what is wrong first, or accept that it is left out",
            reason=reason,
        )

    def _decide(self, writer: Writer, who: Principal, row: QuarantineRow, decision: Decision) -> QuarantineRow:
        now_us, action = self._clock.now_us(), "accept" if decision == "accepted" else "replay"
        writer.decide(row.id, decision, now_us, who.name)
        self._audit.note(writer, who, f"quarantine.{action}", record_id(row), reason=row.reason)
        self._metrics.decisions.labels(decision=decision).inc()
        return row._replace(decision=decision, decided_us=now_us, decided_by=who.name)

    async def reveal_refused(self, who: Principal, id_: str, code: str) -> None:
        """Tell the audit of somebody who may not ask for that."""
        await self._refused(who, "quarantine.reveal", id_, code)

    async def _refused(self, who: Principal, action: str, id_: str, code: str) -> None:
        await self._audit.record(who, action, id_ if _ID.fullmatch(id_) else "", outcome="refused", code=code)

    async def _told(self, who: Principal, action: str, id_: str, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except QuarantineNotFound:
            raise
        except ClientError as error:
            await self._refused(who, action, id_, error.code)
            raise

    def _shown(self, found: Quarantined) -> Shown:
        masked = self._decoding.masking.masked_record
        key, value = (said if said is None else masked(said) for said in (_cut(found.key), _cut(found.value)))
        return Shown(self._masked(found.row), key, value)

    def _masked(self, row: QuarantineRow) -> QuarantineRow:
        return row._replace(message=self._decoding.masking.masked_text(row.message))


def _cut(said: bytes | None) -> bytes | None:
    return said if said is None else said[:MAX_EVENT_BYTES]


def _found(reader: Reader, who: Principal, id_: str) -> Quarantined:
    known = _ID.fullmatch(id_)
    found = reader.quarantined(int(known[1])) if known else None
    if found is None or found.row.team != who.team:
        raise QuarantineNotFound
    return found
