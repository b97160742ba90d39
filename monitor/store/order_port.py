"""The store port's part for orders: requests that are answered once, and jobs over many executions. Ledger, never
rebuilt.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

BulkKind = Literal["stop", "retry", "delete"]

Outcome = Literal["done", "accepted", "refused", "failed"]
"""Of one execution: changed; taken by its engine, but not visible in time; refused as it stands; not reached."""


KEY_KEEP_S: Final = 86_400
"""How long an idempotency key stands for its request: who tries again does so within minutes, or after a night."""

JOB_KEEP_S: Final = 7 * 86_400
"""How long a finished job over many executions can be asked for."""


MOST_KEYS: Final = 100_000
"""Idempotency keys of a team that are kept at a time: one a second for a day, and some; about 50 MB."""


class IdempotentRequest(NamedTuple):
    """A request that came with an idempotency key."""

    team: str
    # Whose key it is.
    principal: str
    key: str
    # Hash of what was asked.
    fingerprint: bytes
    created_us: int
    # The answer as the face packed it; None while it is being carried out.
    answer: bytes | None = None


class BulkItem(msgspec.Struct, array_like=True, frozen=True):
    """What became of one execution of a job."""

    execution_id: str
    outcome: Outcome | None = None
    # Why it was refused or failed.
    code: str | None = None
    message: str | None = None
    # The new execution, for `retry`.
    new_execution_id: str | None = None


class BulkJob(msgspec.Struct, frozen=True, kw_only=True):
    """A change of many executions, one after the other."""

    # The store's integer key; 0 until it is stored.
    key: int = 0
    id: str
    team: str
    # Who asked for it.
    actor: str
    kind: BulkKind
    force: bool = False
    count: int
    created_us: int
    # None while it runs.
    finished_us: int | None = None


class OrderReader(Protocol):
    """Questions about orders."""

    def idempotent_request(self, team: str, principal: str, key: str) -> IdempotentRequest | None:
        """The request that came with a key."""
        ...

    def idempotent_requests(self, team: str) -> int:
        """How many keys of a team stand for something."""
        ...

    def bulk_job(self, team: str, job_id: str) -> BulkJob | None:
        """One of a team."""
        ...

    def running_bulk_jobs(self) -> Sequence[BulkJob]:
        """Those, of every team, that have not finished; the oldest first."""
        ...

    def bulk_items(self, job_key: int) -> Sequence[BulkItem]:
        """Every execution of a job, in order."""
        ...


class OrderWriter(OrderReader, Protocol):
    """What is stored of orders."""

    def put_idempotent_request(self, request: IdempotentRequest) -> None:
        """Store it, in place of what its key stood for."""
        ...

    def forget_idempotent_requests(self, before_us: int, limit: int) -> int:
        """Forget up to `limit` of those that came before; returns how many. Fewer than `limit`: that was all."""
        ...

    def add_bulk_job(self, job: BulkJob, execution_ids: Sequence[str]) -> BulkJob:
        """Store it with its executions, and return it with its key."""
        ...

    def put_bulk_item(self, job_key: int, place: int, item: BulkItem) -> None:
        """Replace one execution of a job, counted from 0."""
        ...

    def finish_bulk_job(self, job: BulkJob) -> None:
        """Replace the stored one of its key, which has finished."""
        ...

    def forget_bulk_jobs(self, before_us: int, limit: int) -> int:
        """Forget jobs that were asked for before and have finished, up to `limit` of their executions, and then the
        jobs that have none left. Returns how many rows went; 0: that was all.
        """
        ...
