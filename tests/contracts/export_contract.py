"""The promises of the store port about export jobs, as tests that every driver has to pass."""

from functools import partial

from msgspec.structs import replace

from monitor.store import Store, Writer
from monitor.store.export_port import ExportAsked, ExportJob

ASKED = ExportAsked(format="csv", columns=["id", "status"], filter={"status": ["failed", "crashed"]}, sort="startedAt")
JOB = ExportJob(id="exp_1", team="acme", actor="ada", asked=ASKED, created_us=1_000)


def _add(job: ExportJob, writer: Writer) -> ExportJob:
    return writer.add_export_job(job)


class ExportContract:
    """Mixed into a driver's class, which gives the fixture `store`."""

    async def test_export_keeps_how_far_it_is(self, store: Store) -> None:
        """With everything that was asked; a team finds its own, the newest first."""
        job = await store.write(partial(_add, JOB))
        assert job == replace(JOB, key=job.key)
        moved = replace(job, state="running", rows=3, bytes=2**40, after=(None, 7), total=9, worked_us=5)
        assert await store.write(lambda writer: writer.put_export_job(moved)) is True
        assert await store.read(lambda reader: reader.export_job("acme", "exp_1")) == moved
        assert await store.read(lambda reader: reader.export_job("else", "exp_1")) is None
        second = await store.write(partial(_add, replace(JOB, id="exp_2")))
        assert list(await store.read(lambda reader: reader.export_jobs("acme"))) == [second, moved]
        assert list(await store.read(lambda reader: reader.export_jobs("else"))) == []

    async def test_export_that_has_ended_does_not_move(self, store: Store) -> None:
        """Nor one that is gone: whoever writes its file is told so."""
        first, second = [await store.write(partial(_add, replace(JOB, id=id_))) for id_ in ("exp_1", "exp_2")]
        assert list(await store.read(lambda reader: reader.open_export_jobs())) == [first, second]
        cancelled = replace(first, state="cancelled", expires_us=9_000)
        assert await store.write(lambda writer: writer.put_export_job(cancelled)) is True
        assert await store.write(lambda writer: writer.put_export_job(replace(first, rows=1))) is False
        await store.write(lambda writer: writer.drop_export_job(second))
        assert await store.write(lambda writer: writer.put_export_job(replace(second, rows=1))) is False
        assert list(await store.read(lambda reader: reader.export_jobs("acme"))) == [cancelled]
        assert list(await store.read(lambda reader: reader.open_export_jobs())) == []

    async def test_exports_expire_once_they_have_ended(self, store: Store) -> None:
        """At their time; those that run have none. A key is never used again."""
        added = [await store.write(partial(_add, replace(JOB, id=f"exp_{number}"))) for number in range(4)]
        completed = replace(added[0], state="completed", expires_us=2_000)
        for ended in (completed, replace(added[1], state="failed", expires_us=2_001)):
            await store.write(partial(_put, ended))
        await store.write(partial(_put, replace(added[2], state="completed", expires_us=3_000)))
        kept = await store.read(lambda reader: reader.kept_exports())
        assert [job.id for job in kept] == ["exp_0", "exp_2", "exp_3"]
        assert list(await store.write(lambda writer: writer.drop_expired_exports(1_999))) == []
        assert list(await store.write(lambda writer: writer.drop_expired_exports(2_000))) == [completed]
        await store.write(lambda writer: writer.drop_expired_exports(10_000))
        assert [job.id for job in await store.read(lambda reader: reader.export_jobs("acme"))] == ["exp_3"]
        await store.write(lambda writer: writer.drop_export_job(added[3]))
        assert (await store.write(partial(_add, JOB))).key > added[3].key


def _put(job: ExportJob, writer: Writer) -> bool:
    return writer.put_export_job(job)
