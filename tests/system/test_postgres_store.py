"""The shared store keeps its promises when processes are killed, frozen or fenced, and the server goes away."""

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import bindparam, event, insert, update
from sqlalchemy.exc import DisconnectionError

from monitor.access.principal import LOCAL
from monitor.app import open_tokens
from monitor.errors import Fenced, MonitorError, StartupError, StoreUnavailable
from monitor.events.model import Event, Poison
from monitor.executions.tokens import TokenWish
from monitor.projections.execution import Execution
from monitor.projections.fold import fold
from monitor.settings import Settings
from monitor.store import Commit, MemoryStore, Moved, Reader, Store, Writer, open_postgres_store
from monitor.store.hints import Hint
from monitor.store.lease_tables import leases
from monitor.store.postgres import PostgresStore
from monitor.store.postgres_merges import Merge
from monitor.store.postgres_session import PostgresSession
from tests.contracts.store_contract import load_all, read_event
from tests.support.clocks import ManualClock
from tests.support.folders import mingled
from tests.support.numbered import append, contents, expected, id_of, numbered
from tests.support.postgres import Server
from tests.support.processes import dying_with_us

DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
RENEW = update(leases).where(leases.c.name == bindparam("of")).values(until_us=bindparam("to"))

TOP = Path(__file__).parents[2]
LIMIT_S = 60

T = TypeVar("T")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """A store for a while."""
    store = await open_postgres_store(url)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(postgres_store_url: str) -> AsyncIterator[Store]:
    """A store of two partitions, with a hundred events in the first."""
    async with opened(postgres_store_url) as store:
        await store.write(lambda writer: writer.bind("aabbccddeeff", [0, 0]))
        await store.write(lambda writer: append(writer, 100))
        yield store


@pytest.fixture
async def other(store: Store, postgres_store_url: str) -> AsyncIterator[Store]:
    """Another process's view of the same database."""
    async with opened(postgres_store_url) as other:
        yield other


def admin(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What somebody beside the store finds, or changes."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Return once it is so; looks again and again."""
    async with asyncio.timeout(LIMIT_S):
        while not await is_so():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


async def persistently(attempt: Callable[[], Awaitable[T]]) -> T:
    """The answer of the first try that has one, as the pipeline keeps trying while the store is away."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await attempt()
            except (StoreUnavailable, Fenced):
                await asyncio.sleep(0.02)


class Held:
    """Work in a transaction that stays open after it until it may go on."""

    def __init__(self, work: Callable[[Writer], Any]) -> None:
        self._work = work
        self._is_there, self._may_go = threading.Event(), threading.Event()

    def __call__(self, writer: Writer) -> None:
        self._work(writer)
        self._is_there.set()
        assert self._may_go.wait(LIMIT_S)

    async def reached(self) -> None:
        """Return when the work is done and its transaction is still open."""
        assert await asyncio.to_thread(self._is_there.wait, LIMIT_S)

    def let_go(self) -> None:
        """Let it be committed."""
        self._may_go.set()


# Side by side


async def test_batches_of_different_partitions_run_side_by_side(store: Store, other: Store) -> None:
    """While one batch is written and not yet committed, another partition's batch of another process is, as a whole."""
    first = Held(lambda writer: commit_of_team(writer, "red", 1))
    writing = asyncio.create_task(store.write(first, shared=True))
    await first.reached()
    async with asyncio.timeout(LIMIT_S):
        await other.write(lambda writer: commit_of_team(writer, "blue", 0), shared=True)
    assert not writing.done()
    assert await other.read(lambda reader: reader.execution("red", id_of(1, 1))) is None
    first.let_go()
    await writing
    assert await other.read(lambda reader: reader.execution("red", id_of(1, 1))) is not None


def commit_of_team(writer: Writer, team: str, partition: int) -> None:
    """Fold a few events of a team's own executions."""
    offset = writer.offsets()[partition].next
    events = [numbered(at, partition) for at in range(offset, offset + 10)]
    mine = [event.__class__(**{**fields_of(event), "team": team}) for event in events]
    ids = {(event.team, event.execution_id) for event in mine}
    changes = fold(mine, {id_: Execution(*id_) for id_ in ids})
    writer.commit(Commit(changes, {partition: Moved(offset, offset + 10, b"anchor")}, []))


def fields_of(struct: Any) -> dict[str, Any]:
    """All members by name."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def test_ordinary_write_is_alone(store: Store, other: Store, postgres_store_url: str) -> None:
    """What a desk writes waits for batches on their way, and batches wait for it."""
    batch = Held(lambda writer: append(writer, 10, 1))
    projecting = asyncio.create_task(store.write(batch, shared=True))
    await batch.reached()
    desk = Held(lambda writer: writer.set_key_check(b"sealed"))
    deciding = asyncio.create_task(other.write(desk))
    await until(lambda: waiting_for_the_lock(postgres_store_url, 1))
    late = asyncio.create_task(store.write(lambda writer: append(writer, 10, 0), shared=True))
    await until(
        lambda: waiting_for_the_lock(postgres_store_url, 2)
    )  # behind the desk, which would wait for ever otherwise
    batch.let_go()
    await projecting
    await desk.reached()
    assert not late.done()
    desk.let_go()
    await deciding
    assert await late == 110


async def waiting_for_the_lock(url: str, count: int) -> bool:
    """Whether so many wait for the store's lock."""
    asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return (await asyncio.to_thread(admin, url, asked)) == [(count,)]


async def test_zombie_is_fenced(store: Store, other: Store) -> None:
    """Who loaded before somebody else committed the same records stores nothing; also when both are on their way."""
    first, before = Held(lambda writer: append(writer, 10)), await store.read(contents)
    writing = asyncio.create_task(store.write(first, shared=True))
    await first.reached()
    zombie = asyncio.create_task(other.write(lambda writer: append(writer, 20), shared=True))
    assert await other.read(contents) == before
    first.let_go()
    await writing
    with pytest.raises(Fenced):
        await zombie
    assert await store.read(contents) == expected(110)


async def test_projectors_never_deadlock_and_count_exactly(
    store: Store, other: Store, postgres_store_url: str, long_form: bool
) -> None:
    """Random batches of two processes add to the same sums: none is lost, none waits in a circle."""
    told = [mingled(seed, 400 if long_form else 80) for seed in (1, 2)]
    alone = MemoryStore()
    await alone.write(lambda writer: writer.bind("aabbccddeeff", [0, 0]))
    await alone.write(lambda writer: append(writer, 100))

    async def project(own: Store, partition: int) -> None:
        chance, offset = random.Random(partition), 0 if partition else 100
        left = [read_event(it, partition, offset + at) for at, it in enumerate(told[partition])]
        while left:
            some, left = left[: (count := chance.randint(1, 60))], left[count:]
            await own.write(partial(fold_into, events=some), shared=True)

    # Each of them is alone in the other store.
    await asyncio.gather(project(store, 0), project(other, 1))
    await project(alone, 0)
    await project(alone, 1)

    def sums(reader: Reader) -> list[Any]:
        team = "default"
        return [reader.statistics(team), reader.run_statistics(team), reader.lists(), reader.position()]

    assert await store.read(sums) == await alone.read(sums)
    found = await asyncio.to_thread(admin, postgres_store_url, DEADLOCKS)
    assert found == [(0,)]


async def test_sums_are_taken_in_one_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every batch, table by table and key by key: that is why none waits in a circle, however they meet."""
    taken: list[tuple[bytes, Sequence[Any]]] = []
    merge = PostgresSession._merge

    def note(session: PostgresSession, statement: Merge, rows: Sequence[Any]) -> int:
        taken.append((statement.statement, rows))
        return merge(session, statement, rows)

    monkeypatch.setattr(PostgresSession, "_merge", note)
    events = [read_event(it, 1, at) for at, it in enumerate(mingled(3, 60))]
    await store.write(partial(fold_into, events=events), shared=True)
    shared = [
        (statement, rows) for statement, rows in taken if b"ON CONFLICT" in statement and b"+ excluded" in statement
    ]
    tables = [statement.split()[2].decode() for statement, _ in shared]
    assert tables == ["totals", "statistics", "rollups", "run_statistics"]
    for _, rows in shared:
        assert len(rows) > 3
        assert list(rows) == sorted(rows)


def fold_into(writer: Writer, events: Sequence[Event | Poison]) -> None:
    """Commit the next events of a partition as one batch."""
    changes, first, last = fold(events, load_all(writer, events)), events[0], events[-1]
    start, end = ((it.record.partition, it.record.offset) for it in (first, last))
    writer.commit(Commit(changes, {start[0]: Moved(start[1], end[1] + 1, b"anchor")}, []))


# Trouble


async def commit_until_killed(url: str) -> None:
    """What the child process does: commit batches of growing size and say how far each one went."""
    async with opened(url) as store:
        await store.write(lambda writer: writer.bind("aabbccddeeff", [0, 0]))
        for count in range(1, 1_000_000):
            print(await store.write(partial(append, count=count % 40 + 1), shared=True), flush=True)


def child(*words: str) -> subprocess.Popen[bytes]:
    """This file as a process."""
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    return subprocess.Popen(dying_with_us([sys.executable, __file__, *words]), env=environment, stdout=subprocess.PIPE)


def commit_and_kill(url: str, commits: int) -> int:
    """Kill a child process after so many commits or a few more; returns the last offset that it reported."""
    with child("commit", url) as running:
        assert running.stdout is not None
        reported = [int(next(running.stdout)) for _ in range(commits)]
        running.kill()
        # The last line may be cut off.
        return max([*reported, *map(int, running.stdout.read().split(b"\n")[:-1])])


async def test_killed_process_leaves_a_prefix(postgres_store_url: str, long_form: bool) -> None:
    """After SIGKILL at any instant the store holds whole batches, all that were reported, and offsets that agree."""
    killed_at = 0
    for turn in range(50 if long_form else 4):
        reported = await asyncio.to_thread(commit_and_kill, postgres_store_url, 5 + turn)
        async with opened(postgres_store_url) as store:
            # Behind what the server still had to do for the dead.
            await store.write(lambda _: None)
            found = await store.read(contents)
        assert found == expected(found[0])
        assert found[0] >= reported > killed_at
        killed_at = found[0]


async def test_cut_connections_lose_and_double_nothing(store: Store, postgres_store_url: str) -> None:
    """Whatever is cut in the middle of a batch is undone as a whole, and the next try has a new connection."""
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
    name = postgres_store_url.rpartition("/")[2]
    ended = asyncio.Event()

    async def cut_again_and_again() -> None:
        while not ended.is_set():
            await asyncio.to_thread(admin, postgres_store_url, cut, name)
            await asyncio.sleep(0.03)

    async def read_again_and_again() -> None:
        while not ended.is_set():
            found = await persistently(lambda: store.read(contents))
            assert found[2] == list(range(found[0]))

    cutting, reading = asyncio.create_task(cut_again_and_again()), asyncio.create_task(read_again_and_again())
    for count in range(1, 20):
        await persistently(partial(store.write, partial(append, count=count), shared=True))
    ended.set()
    await asyncio.gather(cutting, reading)
    found = await persistently(lambda: store.read(contents))
    assert found == expected(found[0])
    assert found[0] >= 100 + sum(range(1, 20))


async def test_connection_that_is_gone_as_soon_as_it_is_made_is_an_outage(
    store: Store, postgres_store_url: str
) -> None:
    """Nothing that ends a process: the next try may have more luck."""

    def gone(*_: object) -> None:
        raise DisconnectionError

    assert isinstance(store, PostgresStore)
    event.listen(store._readers, "checkout", gone)
    with pytest.raises(StoreUnavailable, match="connections are being ended"):
        await store.read(lambda reader: reader.position())
    event.remove(store._readers, "checkout", gone)
    assert (await store.read(lambda reader: reader.position())).offsets == (100, 0)


async def test_many_open_files_are_no_hindrance(store: Store, postgres_store_url: str) -> None:
    """Connections that are made late have high numbers, as in a gateway with thousands of streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 4096, hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        async with opened(postgres_store_url) as late:
            for _ in range(2):
                assert (await late.read(lambda reader: reader.position())).offsets == (100, 0)
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_killed_server_keeps_what_was_committed(own_postgres: Server, long_form: bool) -> None:
    """Batches go on by themselves once it is back, from where the last acknowledged one ended, or behind it."""
    own_postgres.do("CREATE DATABASE killed")
    async with opened(own_postgres.address("killed")) as store:
        await store.write(lambda writer: writer.bind("aabbccddeeff", [0, 0]))
        reached, ended = 0, asyncio.Event()

        async def project() -> None:
            nonlocal reached
            while not ended.is_set():
                reached = await persistently(lambda: store.write(partial(append, count=7), shared=True))

        async def has_passed(offset: int) -> bool:
            return reached > offset

        projecting = asyncio.create_task(project())
        for _ in range(10 if long_form else 3):
            await until(partial(has_passed, reached + 50))
            own_postgres.kill()
            acknowledged = reached
            own_postgres.start()
            found = await persistently(lambda: store.read(contents))
            assert found == expected(found[0])
            assert found[0] >= acknowledged
        ended.set()
        await projecting
        assert await store.read(contents) == expected(reached)


async def test_idle_connections_are_renewed_without_a_word(own_postgres: Server) -> None:
    """A server that was restarted while nothing happened is not noticed by whoever asks next."""
    own_postgres.do("CREATE DATABASE idle")
    async with opened(own_postgres.address("idle")) as store:
        await store.write(lambda writer: writer.bind("aabbccddeeff", [0, 0]))
        await store.read(contents)
        own_postgres.stop()
        with pytest.raises(StoreUnavailable):
            await store.read(contents)
        own_postgres.start()
        assert await store.write(lambda writer: append(writer, 5), shared=True) == 5
        assert await store.read(contents) == expected(5)


async def test_frozen_process_holds_nobody_up_for_long(store: Store, postgres_store_url: str) -> None:
    """Its transaction is ended by the server, and what it did in it is undone when it wakes."""
    # Frozen for longer than the time that it is given, which is short here.
    hurried = f"{postgres_store_url}?options=-c%20idle_in_transaction_session_timeout%3D500"
    with child("hold", hurried) as frozen:
        assert frozen.stdout is not None
        assert await asyncio.to_thread(frozen.stdout.readline) == b"held\n"
        frozen.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(LIMIT_S):
            await store.write(lambda writer: writer.set_key_check(b"sealed"))
        assert await store.write(lambda writer: append(writer, 5), shared=True) == 105
        frozen.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(frozen.stdout.readline) == b"StoreUnavailable\n"
        assert frozen.wait(LIMIT_S) == 0
    assert await store.read(contents) == expected(105)


@pytest.mark.parametrize("rows", [1, 3])
async def test_no_transaction_stays_open_for_long(postgres_store_url: str, rows: int) -> None:
    """Whatever a process did last before it froze, the server ends its transaction in time."""
    hurried = f"{postgres_store_url}?options=-c%20idle_in_transaction_session_timeout%3D200"

    def store_audit(writer: Writer) -> None:
        # As SQLAlchemy runs one statement for many rows.
        added = insert(leases), [{"name": f"l_{n}", "holder": "me", "until_us": 0} for n in range(rows)]
        writer._connection.execute(*added)  # type: ignore[attr-defined]
        renewed = [{"of": f"l_{n}", "to": 5} for n in range(rows)]
        writer._connection.execute(RENEW, renewed)  # type: ignore[attr-defined]

    async with opened(hurried) as store:
        await store.write(lambda writer: writer.bind("aabbccddeeff", [0, 0]))
        for work in (lambda writer: append(writer, rows), store_audit):
            with pytest.raises(StoreUnavailable, match="idle-in-transaction"):
                await store.write(partial(do_and_freeze, work, postgres_store_url))


def do_and_freeze(work: Callable[[Writer], Any], url: str, writer: Writer) -> None:
    """Work, and do nothing more until the server has ended the connection."""
    work(writer)
    pid = writer._connection.connection.driver_connection.info.backend_pid  # type: ignore[attr-defined]
    asked = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    until_s = time.monotonic() + LIMIT_S
    while admin(url, asked, pid) != [(0,)]:
        assert time.monotonic() < until_s
        threading.Event().wait(0.02)


async def hold(url: str) -> None:
    """What the child process does: write a batch, say so, and wait with the transaction open."""

    def work(writer: Writer) -> None:
        append(writer, 50)
        print("held", flush=True)
        # The one who tests freezes us now, and the server ends our transaction.
        do_and_freeze(lambda _: None, url, writer)

    async with opened(url) as store:
        try:
            await store.write(work, shared=True)
        except MonitorError as error:
            print(type(error).__name__, flush=True)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("53100", StoreUnavailable),  # disk full
        ("53300", StoreUnavailable),  # too many connections
        ("57P01", StoreUnavailable),  # shutting down
        ("57P03", StoreUnavailable),  # starting up
        ("57014", StoreUnavailable),  # took too long
        ("55P03", StoreUnavailable),  # a lock could not be had in time
        ("40P01", StoreUnavailable),  # victim of a deadlock
        ("58030", StoreUnavailable),  # I/O error
        ("25006", StoreUnavailable),  # only reads here any more
        ("40001", Fenced),
        ("42P01", MonitorError),  # no such table
        ("23505", MonitorError),
    ],
)
async def test_errors_come_in_the_words_of_the_store(store: Store, code: str, meaning: type[MonitorError]) -> None:
    """What may pass is told from what stays; all of it is undone."""

    def fail(writer: Writer) -> None:
        append(writer, 5)
        raising = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$"
        writer._connection.exec_driver_sql(raising)  # type: ignore[attr-defined]

    with pytest.raises(MonitorError) as raised:
        await store.write(fail)
    assert type(raised.value) is meaning
    assert await store.read(contents) == expected(100)


async def test_long_reader_sees_its_snapshot(store: Store) -> None:
    """While a reader looks, commits go on, and it does not see them."""
    looking, go_on = threading.Event(), threading.Event()

    def look(reader: Reader) -> list[int]:
        offsets = [reader.offsets()[0].next]
        looking.set()
        assert go_on.wait(LIMIT_S)
        return [*offsets, reader.offsets()[0].next]

    reading = asyncio.create_task(store.read(look))
    await asyncio.to_thread(looking.wait, LIMIT_S)
    assert [await store.write(lambda writer: append(writer, 50)) for _ in range(3)] == [150, 200, 250]
    go_on.set()
    assert await reading == [100, 100]


async def test_a_close_waits_for_no_long_statement(postgres_store_url: str) -> None:
    """What runs for a minute, and what stands in line behind it, is broken off: the process is to end."""
    store = await open_postgres_store(postgres_store_url)
    begun = threading.Event()

    def long(session: Any) -> None:
        begun.set()
        session._connection.exec_driver_sql("SELECT pg_sleep(59)")

    asked = [asyncio.create_task(store.write(long)), *(asyncio.create_task(store.read(long)) for _ in range(9))]
    await asyncio.to_thread(begun.wait, LIMIT_S)
    began_s = time.monotonic()
    await store.close()
    assert time.monotonic() - began_s < 30
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(it) for it in told} == {StoreUnavailable}


async def test_session_is_void_afterwards(store: Store) -> None:
    """What was handed to the work cannot be used once the transaction is over."""
    for call in (store.read, store.write):
        session = await call(lambda session: session)
        with pytest.raises(Exception, match="closed"):
            session.offsets()


async def test_time_is_read_when_it_is_its_turn(store: PostgresStore) -> None:
    """Long lists keep who asks for it waiting, and the answer does not pass for one of the time before."""
    said_s, go_on = 0.0, threading.Event()
    lists = [asyncio.create_task(store.read(lambda _: go_on.wait(60))) for _ in range(8)]
    asking = asyncio.create_task(store.time(lambda: said_s))
    await asyncio.sleep(0)
    said_s = 100.0
    go_on.set()
    assert (await asking)[1] == said_s
    await asyncio.gather(*lists)


async def test_reader_cannot_write(store: Store) -> None:
    """The connections of readers refuse to change anything."""
    with pytest.raises(StoreUnavailable, match="read-only"):
        await store.read(lambda reader: reader._connection.exec_driver_sql("DELETE FROM offsets"))  # type: ignore[attr-defined]


# Hints


async def test_hints_come_from_other_processes(store: Store, other: Store) -> None:
    """Who listens hears of a commit elsewhere, of its own at once, and of each once."""
    heard: asyncio.Queue[Hint] = asyncio.Queue()
    other.hints.listen("batch", lambda: heard.put_nowait("batch"))
    other.hints.listen("desk", lambda: heard.put_nowait("desk"))
    await store.write(lambda writer: append(writer, 5), shared=True)
    assert await asyncio.wait_for(heard.get(), LIMIT_S) == "batch"
    await other.write(lambda writer: append(writer, 5), shared=True)
    assert heard.get_nowait() == "batch"
    await store.write(lambda _: None)  # behind what the server would tell it of itself
    assert await asyncio.wait_for(heard.get(), LIMIT_S) == "desk"
    assert heard.empty()


async def test_cut_listener_hears_everything_once(store: Store, other: Store, postgres_store_url: str) -> None:
    """Whoever was deaf for a while looks at everything when it hears again."""
    heard: asyncio.Queue[Hint] = asyncio.Queue()
    for hint in ("batch", "deliveries", "desk"):
        other.hints.listen(hint, partial(heard.put_nowait, hint))
    listener = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = %s"
    await asyncio.to_thread(admin, postgres_store_url, listener, postgres_store_url.rpartition("/")[2])
    told = {await asyncio.wait_for(heard.get(), LIMIT_S) for _ in range(3)}
    assert told == {"batch", "deliveries", "desk"}
    await store.write(lambda writer: append(writer, 5), shared=True)
    assert await asyncio.wait_for(heard.get(), LIMIT_S) == "batch"


# Databases that are not the store's own


async def test_reopened_store_holds_what_was_stored(store: Store, postgres_store_url: str) -> None:
    """Opening once more changes nothing."""
    async with opened(postgres_store_url) as again:
        assert await again.read(contents) == await store.read(contents)


async def test_many_open_an_empty_database_at_once(postgres_url: str) -> None:
    """One of them makes the tables."""
    stores = await asyncio.gather(*(open_postgres_store(postgres_url) for _ in range(4)))
    await stores[0].write(lambda writer: writer.bind("aabbccddeeff", [0, 0]))
    for store in stores:
        assert (await store.read(lambda reader: reader.position())).incarnation == "aabbccddeeff"
        await store.close()


@pytest.mark.parametrize(
    ("statement", "cure"),
    [
        ("UPDATE meta SET schema_version = 99", "start that version"),
        ("UPDATE meta SET fold_version = 99", "start the version that folded it"),
        ("DROP TABLE offsets", "another program"),
    ],
)
async def test_other_versions_are_refused_with_the_cure(postgres_url: str, statement: str, cure: str) -> None:
    """A database of another layout or folded by other rules is not touched."""
    async with opened(postgres_url):
        pass
    admin(postgres_url, statement)
    with pytest.raises(StartupError, match=cure):
        await open_postgres_store(postgres_url)


async def test_unreachable_database_is_said_with_the_cure(postgres_url: str) -> None:
    """No server, no database, no such user: one clear line."""
    base = postgres_url.rpartition("/")[0]
    for url in (f"{base}/missing", "postgresql://postgres@127.0.0.1:1/x"):
        with pytest.raises(StartupError, match="See that it runs"):
            await open_postgres_store(url)


if __name__ == "__main__":
    asyncio.run({"commit": commit_until_killed, "hold": hold}[sys.argv[1]](sys.argv[2]))


async def test_tokens_go_by_the_clock_of_the_store(postgres_store_url: str, tmp_path: Path) -> None:
    """Not by that of the machine on which somebody makes one."""
    ahead_us = 3600 * 1_000_000
    journal = "kafka://127.0.0.1:1/none"  # nobody asks it
    settings = Settings(data=tmp_path, store=SecretStr(postgres_store_url), journal=journal)
    async with open_tokens(settings, ManualClock(time.time_ns() // 1000 + ahead_us)) as tokens:
        made = await tokens.create(LOCAL, TokenWish("ada", "viewer"))
    assert abs(made.token.created_us - time.time_ns() // 1000) < ahead_us // 2
