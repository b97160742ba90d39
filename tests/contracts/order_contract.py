"""The promises of the store port about orders, as tests that every driver has to pass."""

from functools import partial

from msgspec.structs import replace

from monitor.store import Store, Writer
from monitor.store.order_port import BulkItem, BulkJob, IdempotentRequest

ASKED = IdempotentRequest("acme", "ada", "key-1", b"hash", 1_000)
JOB = BulkJob(id="bulk_1", team="acme", actor="ada", kind="stop", count=2, created_us=1_000)


def _put(asked: IdempotentRequest, writer: Writer) -> None:
    writer.put_idempotent_request(asked)


def _add(job: BulkJob, writer: Writer) -> BulkJob:
    return writer.add_bulk_job(job, ["a"])


class OrderContract:
    """Mixed into a driver's class, which gives the fixture `store`."""

    async def test_a_key_stands_for_the_latest_that_was_put(self, store: Store) -> None:
        """By team, principal and key."""
        answered = ASKED._replace(answer=b"200")
        await store.write(lambda writer: writer.put_idempotent_request(ASKED))
        await store.write(lambda writer: writer.put_idempotent_request(answered))
        await store.write(lambda writer: writer.put_idempotent_request(ASKED._replace(principal="bob")))
        assert await store.read(lambda reader: reader.idempotent_request("acme", "ada", "key-1")) == answered
        assert await store.read(lambda reader: reader.idempotent_request("else", "ada", "key-1")) is None

    async def test_old_keys_are_forgotten(self, store: Store) -> None:
        """Those that came before a time."""
        for number in range(3):
            asked = ASKED._replace(key=f"key-{number}", created_us=number)
            await store.write(partial(_put, asked))
        assert await store.read(lambda reader: reader.idempotent_requests("acme")) == 3
        assert await store.read(lambda reader: reader.idempotent_requests("else")) == 0
        assert await store.write(lambda writer: writer.forget_idempotent_requests(2, 1)) == 1
        assert await store.read(lambda reader: reader.idempotent_request("acme", "ada", "key-0")) is None
        assert await store.write(lambda writer: writer.forget_idempotent_requests(2, 5)) == 1
        assert await store.read(lambda reader: reader.idempotent_request("acme", "ada", "key-1")) is None
        assert await store.read(lambda reader: reader.idempotent_request("acme", "ada", "key-2")) is not None

    async def test_a_job_keeps_what_became_of_each(self, store: Store) -> None:
        """In order; a team finds its own."""
        job = await store.write(lambda writer: writer.add_bulk_job(JOB, ["b", "a"]))
        done = BulkItem("a", "refused", "CANNOT_CANCEL_EXECUTION", "too late")
        await store.write(lambda writer: writer.put_bulk_item(job.key, 1, done))
        assert list(await store.read(lambda reader: reader.bulk_items(job.key))) == [BulkItem("b"), done]
        assert await store.read(lambda reader: reader.bulk_job("acme", "bulk_1")) == job
        assert await store.read(lambda reader: reader.bulk_job("else", "bulk_1")) is None

    async def test_jobs_run_until_they_are_finished_and_are_forgotten_after(self, store: Store) -> None:
        """One that runs stays, however old it is; a key is never used again."""
        first, second = [await store.write(partial(_add, replace(JOB, id=id_))) for id_ in ("bulk_1", "bulk_2")]
        assert list(await store.read(lambda reader: reader.running_bulk_jobs())) == [first, second]
        finished = replace(second, finished_us=2_000)
        await store.write(lambda writer: writer.finish_bulk_job(finished))
        assert await store.read(lambda reader: reader.bulk_job("acme", "bulk_2")) == finished
        assert list(await store.read(lambda reader: reader.running_bulk_jobs())) == [first]
        assert await store.write(lambda writer: writer.forget_bulk_jobs(1_000, 9)) == 0
        assert await store.write(lambda writer: writer.forget_bulk_jobs(1_001, 1)) == 1
        assert await store.read(lambda reader: reader.bulk_job("acme", "bulk_2")) == finished
        assert await store.write(lambda writer: writer.forget_bulk_jobs(1_001, 1)) == 1
        assert await store.write(lambda writer: writer.forget_bulk_jobs(1_001, 1)) == 0
        assert await store.read(lambda reader: reader.bulk_job("acme", "bulk_2")) is None
        assert list(await store.read(lambda reader: reader.bulk_items(second.key))) == []
        third = await store.write(lambda writer: writer.add_bulk_job(replace(JOB, id="bulk_3"), []))
        assert third.key > second.key
