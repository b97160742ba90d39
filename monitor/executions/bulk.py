"""Changes of many executions at the desk: stop, run again or delete what a filter finds, after a preview of it.

A preview says how many there are and seals the question: the real run takes the seal, and looks for the same again
among the executions that were there then. A job works on durable ids, one by one as the single commands do, so that it
goes on after a restart without doing anything twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer, Unopenable
from monitor.clock import Clock
from monitor.errors import (
    BulkJobNotFound,
    CannotCancelExecution,
    ClientError,
    InvalidBulk,
    RateLimited,
    Unavailable,
)
from monitor.executions.audit import Audit
from monitor.executions.changes import Changes
from monitor.executions.commands import Commands
from monitor.executions.turns import Turns
from monitor.executions.waiting import Commanded
from monitor.projections.filter import Filter, parse_json
from monitor.projections.view import Summary
from monitor.store.base import Reader, Store, Writer
from monitor.store.execution_port import ListQuery
from monitor.store.order_port import BulkItem, BulkJob, BulkKind, Outcome

MOST_EXECUTIONS: Final = 1_000
"""Of one job: a transaction stores them all, and a person can still read what became of each."""

SAMPLE: Final = 10
"""Executions that a preview names."""

PREVIEW_S: Final = 600
"""How long a preview is good for: what it showed is out of date by then."""

AT_ONCE: Final = 8
"""Executions of one job that are worked on at a time; each may wait some seconds for its engine."""

TURN: Final = 48
"""Executions of a job in one turn, then it stands in line again: some seconds, where each waits for its engine."""

MOST_JOBS: Final = 20
"""Of a team that have not finished: whoever asks for more waits."""

_FULL_S: Final = 10

_JOBS_AT_ONCE: Final = 8
_TRIES: Final = 3
_PAUSE_S: Final = 1.0


class Wanted(NamedTuple):
    """Which executions: those that a filter finds, or those of these ids."""

    filter: dict[str, Any] | None
    ids: Sequence[str] | None
    limit: int


class Preview(NamedTuple):
    """What a run would be about."""

    matched: int
    is_lower_bound: bool
    # How many of them the run would take.
    taken: int
    sample: Sequence[Summary]
    token: str
    expires_us: int


class Progress(NamedTuple):
    """A job and what became of its executions."""

    job: BulkJob
    items: Sequence[BulkItem]


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    filter: dict[str, Any]
    limit: int
    at_us: int
    nonce: bytes


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Sealed).decode


class Bulk:
    """The use cases, and the loop that carries jobs out."""

    def __init__(
        self,
        *,
        store: Store,
        commands: Commands,
        changes: Changes,
        audit: Audit,
        sealer: Sealer,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store, self._commands, self._changes = store, commands, changes
        self._audit, self._sealer, self._clock, self._random_bytes = audit, sealer, clock, random_bytes
        self._woken = asyncio.Event()
        self._turns = Turns(_JOBS_AT_ONCE)
        # Set, and replaced, whenever a job ends, or may have ended elsewhere.
        self._ended = asyncio.Event()
        self._log = structlog.get_logger("bulk")

    # --- what is asked for -------------------------------------------------------------------------------------------

    async def preview(self, who: Principal, kind: BulkKind, wanted: Wanted) -> Preview:
        """How many executions a run would take, the first of them, and the token that it needs. Raises InvalidFilter
        and InvalidBulk.
        """
        if wanted.filter is None:
            raise InvalidBulk("a preview is of a 'filter'", field="filter")
        sealed = _Sealed(wanted.filter, wanted.limit, self._clock.now_us(), self._random_bytes(12))
        query = self._query(who, sealed, SAMPLE)
        page, _ = await self._store.read(lambda reader: reader.executions(query))
        return Preview(
            page.total,
            page.total_is_lower_bound,
            min(page.total, wanted.limit),
            page.rows,
            self._sealer.token(_purpose(who, kind), _encode(sealed)),
            sealed.at_us + PREVIEW_S * 1_000_000,
        )

    async def start(
        self, who: Principal, kind: BulkKind, wanted: Wanted, token: str | None, *, force: bool, seed: str | None = None
    ) -> Progress:
        """A job over what was previewed, or over explicit ids. The same token again is the same job.

        Raises InvalidBulk where there is neither, or the token is none, of another question or too old; RateLimited
        while the team has MOST_JOBS that have not finished.
        """
        if wanted.ids is not None:
            ids, word = list(dict.fromkeys(wanted.ids)), self._word(who, seed)
        elif token is not None:
            sealed = self._opened(who, kind, wanted, token)
            word = sealed.nonce.hex()
            ids = await self._store.read(lambda reader: self._found(reader, who, sealed))
        else:
            raise InvalidBulk("name 'ids', or ask with dryRun first and send its 'previewToken'", field="previewToken")
        job = BulkJob(
            id=f"bulk_{word}",
            team=who.team,
            actor=who.name,
            kind=kind,
            force=force,
            count=len(ids),
            created_us=self._clock.now_us(),
        )
        if await self._store.write(lambda writer: _add(writer, job, ids), durable=True):
            await self._audit.record(who, f"bulk.{kind}", job.id, count=len(ids), force=force)
            self._woken.set()
        return await self.single(who, job.id)

    async def single(self, who: Principal, job_id: str) -> Progress:
        """A job. Raises BulkJobNotFound."""

        def work(reader: Reader) -> Progress | None:
            job = reader.bulk_job(who.team, job_id) if job_id.isprintable() else None
            return None if job is None else Progress(job, reader.bulk_items(job.key))

        found = await self._store.read(work)
        if found is None:
            raise BulkJobNotFound(jobId=job_id)
        return found

    async def settled(self, who: Principal, job_id: str, within_s: float) -> Progress:
        """A job once it has ended, or as it stands after `within_s` seconds. Raises BulkJobNotFound."""

        def is_running(reader: Reader) -> bool:
            job = reader.bulk_job(who.team, job_id)
            return job is not None and job.finished_us is None

        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                ended = self._ended  # before the look, so that no end is missed
                while await self._store.read(is_running):
                    await ended.wait()
                    ended = self._ended
        return await self.single(who, job_id)

    def _word(self, who: Principal, seed: str | None) -> str:
        if seed is None:
            return self._random_bytes(12).hex()
        asked = msgspec.json.encode((who.team, who.token_id or who.name, seed))
        return blake2b(asked, digest_size=12, person=b"monitor-bulk").hexdigest()

    def _query(self, who: Principal, sealed: _Sealed, limit: int) -> ListQuery:
        return ListQuery(who.team, _filter(sealed.filter), "-startedAt", limit)

    def _found(self, reader: Reader, who: Principal, sealed: _Sealed) -> list[str]:
        """Ids of what fits and was there at the preview."""
        query = self._query(who, sealed, sealed.limit)
        page, _ = reader.executions(query._replace(created_until_us=sealed.at_us))
        return [row.id for row in page.rows]

    def _opened(self, who: Principal, kind: BulkKind, wanted: Wanted, token: str) -> _Sealed:
        try:
            sealed = _decode(self._sealer.untoken(_purpose(who, kind), token))
        except Unopenable:
            message = "'previewToken' was not made here for this; ask with dryRun"
            raise InvalidBulk(message, field="previewToken") from None
        if sealed.at_us + PREVIEW_S * 1_000_000 < self._clock.now_us():
            raise InvalidBulk("'previewToken' is too old; ask with dryRun again", field="previewToken")
        if wanted.filter is not None and _filter(wanted.filter) != _filter(sealed.filter):
            raise InvalidBulk("'filter' is not the one that was previewed", field="filter")
        return sealed

    def wake(self) -> None:
        """Look for jobs that are not being worked on, and have those look who wait for one: another process may have
        made the former, and ended the latter.
        """
        self._woken.set()
        self._tell_ended()

    def _tell_ended(self) -> None:
        self._ended.set()
        self._ended = asyncio.Event()

    # --- the work ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry jobs out until cancelled, those first that a process before left behind."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._woken.clear()
                try:
                    await self._begin(group)
                except Unavailable as error:
                    self._log.warning("cannot look for jobs for the moment", code=error.code, reason=error.message)
                    await self._clock.sleep(_PAUSE_S)
                else:
                    await self._woken.wait()

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        for job in self._turns.begin(await self._store.read(lambda reader: reader.running_bulk_jobs())):
            group.create_task(self._work(job), name=job.id)

    async def _work(self, job: BulkJob) -> None:
        try:
            items = await self._store.read(lambda reader: reader.bulk_items(job.key))
            left = [(place, item) for place, item in enumerate(items) if item.outcome is None]
            rest = iter(left[:TURN])
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._work_through(job, rest))
            if len(left) <= TURN:
                done = replace(job, finished_us=self._clock.now_us())
                await self._store.write(lambda writer: writer.finish_bulk_job(done), durable=True)
                self._tell_ended()
        except* Unavailable as group_error:
            self._log.warning("a job rests for the moment", job=job.id, reason=str(group_error.exceptions[0]))
            await self._clock.sleep(_PAUSE_S)
        finally:
            self._turns.end(job)
            self._woken.set()

    async def _work_through(self, job: BulkJob, rest: Any) -> None:
        for place, item in rest:
            outcome = await self._one(job, item.execution_id)
            await self._store.write(partial(_put, job.key, place, outcome))

    async def _one(self, job: BulkJob, execution_id: str) -> BulkItem:
        item = BulkItem(execution_id)
        for _ in range(_TRIES):
            try:
                return await self._change(job, execution_id)
            except ClientError as refused:
                return BulkItem(execution_id, "refused", refused.code, refused.message)
            except Unavailable as away:
                item = BulkItem(execution_id, "failed", away.code, away.message)
                await self._clock.sleep(_PAUSE_S)
        return item

    async def _change(self, job: BulkJob, execution_id: str) -> BulkItem:
        who = Principal(team=job.team, name=job.actor, role="operator", token_id=job.id)
        seed = f"{job.id}\n{execution_id}"
        if job.kind == "delete":
            await self._changes.delete(who, execution_id, force=job.force)
            return BulkItem(execution_id, "done")
        if job.kind == "retry":
            new = await self._commands.retry(who, execution_id, seed=seed)
            return BulkItem(execution_id, _outcome(new), new_execution_id=new.execution_id)
        try:
            stopped = await self._commands.cancel(who, execution_id, "bulk", force=job.force, seed=seed)
        except CannotCancelExecution:
            if await self._commands.is_issued(who, seed):  # by this very job, before a restart
                return BulkItem(execution_id, "done")
            raise
        return BulkItem(execution_id, _outcome(stopped))


def _purpose(who: Principal, kind: BulkKind) -> str:
    return f"bulk:{kind}:{who.team}"


def _add(writer: Writer, job: BulkJob, ids: Sequence[str]) -> bool:
    """Whether it is new: of equal ones at once, one is. Raises RateLimited."""
    if writer.bulk_job(job.team, job.id) is not None:
        return False
    if sum(it.team == job.team for it in writer.running_bulk_jobs()) >= MOST_JOBS:
        message = f"your team has {MOST_JOBS} jobs that have not finished; ask again when one of them has"
        raise RateLimited(message, retry_after_s=_FULL_S)
    writer.add_bulk_job(job, ids)
    return True


def _outcome(commanded: Commanded) -> Outcome:
    return "done" if commanded.is_done else "accepted"


def _put(job_key: int, place: int, item: BulkItem, writer: Writer) -> None:
    writer.put_bulk_item(job_key, place, item)


def _filter(said: dict[str, Any]) -> Filter:
    return parse_json(said)
