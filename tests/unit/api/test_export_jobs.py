"""Exports as jobs by HTTP: the file is that of the streaming export, whatever happens between its portions."""

import errno
import json
import resource
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from monitor.api import export_jobs
from monitor.clock import Clock
from monitor.errors import StoreUnavailable
from monitor.executions import export_work
from monitor.executions.export_files import ExportFiles
from monitor.executions.export_jobs import Bounds, ExportJobs
from monitor.executions.export_work import ExportWork
from monitor.executions.idempotency import Idempotency
from monitor.store import MemoryStore, Store, listing, open_sqlite_store
from monitor.web.export_rows import form_of
from monitor.web.operations import routed
from monitor.web.problems import exception_handlers
from tests.support.clocks import ManualClock
from tests.support.commanding import principal
from tests.support.contract.checked import CHECKED
from tests.support.house import House, open_house

PAGE_ROWS = 20
ROWS = 5 * PAGE_ROWS
"""A little more than one portion, of smaller pages than usual."""

BOUNDS = Bounds(jobs=3, bytes=1 << 30, keep_s=3600)
STREAMED = "/v1/executions/export"


class Exporting:
    """A house with a desk for exports; its files are written when a test says so."""

    def __init__(self, house: House, folder: Path, clock: Clock, bounds: Bounds = BOUNDS) -> None:
        self.house, self.store, self.folder = house, house.store, folder
        self._clock, self._bounds = clock, bounds
        self.files = ExportFiles(folder)
        self.restart()
        jobs = ExportJobs(
            store=house.store,
            files=self.files,
            clock=clock,
            random_bytes=secrets.token_bytes,
            bounds=bounds,
            on_job=lambda: None,
        )
        asked = export_jobs.operations(jobs=jobs, idempotency=Idempotency(house.store, clock), clock=clock)
        self._application = Starlette(routes=routed(asked, principal), exception_handlers=exception_handlers(clock))

    def restart(self) -> None:
        """Forget everything that a process knows."""
        self.work = self.worker()

    def worker(self) -> ExportWork:
        """What another process has."""
        return ExportWork(
            store=self.store,
            files=self.files,
            clock=self._clock,
            bounds=self._bounds,
            form_of=form_of,
            random_bytes=secrets.token_bytes,
        )

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """Of the principal that the headers name."""
        asking = {f"x-{name}": value for name, value in headers.items()}
        transport = httpx.ASGITransport(self._application)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://monitor", headers=asking, event_hooks=CHECKED
        ) as client:
            yield client

    async def round(self) -> None:
        """One portion for each team; the rest after it takes no time."""
        await self.work._round()

    def file(self, at: str) -> Path:
        """That of an export, which is not empty."""
        [found] = [path for path in self.folder.glob(f"{at.rpartition('/')[2]}*") if path.suffix != ".keys"]
        return found

    async def streamed(self, **query: str) -> bytes:
        """What the streaming export answers."""
        async with self.house.client() as client:
            return (await client.get(STREAMED, params=query)).content


class Unhurried(ManualClock):
    """Nobody sleeps."""

    async def sleep(self, delay_s: float) -> None:
        """Return at once."""


@pytest.fixture
def clock() -> ManualClock:
    """Moved by hand."""
    return Unhurried()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each driver."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield store
    await store.close()


@pytest.fixture
async def exporting(store: Store, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Exporting:
    """With a list of more than one portion."""
    monkeypatch.setattr(export_work, "PAGE_ROWS", PAGE_ROWS)
    exporting = Exporting(await open_house(store), tmp_path / "exports", clock)
    await exporting.house.tell(*(started(number) for number in range(ROWS)))
    return exporting


@pytest.fixture
async def client(exporting: Exporting) -> AsyncIterator[httpx.AsyncClient]:
    """Of the team that has them."""
    async with exporting.client() as client:
        yield client


def started(number: int, **more: Any) -> dict[str, Any]:
    """An execution that runs, each a second after the one before."""
    time = f"2026-11-22T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    members = {"type": "execution.started", "executionId": f"e{number}", "workflowId": "wf", "timestamp": time}
    return members | {"data": {"inputData": {"n": number}}} | more


async def ask(client: httpx.AsyncClient, **wish: Any) -> str:
    """The address of a new export."""
    answer = await client.post("/v1/exports", json=wish)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


async def shown(client: httpx.AsyncClient, at: str) -> dict[str, Any]:
    """An export as it is shown."""
    answer = await client.get(at)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def completed(exporting: Exporting, client: httpx.AsyncClient, at: str) -> bytes:
    """The file, once it is written."""
    while (await shown(client, at))["status"] in ("queued", "running"):
        await exporting.round()
    answer = await client.get(f"{at}/file")
    assert answer.status_code == 200, answer.text
    return answer.content


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code."""
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(
    ("wish", "query"),
    [
        ({}, {}),
        (
            {"format": "csv", "columns": ["status", "id"], "sort": "startedAt"},
            {"columns": "status,id", "sort": "startedAt"},
        ),
        ({"format": "json"}, {"format": "json"}),
        ({"format": "ndjson", "includeData": True}, {"format": "ndjson", "include": "data"}),
        ({"format": "json", "filter": {"status": "failed"}}, {"format": "json", "filter[status]": "failed"}),
        ({"format": "ndjson", "filter": {"status": "failed"}}, {"format": "ndjson", "filter[status]": "failed"}),
        (
            {"filter": {"dateRange": "custom", "startDate": "2026-11-22T00:30:00Z"}},
            {"filter[dateRange]": "custom", "filter[startDate]": "2026-11-22T00:30:00Z"},
        ),
    ],
    ids=str,
)
async def test_file_is_what_the_streaming_export_answers(
    exporting: Exporting, client: httpx.AsyncClient, wish: dict[str, Any], query: dict[str, str]
) -> None:
    """Byte for byte, whatever the form, the order and the filter; also of nothing."""
    assert await completed(exporting, client, await ask(client, **wish)) == await exporting.streamed(**query)


async def test_progress_is_told(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """From queued to completed; only then is there a file, and a time at which it goes."""
    answer = await client.post("/v1/exports", json={"format": "ndjson"})
    at, made = answer.headers["location"], answer.json()
    assert (made["status"], made["rows"], made["total"], made["percentage"], made["eta"]) == (
        "queued",
        0,
        None,
        None,
        None,
    )
    await exporting.round()
    running = await shown(client, at)
    assert (running["status"], running["rows"], running["total"]) == ("running", 4 * PAGE_ROWS, ROWS)
    assert (running["percentage"], running["expiresAt"]) == (80.0, None)
    assert running["bytes"] == exporting.file(made["id"]).stat().st_size
    assert refusal(await client.get(f"{at}/file")) == (409, "EXPORT_NOT_READY")
    content = await completed(exporting, client, at)
    done = await shown(client, at)
    assert (done["status"], done["rows"], done["percentage"], done["bytes"]) == ("completed", ROWS, 100.0, len(content))
    assert done["finishedAt"] < done["expiresAt"]
    assert [job["id"] for job in (await client.get("/v1/exports")).json()["data"]] == [made["id"]]
    file = exporting.file(made["id"])
    assert (file.stat().st_mode & 0o777, exporting.folder.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_file_goes_on_where_it_was_recorded(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """What a dead process wrote beyond is cut off; each row is there once."""
    at = await ask(client, format="json")
    await exporting.round()
    file = exporting.file(at)
    for path in (file, file.with_name(f"{file.name}.keys")):
        with path.open("ab") as opened:
            opened.write(b"half a row, of a process that was killed" * 100)
    exporting.restart()
    assert await completed(exporting, client, at) == await exporting.streamed(format="json")


@pytest.mark.parametrize("suffix", ["", ".keys"])
@pytest.mark.parametrize("is_gone", [True, False])
async def test_file_that_lost_bytes_begins_anew(
    exporting: Exporting, client: httpx.AsyncClient, suffix: str, is_gone: bool
) -> None:
    """As when it was restored from a backup, which holds no exports."""
    at = await ask(client)
    await exporting.round()
    path = exporting.folder / f"{exporting.file(at).name}{suffix}"
    if is_gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    exporting.restart()
    assert await completed(exporting, client, at) == await exporting.streamed()


@pytest.mark.parametrize("portions", [0, 1])
async def test_two_processes_at_one_export_do_not_meet(
    exporting: Exporting, client: httpx.AsyncClient, portions: int
) -> None:
    """The first was held up over a portion, in the disk or before it: what it does later changes nothing."""
    at = await ask(client)
    for _ in range(portions):
        await exporting.round()
    frozen, [then] = exporting.work, await exporting.store.read(lambda reader: reader.open_export_jobs())
    frozen_file = (await frozen._taken_over(then)).file
    exporting.restart()
    await exporting.round()
    await frozen._go_on(then)
    exporting.folder.mkdir(exist_ok=True)
    exporting.files.append(frozen_file, 0, b"what a thread wrote late", 0, [7])
    assert await completed(exporting, client, at) == await exporting.streamed()
    await frozen._go_on(then)
    assert await completed(exporting, client, at) == await exporting.streamed()
    await exporting.work.tidy()
    assert [path.name for path in exporting.folder.iterdir()] == [exporting.file(at).name]


async def test_file_begun_while_strays_are_looked_for_stays(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """Who looked may have been held up after asking which exports there are."""
    names = exporting.files.names()
    at = await ask(client)
    content = await completed(exporting, client, at)
    assert exporting.files.sweep(names, growing=(), complete=()) == 0
    assert (await client.get(f"{at}/file")).content == content


async def test_store_that_fails_in_between_costs_nothing(
    exporting: Exporting, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portion that it did not record is written again."""
    at = await ask(client)
    real = exporting.store.write

    async def broken(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(exporting.store, "write", broken)
    with pytest.raises(StoreUnavailable):
        await exporting.round()
    monkeypatch.setattr(exporting.store, "write", real)
    assert await completed(exporting, client, at) == await exporting.streamed()


async def test_what_moves_within_the_list_comes_once(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """An execution whose start turns out to be another one, also after a restart; a deleted one may be missing."""
    at = await ask(client, format="ndjson", sort="startedAt")
    await exporting.round()
    late = {"timestamp": "2026-11-22T20:00:00Z", "id": "again", "epoch": 1}
    await exporting.house.tell(*(started(number, **late) for number in range(2)))
    await exporting.house.tell({**started(ROWS - 1), "type": "execution.deleted", "data": {}})
    exporting.restart()
    ids = [json.loads(line)["id"] for line in (await completed(exporting, client, at)).splitlines()]
    assert sorted(ids) == sorted(f"e{number}" for number in range(ROWS - 1))


# --- the download ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "part"),
    [
        ({}, 200, slice(0, None)),
        ({"range": "bytes=100-"}, 206, slice(100, None)),
        ({"range": "bytes=100-199"}, 206, slice(100, 200)),
        ({"range": "bytes=-7"}, 206, slice(-7, None)),
        ({"range": "bytes=0-99999999999"}, 206, slice(0, None)),
        ({"range": "bytes=-99999999999"}, 206, slice(0, None)),
        ({"range": "bytes=100-", "if-range": "ETAG"}, 206, slice(100, None)),
        ({"range": "bytes=100-", "if-range": '"other"'}, 200, slice(0, None)),
        ({"range": "bytes=100-", "if-range": "Sun, 22 Nov 2026 10:30:00 GMT"}, 200, slice(0, None)),
        ({"range": "bytes=9-2"}, 200, slice(0, None)),
        ({"range": "bytes=-"}, 200, slice(0, None)),
        ({"range": "bytes=0-1,5-6"}, 200, slice(0, None)),
        ({"range": "rows=1-2"}, 200, slice(0, None)),
        ({"range": "bytes=\u0661-"}, 200, slice(0, None)),
        ({"range": f"bytes={'9' * 50}-"}, 200, slice(0, None)),
        ({"if-none-match": '"other"'}, 200, slice(0, None)),
    ],
    ids=str,
)
async def test_download_goes_on_where_it_was_cut(
    exporting: Exporting,
    client: httpx.AsyncClient,
    headers: Mapping[str, str],
    status: int,
    part: slice,
) -> None:
    """One range of bytes, as long as the file is the same; whatever else is asked for is all of it."""
    at = await ask(client, columns=["id"])
    whole = await completed(exporting, client, at)
    etag = (await client.get(f"{at}/file")).headers["etag"]
    sent = [(name, said.replace("ETAG", etag).encode()) for name, said in headers.items()]
    answer = await client.get(f"{at}/file", headers=[(name.encode(), said) for name, said in sent])
    assert (answer.status_code, answer.content) == (status, whole[part])
    assert answer.headers["content-length"] == str(len(answer.content))
    if status == 206:
        first = part.start % len(whole)
        told = f"bytes {first}-{first + len(answer.content) - 1}/{len(whole)}"
        assert answer.headers["content-range"] == told


async def test_download_tells_what_it_is(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """Its name, its type and its version; to HEAD as well; nothing to whoever has it; and where it ends."""
    at = await ask(client)
    whole = await completed(exporting, client, at)
    head = await client.head(f"{at}/file")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole)))
    assert head.headers["content-type"] == "text/csv; charset=utf-8"
    assert head.headers["content-disposition"].startswith('attachment; filename="executions-2026-')
    assert head.headers["accept-ranges"] == "bytes"
    known = await client.get(f"{at}/file", headers={"if-none-match": f'"x", {head.headers["etag"]}'})
    assert (known.status_code, known.content) == (304, b"")
    beyond = await client.get(f"{at}/file", headers={"range": f"bytes={len(whole)}-"})
    assert refusal(beyond) == (416, "RANGE_NOT_SATISFIABLE")
    assert beyond.headers["content-range"] == f"bytes */{len(whole)}"


async def test_file_that_is_gone_is_said_to_be(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """As after a restore."""
    at = await ask(client)
    await completed(exporting, client, at)
    shutil.rmtree(exporting.folder)
    assert refusal(await client.get(f"{at}/file")) == (410, "EXPORT_GONE")


# --- the end of a job ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [0, 1])
async def test_cancelled_export_leaves_nothing_on_the_disk(
    exporting: Exporting, client: httpx.AsyncClient, rounds: int
) -> None:
    """It is shown as cancelled, and there is nothing to fetch."""
    at = await ask(client)
    for _ in range(rounds):
        await exporting.round()
    answer = await client.post(f"{at}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert list(exporting.folder.glob("*")) == []
    await exporting.round()
    assert (await shown(client, at))["status"] == "cancelled"
    assert refusal(await client.get(f"{at}/file")) == (409, "EXPORT_NOT_READY")
    assert refusal(await client.post(f"{at}/cancel")) == (409, "CANNOT_CANCEL_EXPORT")


async def test_export_removed_while_a_portion_is_written_stays_removed(
    exporting: Exporting, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes finds out when it records, and takes its file away."""
    at = await ask(client)
    real = exporting.store.write

    async def removed_before(work: Any, **how: Any) -> Any:
        monkeypatch.setattr(exporting.store, "write", real)
        assert (await client.delete(at)).status_code == 204
        return await real(work, **how)

    monkeypatch.setattr(exporting.store, "write", removed_before)
    await exporting.round()
    assert list(exporting.folder.iterdir()) == []
    assert refusal(await client.get(at)) == (404, "EXPORT_NOT_FOUND")


async def test_removed_export_is_gone_with_its_file(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """Whatever its state."""
    at = await ask(client)
    await completed(exporting, client, at)
    assert (await client.delete(at)).status_code == 204
    assert list(exporting.folder.iterdir()) == []
    for method, path in (("GET", at), ("GET", f"{at}/file"), ("DELETE", at), ("POST", f"{at}/cancel")):
        assert refusal(await client.request(method, path)) == (404, "EXPORT_NOT_FOUND")


async def test_export_expires_with_its_file(
    exporting: Exporting, client: httpx.AsyncClient, clock: ManualClock
) -> None:
    """At the time that it tells; one that runs stays, and strays in the folder go."""
    at = await ask(client)
    await completed(exporting, client, at)
    await clock.advance(BOUNDS.keep_s - 1)
    running = await ask(client)
    await exporting.round()
    (exporting.folder / "exp_stray").write_text("of a store that was moved away")
    await exporting.work.tidy()
    assert (await client.get(f"{at}/file")).status_code == 200
    await clock.advance(1)
    await exporting.work.tidy()
    assert refusal(await client.get(at)) == (404, "EXPORT_NOT_FOUND")
    left = exporting.file(running).name
    assert {path.name for path in exporting.folder.iterdir()} == {left, f"{left}.keys"}


# --- bounds ----------------------------------------------------------------------------------------------------------


async def test_team_has_so_many_exports(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """The next one is refused, saying what would help; failed and cancelled ones give way; other teams have theirs."""
    for _ in range(5):
        await client.post(f"{await ask(client)}/cancel")
    assert len((await client.get("/v1/exports")).json()["data"]) == BOUNDS.jobs
    made = [await ask(client) for _ in range(BOUNDS.jobs)]
    assert [f"/v1/exports/{job['id']}" for job in (await client.get("/v1/exports")).json()["data"]] == made[::-1]
    refused = await client.post("/v1/exports", json={})
    assert refusal(refused) == (409, "TOO_MANY_EXPORTS")
    assert (refused.json()["error"]["limit"], "delete one" in refused.text) == (BOUNDS.jobs, True)
    async with exporting.client(team="other") as stranger:
        await ask(stranger)
    await client.delete(made[0])
    await ask(client)


async def test_team_has_so_many_bytes(exporting: Exporting, tmp_path: Path, clock: ManualClock) -> None:
    """Whose files would take more fails, and leaves nothing; with as much in use nothing new begins."""
    small = Exporting(exporting.house, tmp_path / "small", clock, BOUNDS._replace(bytes=800))
    async with small.client() as client:
        first = await ask(client, columns=["id"])
        await completed(small, client, first)
        second = await ask(client, columns=["id", "workflowId"])
        await small.round()
        await small.round()
        job = await shown(client, second)
        assert (job["status"], job["error"]["code"]) == ("failed", "EXPORT_TOO_LARGE")
        assert [path.name for path in small.folder.iterdir()] == [small.file(first).name]
    full = Exporting(exporting.house, tmp_path / "full", clock, BOUNDS._replace(bytes=300))
    async with full.client() as client:
        assert refusal(await client.post("/v1/exports", json={})) == (409, "TOO_MANY_EXPORTS")


async def test_full_disk_fails_the_export_alone(
    exporting: Exporting, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot grow: the job says so and takes nothing of the disk any more; the next one is written."""
    at = await ask(client, format="ndjson")
    await exporting.round()
    size_bytes = exporting.file(at).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    append = ExportFiles.append

    def cramped(*arguments: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 100, hard))
        try:
            append(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as patched:
        patched.setattr(ExportFiles, "append", cramped)
        await exporting.round()
    job = await shown(client, at)
    assert (job["status"], job["error"]["code"]) == ("failed", "NO_SPACE")
    assert "make room" in job["error"]["message"]
    assert list(exporting.folder.iterdir()) == []
    assert refusal(await client.get(f"{at}/file")) == (409, "EXPORT_NOT_READY")
    assert await completed(exporting, client, await ask(client)) == await exporting.streamed()


@pytest.mark.parametrize(
    ("fault", "code"),
    [(OSError(errno.EIO, "Input/output error"), "NOT_WRITTEN"), (RuntimeError("bug"), "INTERNAL_ERROR")],
)
async def test_whatever_goes_wrong_ends_one_export(
    exporting: Exporting, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    """The loop goes on with the others."""
    at = await ask(client)

    def broken(*_: Any) -> None:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(ExportFiles, "append", broken)
        await exporting.round()
    job = await shown(client, at)
    assert (job["status"], job["error"]["code"], "bug" in str(job)) == ("failed", code, False)
    assert await completed(exporting, client, await ask(client)) == await exporting.streamed()


async def test_teams_take_turns(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """A portion of the oldest of each; a team with many waits for itself alone."""
    own = [await ask(client) for _ in range(2)]
    async with exporting.client(team="other") as stranger:
        await exporting.house.tell(started(1), team="other")
        theirs = await ask(stranger)
        await exporting.round()
        assert [(await shown(client, at))["status"] for at in own] == ["running", "queued"]
        assert (await shown(stranger, theirs))["status"] == "completed"


# --- who may, and what is no question --------------------------------------------------------------------------------


async def test_payloads_need_their_scope(exporting: Exporting, client: httpx.AsyncClient) -> None:
    """To ask for them and to fetch them; how far the file is, everybody of the team sees."""
    at = await ask(client, format="ndjson", includeData=True)
    await completed(exporting, client, at)
    async with exporting.client(role="viewer") as viewer:
        assert (await viewer.get(at)).status_code == 200
        for answer in (
            await viewer.post("/v1/exports", json={"format": "ndjson", "includeData": True}),
            await viewer.get(f"{at}/file"),
        ):
            assert refusal(answer) == (403, "INSUFFICIENT_PERMISSIONS")
            assert answer.json()["error"]["requiredPermission"] == "executions:data"
        assert (await viewer.get(f"{await done(exporting, viewer)}/file")).status_code == 200


async def done(exporting: Exporting, client: httpx.AsyncClient) -> str:
    """The address of an export that is completed."""
    at = await ask(client)
    await completed(exporting, client, at)
    return at


async def test_same_key_is_the_same_export(client: httpx.AsyncClient) -> None:
    """However often; another question under it is refused."""
    answers = [await client.post("/v1/exports", json={}, headers={"idempotency-key": "k"}) for _ in range(3)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await client.post("/v1/exports", json={"format": "json"}, headers={"idempotency-key": "k"})
    assert refusal(other) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert len((await client.get("/v1/exports")).json()["data"]) == 1


@pytest.mark.parametrize(
    ("wish", "status", "field"),
    [
        ({"format": "xml"}, 400, "format"),
        ({"format": None, "columns": []}, 400, "columns"),
        ({"columns": ["id", "nmae"]}, 400, "columns"),
        ({"columns": ["id", "id"]}, 400, "columns"),
        ({"columns": "id"}, 400, "columns"),
        ({"format": "json", "columns": ["id"]}, 400, "columns"),
        ({"includeData": True}, 400, "include"),
        ({"includeData": "yes"}, 400, "includeData"),
        ({"sort": "duration"}, 400, "sort"),
        ({"filter": []}, 400, "filter"),
        ({"filter": {"state": "failed"}}, 422, "filter[state]"),
        ({"filter": {"status": {"like": "f"}}}, 422, "filter[status]"),
        ({"filter": {"status": {}}}, 422, "filter[status]"),
        ({"filter": {"dateRange": 7}}, 422, "filter[dateRange]"),
        ({"filter": {"dateRange": ["1d", "7d"]}}, 422, "filter[dateRange]"),
        ({"filter": {"dateRange": [["1d"]]}}, 422, "filter[dateRange]"),
        ({"filter": {"startDate": {"gte": "2026-01-01"}}}, 422, "filter[startDate]"),
        ({"filter": {"endDate": 5}}, 422, "filter[endDate]"),
        ({"filter": {"workflowId": [f"w{number}" for number in range(101)]}}, 422, "filter[workflowId]"),
        ({"limit": 5}, 400, "limit"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, wish: dict[str, Any], status: int, field: str) -> None:
    """And no job is made."""
    answer = await client.post("/v1/exports", json=wish)
    assert (answer.status_code, answer.json()["error"].get("field")) == (status, field), answer.text
    assert (await client.get("/v1/exports")).json()["data"] == []


@pytest.mark.parametrize("id_", ["exp_1", "..", "%2e%2e%2fstore.db", "exp_%00", "x" * 5000, "exp_1.keys"])
async def test_id_that_nobody_has_is_not_found(client: httpx.AsyncClient, id_: str) -> None:
    """Whatever it would be as the name of a file."""
    for path in (f"/v1/exports/{id_}", f"/v1/exports/{id_}/file"):
        assert (await client.get(path)).status_code == 404


async def test_total_is_counted_beyond_what_lists_count(
    exporting: Exporting, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress towards a total that nobody knows tells nothing."""
    monkeypatch.setattr(listing, "COUNTED_ROWS", 10)
    at = await ask(client, filter={"dateRange": "custom", "startDate": "2026-11-22T00:00:01Z"})
    await exporting.round()
    job = await shown(client, at)
    assert (job["total"], job.get("totalIsLowerBound"), job["rows"]) == (ROWS - 1, None, 4 * PAGE_ROWS)
    assert job["eta"] >= job["startedAt"]
