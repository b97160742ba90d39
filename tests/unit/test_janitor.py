"""The janitor: what has served its time goes, what is still needed stays."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from monitor.access.teams import team_rule
from monitor.errors import StoreUnavailable
from monitor.events.model import Entry
from monitor.janitor import FORGOTTEN_AT_ONCE, HELD_AT_ONCE, RELEASES_AT_ONCE, REST_S, ROUND_S, Janitor
from monitor.journal import open_sqlite_journal
from monitor.journal.base import Bounds, Journal
from monitor.journal.memory import MemoryJournal
from monitor.store.base import Reader, Store, Writer
from monitor.store.delivery_port import DeliveryQuery
from monitor.store.memory import MemoryStore
from monitor.store.order_port import JOB_KEEP_S, KEY_KEEP_S, BulkJob, IdempotentRequest
from monitor.store.releases import Stretch
from monitor.store.sqlite import open_sqlite_store
from monitor.webhooks.delivery import Planned
from tests.support.clocks import ManualClock
from tests.support.made_up import VARIED
from tests.support.replay import contents, quiet_pipeline
from tests.support.service import eventually
from tests.support.traffic import traffic
from tests.support.webhooks import make_endpoint

KEEP_S = 3600
DAY_S = 24 * 3600
ENTRIES = list(traffic(5, 30, mix=VARIED))
HALF = len(ENTRIES) // 2
TEAM_OF = team_rule(exclusive=True, trust_body=False)


@pytest.fixture
def clock() -> ManualClock:
    """Time that passes when a test says so."""
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Journal]:
    """Each embedded journal, of one partition."""
    in_memory = request.param == "memory"
    opened: Any = MemoryJournal(clock=clock) if in_memory else await open_sqlite_journal(tmp_path / "j.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, journal: Journal) -> AsyncIterator[Store]:
    """Each kind of store, tied to the journal."""
    opened: Any = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "s.db")
    await opened.write(lambda writer: writer.bind(journal.incarnation, [0]))
    yield opened
    await opened.close()


@pytest.fixture
def janitor(journal: Journal, store: Store, clock: ManualClock) -> Janitor:
    """One that keeps an hour of records, and a day of deliveries."""
    return janitor_of(journal, store, clock)


def janitor_of(journal: Journal, store: Store, clock: ManualClock, **members: Any) -> Janitor:
    """One that keeps an hour of records, and a day of deliveries."""
    told: dict[str, Any] = {"keep_s": KEEP_S, "webhook_keep_s": DAY_S, "on_due": lambda: None}
    return Janitor(journal=journal, store=store, clock=clock, **told | members)


async def take_in(journal: Journal, store: Store, entries: Sequence[Entry]) -> None:
    """Append the entries, and fold what the journal holds in small batches."""
    await journal.append(entries)
    await quiet_pipeline(journal, store, TEAM_OF, max_batch=10).catch_up()


async def released(store: Store) -> list[int]:
    """Offsets whose releases are there."""
    return await store.read(lambda reader: sorted({it.offset for it in reader.releases(0, 0, len(ENTRIES))}))


async def test_records_go_when_their_time_is_over(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """The older half goes from the journal with its releases; the state that came of it stays as it was."""
    await take_in(journal, store, ENTRIES[:HALF])
    await clock.advance(KEEP_S)
    await take_in(journal, store, ENTRIES[HALF:])
    state, before = await contents(store), await released(store)
    await janitor.tidy()
    assert ((await journal.bounds())[0], await released(store)) == (Bounds(0, len(ENTRIES)), before)
    await clock.advance(1)
    await janitor.tidy()
    assert (await journal.bounds())[0] == Bounds(HALF, len(ENTRIES))
    assert await released(store) == [offset for offset in before if offset >= HALF]
    assert await contents(store) == state


async def test_record_that_is_not_folded_stays(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """Whatever its age: it is in no other place."""
    await take_in(journal, store, ENTRIES[:10])
    await journal.append(ENTRIES[10:])
    await clock.advance(100 * KEEP_S)
    await janitor.tidy()
    assert (await journal.bounds())[0] == Bounds(10, len(ENTRIES))
    await quiet_pipeline(journal, store, TEAM_OF).catch_up()
    assert await store.read(lambda reader: reader.quarantine(10)) == []


async def test_everything_may_go_and_offsets_go_on(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """A journal that was trimmed to its end takes the next record where it stood."""
    await take_in(journal, store, ENTRIES[:HALF])
    await clock.advance(KEEP_S + 1)
    await janitor.tidy()
    assert ((await journal.bounds())[0], await released(store)) == (Bounds(HALF, HALF), [])
    await take_in(journal, store, ENTRIES[HALF:])
    assert (await store.read(lambda reader: reader.position())).offsets == (len(ENTRIES),)


async def test_process_that_died_between_records_and_releases(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """Releases whose records are gone go in the next round, though nothing is left to trim."""
    await take_in(journal, store, ENTRIES)
    await journal.trim(0, len(ENTRIES))
    await janitor.tidy()
    assert await released(store) == []


class SharedJournal(MemoryJournal):
    """A journal that others trim, as Kafka is."""

    exclusive = False


async def test_releases_follow_a_journal_that_trims_itself(clock: ManualClock) -> None:
    """Retention of a shared journal is its own affair, and what it forgets is forgotten here too."""
    journal, store = SharedJournal(clock=clock), MemoryStore()
    await store.write(lambda writer: writer.bind(journal.incarnation, [0]))
    await take_in(journal, store, ENTRIES)
    janitor = janitor_of(journal, store, clock)
    await clock.advance(100 * KEEP_S)
    await janitor.tidy()
    assert (await journal.bounds())[0] == Bounds(0, len(ENTRIES))
    await journal.trim(0, len(ENTRIES))
    await janitor.tidy()
    assert await released(store) == []


async def test_outage_ends_a_round_and_not_the_janitor(clock: ManualClock) -> None:
    """It says so and comes again."""
    journal, store = MemoryJournal(clock=clock), MemoryStore()
    await store.write(lambda writer: writer.bind(journal.incarnation, [0]))
    await take_in(journal, store, ENTRIES)
    reading = store.read
    failures = [StoreUnavailable("disk full")]

    async def failing_once(work: Any) -> Any:
        if failures:
            raise failures.pop()
        return await reading(work)

    store.read = failing_once  # type: ignore[method-assign]
    await clock.advance(KEEP_S + 1)
    running = asyncio.create_task(janitor_of(journal, store, clock).run())
    await clock.advance(ROUND_S - 1)
    assert ((await journal.bounds())[0], failures) == (Bounds(0, len(ENTRIES)), [])
    await clock.advance(1)
    assert (await journal.bounds())[0] == Bounds(len(ENTRIES), len(ENTRIES))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- deliveries ------------------------------------------------------------------------------------------------------


async def test_releases_of_a_day_that_goes_at_once_go_in_portions(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """No transaction takes long, however many batches there were, and none of them is left."""
    count = 2 * RELEASES_AT_ONCE + 1

    def pass_all(writer: Writer) -> None:
        for at in range(count):
            writer.pass_cut(0, at, at + 1)

    await journal.append([Entry(b"k", b"{}")] * count)
    await store.write(pass_all)
    await clock.advance(KEEP_S + 1)
    await tidy(janitor, clock)
    assert (await journal.bounds())[0].start == count
    assert await store.read(lambda reader: reader.batches({0: Stretch(0, count)})) == []


async def tidy(janitor: Janitor, clock: ManualClock) -> None:
    """One round, whose rests take no time."""
    round_ = asyncio.create_task(janitor.tidy())

    async def is_over() -> bool:
        await clock.advance(REST_S)
        return round_.done()

    await eventually(is_over)
    await round_


async def owe(store: Store, clock: ManualClock, count: int, prefix: str, event_type: str = "node.completed") -> None:
    """So many deliveries to the endpoint of key 1, due now."""
    now_us = clock.now_us()
    owed = [
        Planned(f"{prefix}_{n}", 1, f"ev_{prefix}_{n}", event_type, "default", "exec_1", b"{}", now_us)
        for n in range(count)
    ]
    await store.write(lambda writer: writer.owe(owed))


async def states(store: Store, endpoint_key: int = 1) -> dict[str, str]:
    """The state of every delivery, by id, oldest first."""
    rows = await store.read(lambda reader: reader.deliveries(DeliveryQuery(endpoint_key), 100_000))
    return {row.id: row.state for row in reversed(rows)}


async def cancel(store: Store, clock: ManualClock, prefix: str) -> None:
    """End those whose id begins like this."""
    rows = await store.read(lambda reader: reader.deliveries(DeliveryQuery(1), 100_000))
    keys = [row.key for row in rows if row.id.startswith(prefix)]
    await store.write(lambda writer: writer.cancel(keys, "asked", clock.now_us()))


async def test_case_57_old_deliveries_go_when_they_have_ended(
    store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """However many there are, and neither those that are pending or held nor those that are young."""
    await store.write(lambda writer: writer.add_endpoint(make_endpoint()))
    many = 2 * FORGOTTEN_AT_ONCE + 7
    await owe(store, clock, many, "ended")
    await cancel(store, clock, "ended")
    await owe(store, clock, 2, "held")
    await store.write(lambda writer: writer.hold_overflow(0, clock.now_us(), 2))
    await owe(store, clock, 3, "waiting")
    await clock.advance(DAY_S - 10)
    await owe(store, clock, 1, "young")
    await cancel(store, clock, "young")
    await tidy(janitor, clock)
    assert len(await states(store)) == many + 6
    await clock.advance(20)
    await tidy(janitor, clock)
    assert await states(store) == {
        **dict.fromkeys(("held_0", "held_1"), "held"),
        **dict.fromkeys(("waiting_0", "waiting_1", "waiting_2"), "pending"),
        "young_0": "cancelled",
    }


async def test_lane_that_overflows_is_relieved_and_its_owner_told(
    journal: Journal, store: Store, clock: ManualClock
) -> None:
    """What tells least is set aside, oldest first; one event says how much, and no second one while it goes on."""
    await store.write(lambda writer: writer.add_endpoint(make_endpoint(events=("node.*",))))
    operator = make_endpoint("wh_2", events=("lane.*",))
    await store.write(lambda writer: writer.add_endpoint(operator))
    woken: list[None] = []
    janitor = janitor_of(journal, store, clock, most_pending=10, on_due=lambda: woken.append(None))

    async def told() -> list[str]:
        return [row.split("_")[0] for row in await states(store, 2)]

    await owe(store, clock, 10, "end", "execution.failed")
    await tidy(janitor, clock)
    assert (await told(), woken) == ([], [])
    for excess in (2 * HELD_AT_ONCE, 1, HELD_AT_ONCE + 5):
        await owe(store, clock, excess, f"node{excess}")
        await tidy(janitor, clock)
        found = await states(store)
        assert {id_ for id_, state in found.items() if state == "pending"} == {f"end_{n}" for n in range(10)}
        assert len(await told()) == 1
    [notice] = await store.read(lambda reader: reader.deliveries(DeliveryQuery(2), 10))
    data = msgspec.json.decode(notice.body)["data"]
    assert (notice.event_type, data["webhookId"], data["limit"]) == ("lane.backlog", "wh_1", 10)
    assert (data["held"], len(woken)) == (2 * HELD_AT_ONCE, 3)
    await tidy(janitor, clock)
    await owe(store, clock, 3, "later")
    await tidy(janitor, clock)
    assert len(await told()) == 2


async def test_what_must_be_told_is_never_set_aside(journal: Journal, store: Store, clock: ManualClock) -> None:
    """However many executions end while nobody listens."""
    await store.write(lambda writer: writer.add_endpoint(make_endpoint()))
    await owe(store, clock, 50, "end", "execution.failed")
    await owe(store, clock, 5, "log", "log.appended")
    await tidy(janitor_of(journal, store, clock, most_pending=10), clock)
    found = await states(store)
    assert {id_ for id_, state in found.items() if state == "held"} == {f"log_{n}" for n in range(5)}


async def test_orders_go_when_their_time_is_over(janitor: Janitor, store: Store, clock: ManualClock) -> None:
    """Idempotency keys after a day, finished jobs after a week; one that runs stays."""
    asked = IdempotentRequest("acme", "ada", "key", b"hash", clock.now_us())
    job = BulkJob(id="bulk_1", team="acme", actor="ada", kind="stop", count=0, created_us=clock.now_us())

    async def left() -> tuple[bool, list[str]]:
        key = await store.read(lambda reader: reader.idempotent_request("acme", "ada", "key"))
        jobs = [await store.read(partial(_job, id_)) for id_ in ("bulk_1", "bulk_2")]
        return key is not None, [it.id for it in jobs if it is not None]

    await store.write(lambda writer: writer.put_idempotent_request(asked))
    done = await store.write(lambda writer: writer.add_bulk_job(job, []))
    await store.write(lambda writer: writer.add_bulk_job(replace(job, id="bulk_2"), []))
    await store.write(lambda writer: writer.finish_bulk_job(replace(done, finished_us=clock.now_us())))
    for passed_s, expected in (
        # A round rests between its portions: some seconds pass in it.
        (KEY_KEEP_S - 60, (True, ["bulk_1", "bulk_2"])),
        (60, (False, ["bulk_1", "bulk_2"])),
        (JOB_KEEP_S - KEY_KEEP_S - 60, (False, ["bulk_1", "bulk_2"])),
        (60, (False, ["bulk_2"])),
    ):
        await clock.advance(passed_s)
        await tidy(janitor, clock)
        assert await left() == expected


def _job(job_id: str, reader: Reader) -> BulkJob | None:
    return reader.bulk_job("acme", job_id)
