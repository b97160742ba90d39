"""Orders in memory: says in plain Python what `orders` does in SQL. `memory_ledger` mixes it in."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from monitor.store.order_port import BulkItem, BulkJob, IdempotentRequest


@dataclass(slots=True)
class OrderTables:
    """Everything that is stored. Rows are replaced, never changed."""

    last_bulk_key: int = 0
    idempotent_requests: dict[tuple[str, str, str], IdempotentRequest] = field(default_factory=dict)
    bulk_jobs: dict[int, BulkJob] = field(default_factory=dict)
    bulk_items: dict[tuple[int, int], BulkItem] = field(default_factory=dict)

    def copy(self) -> "OrderTables":
        """Tables of their own that share the rows."""
        held = ((member.name, getattr(self, member.name)) for member in fields(self))
        members: dict[str, Any] = {name: dict(it) if isinstance(it, dict) else it for name, it in held}
        return OrderTables(**members)


class MemoryOrders:
    """Implements OrderReader and OrderWriter over `_orders`."""

    _orders: OrderTables

    def idempotent_request(self, team: str, principal: str, key: str) -> IdempotentRequest | None:
        return self._orders.idempotent_requests.get((team, principal, key))

    def idempotent_requests(self, team: str) -> int:
        return sum(key[0] == team for key in self._orders.idempotent_requests)

    def bulk_job(self, team: str, job_id: str) -> BulkJob | None:
        return next((it for it in self._orders.bulk_jobs.values() if (it.team, it.id) == (team, job_id)), None)

    def running_bulk_jobs(self) -> Sequence[BulkJob]:
        return [job for job in self._orders.bulk_jobs.values() if job.finished_us is None]

    def bulk_items(self, job_key: int) -> Sequence[BulkItem]:
        return [item for (key, _), item in sorted(self._orders.bulk_items.items()) if key == job_key]

    def put_idempotent_request(self, request: IdempotentRequest) -> None:
        self._orders.idempotent_requests[request.team, request.principal, request.key] = request

    def forget_idempotent_requests(self, before_us: int, limit: int) -> int:
        held = self._orders.idempotent_requests
        old = sorted((it.created_us, key) for key, it in held.items() if it.created_us < before_us)[:limit]
        for _, key in old:
            del held[key]
        return len(old)

    def add_bulk_job(self, job: BulkJob, execution_ids: Sequence[str]) -> BulkJob:
        self._orders.last_bulk_key += 1
        job = msgspec.structs.replace(job, key=self._orders.last_bulk_key)
        self._orders.bulk_jobs[job.key] = job
        for place, execution_id in enumerate(execution_ids):
            self._orders.bulk_items[job.key, place] = BulkItem(execution_id)
        return job

    def put_bulk_item(self, job_key: int, place: int, item: BulkItem) -> None:
        self._orders.bulk_items[job_key, place] = item

    def finish_bulk_job(self, job: BulkJob) -> None:
        self._orders.bulk_jobs[job.key] = job

    def forget_bulk_jobs(self, before_us: int, limit: int) -> int:
        jobs = self._orders.bulk_jobs.values()
        gone = sorted(job.key for job in jobs if job.finished_us is not None and job.created_us < before_us)
        if not gone:
            return 0
        items = [at for at in sorted(self._orders.bulk_items) if at[0] == gone[0]][:limit]
        for at in items:
            del self._orders.bulk_items[at]
        if not items:
            del self._orders.bulk_jobs[gone[0]]
        return len(items) or 1
