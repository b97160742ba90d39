"""Whatever is done to the ledger, the databases and the reference in memory show the same; and no lane is forgotten.

A program of operations runs on both at once, with endpoints of every kind and a clock that also goes back. Sends end as
`schedule` and `lane` have it, in the transaction of the deliverer. Each program runs in one transaction and is undone.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.store.base import Store, Writer
from monitor.store.delivery_port import REDELIVERABLE, DeliveryQuery, Replay
from monitor.store.memory_ledger import LedgerTables, MemoryLedger
from monitor.store.postgres import open_postgres_store
from monitor.store.postgres_write import PostgresWriter
from monitor.store.sqlite import SQLiteStore, open_sqlite_store
from monitor.webhooks.delivery import Answer, Claimed, Planned
from monitor.webhooks.endpoint import Endpoint, Rate
from monitor.webhooks.lane import after, enabled, room
from monitor.webhooks.schedule import decide, outcome_of
from tests.support.postgres import Postgres
from tests.support.webhooks import NOW_US, make_endpoint

PARTS, PROGRAMS, LONG_PROGRAMS = 4, 45, 1_500
"""Programs of each part: no part takes long, however busy the machine is."""
SLOWER: Final = 3
"""PostgreSQL has so many fewer programs: every question goes to a server."""
S_US: Final = 1_000_000

KINDS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"max_in_flight": 1},
    {"rate": Rate(0.1, 2), "max_in_flight": 3},
    {"ordering": "execution", "max_in_flight": 2, "retry_delays_s": (5, 60)},
    {"ordering": "strict", "retry_delays_s": (5,), "on_exhausted": "halt"},
    {"ordering": "execution", "retry_delays_s": (), "on_exhausted": "halt", "rate": Rate(1.0, 1)},
)
ANSWERS: Final = (
    Answer(200),
    Answer(200),
    Answer(500),
    Answer(None, "timeout"),
    Answer(429, retry_after="90"),
    Answer(503, retry_after="7"),
    Answer(410),
    Answer(500, control="abort-message"),
    Answer(None, "internal"),
)
TYPES: Final = ("execution.failed", "node.completed", "Node.completed", "execution.progress", "log.appended")
GAPS_US: Final = (0, 1, 700_000, 5 * S_US, 31 * S_US, 60 * S_US, 300 * S_US, 86_400 * S_US)


class Differing(AssertionError):
    """The two do not answer alike."""


class Undo(Exception):
    """Ends the transaction of a program that is over."""


class World:
    """Both ledgers, the time, and what a deliverer holds of them."""

    def __init__(self, driver: Writer) -> None:
        self.tables = LedgerTables()
        self.driver, self.memory = driver, MemoryLedger(self.tables)
        self.now_us = NOW_US
        self.numbers = count(1)
        self.sends: list[Claimed] = []
        self.replays: list[Replay] = []

    def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The answer of both."""
        answers = [getattr(it, name)(*args, **kwargs) for it in (self.driver, self.memory)]
        plain = [list(it) if isinstance(it, list | tuple) and not hasattr(it, "_fields") else it for it in answers]
        if plain[0] != plain[1]:
            raise Differing(f"{name}{args}{kwargs}: driver {plain[0]}, memory {plain[1]}")
        return plain[0]

    def endpoints(self) -> list[Endpoint]:
        """All that are registered."""
        return list(self.memory.endpoints(None))

    def keys(self) -> list[int]:
        """Of all deliveries."""
        return [key for at in range(1, 5) for key in self.memory.keys_of(DeliveryQuery(at), 0, 1000)]

    def lease(self, who: int) -> str:
        """A name that is given once, of one of two deliverers."""
        return f"{'ab'[who % 2]}.{next(self.numbers)}"

    # What happens

    def do(self, step: tuple[str, int, int, int]) -> None:
        """One operation; the numbers choose among what there is."""
        name, *numbers = step
        getattr(self, name)(*numbers)

    def register(self, kind: int, _: int, __: int) -> None:
        if len(self.endpoints()) < 4:
            self.ask("add_endpoint", make_endpoint(f"wh_{next(self.numbers)}", key=0, **KINDS[kind % len(KINDS)]))

    def change(self, which: int, kind: int, status: int) -> None:
        if endpoints := self.endpoints():
            it = endpoints[which % len(endpoints)]
            as_made = {name: getattr(make_endpoint(), name) for name in ("max_in_flight", "rate", "ordering")}
            changed = as_made | KINDS[kind % len(KINDS)] | {"status": ("active", "active", "paused")[status % 3]}
            if it.status != "active" and changed["status"] == "active":
                self.ask("put_lane", it.key, enabled(self.memory.lane(it.key)))
            self.ask("update_endpoint", replace(it, **changed))

    def remove(self, which: int, rarely: int, _: int) -> None:
        endpoints = self.endpoints()
        if endpoints and rarely % 4 == 0:
            it = endpoints[which % len(endpoints)]
            self.ask("remove_endpoint", it.team, it.id)
            self.ask("update_endpoint", it)

    def owe(self, which: int, many: int, type_: int) -> None:
        owed = []
        for number in range(1 + many % 7):
            key = 1 + (which + number) % 4
            found = self.memory.endpoint_of(key)
            execution = f"x{(which + number * type_) % 2}"
            order_key = {"none": None, "execution": execution, "strict": ""}[found.ordering if found else "none"]
            event_id = f"e{next(self.numbers) if many % 5 else 1}"
            owed.append(
                Planned(
                    id=f"{key}{event_id}",
                    endpoint_key=key,
                    event_id=event_id,
                    event_type=TYPES[(type_ + number) % len(TYPES)],
                    team="default",
                    execution_id=execution,
                    body=f"{event_id}{number % 2}".encode(),
                    due_us=self.now_us + (number % 3 == 2) * 3 * S_US,
                    order_key=order_key,
                )
            )
        self.ask("owe", owed)

    def claim(self, limit: int, who: int, longer: int) -> None:
        until_us = self.now_us + (1 + longer % 3) * 30 * S_US
        self.sends += self.ask(
            "claim", now_us=self.now_us, lease=self.lease(who), until_us=until_us, limit=(1, 2, 3, 100)[limit % 4]
        )

    def test(self, which: int, who: int, _: int) -> None:
        id_ = f"t{next(self.numbers)}"
        ping = Planned(id_, 1 + which % 4, id_, "webhook.ping", "default", "", b"ping", self.now_us)
        until_us = self.now_us + 30 * S_US
        begun = self.ask("begin", ping, "test", now_us=self.now_us, lease=self.lease(who), until_us=until_us)
        self.sends += [] if begun is None else [begun]

    def end(self, which: int, many: int, answer: int) -> None:
        """Some sends end, as the deliverer records them."""
        ended = [self.sends.pop((which + n) % len(self.sends)) for n in range(min(1 + many % 4, len(self.sends)))]
        recorded = []
        for number, it in enumerate(ended):
            said = ANSWERS[(answer + number * many) % len(ANSWERS)]
            decision = decide(it, said, self.now_us, lambda: 0.5)
            recorded.append((it, decision, outcome_of(it, said, decision, self.now_us - 5, self.now_us)))
        held = self.ask("finish", [outcome for _, _, outcome in recorded])
        for it, decision, outcome in recorded:
            endpoint = self.memory.endpoint_of(it.endpoint.key)
            if it.key not in held or endpoint is None:
                continue
            lane = self.ask("lane", endpoint.key)
            turn = after(lane, endpoint, decision.verdict, decision.lane_until_us, outcome.finished_us)
            self.ask("put_lane", endpoint.key, turn.lane)
            if decision.disables or turn.disables:
                self.ask("update_endpoint", replace(endpoint, status="disabled"))

    def restart(self, who: int, _: int, __: int) -> None:
        """A deliverer comes back without its sends."""
        self.ask("release_leases", f"{'ab'[who % 2]}.", self.now_us)

    def redeliver(self, which: int, many: int, where: int) -> None:
        if keys := self.keys():
            chosen = [keys[(which + n * 2) % len(keys)] for n in range(1 + many % 5)]
            states = (REDELIVERABLE, ("failed",), ("held", "cancelled"))[where % 3]
            self.ask("redeliver", chosen, "retry", due_us=self.now_us, rank=0, states=states)

    def replay(self, which: int, many: int, _: int) -> None:
        """A portion of a new job."""
        query = DeliveryQuery(1 + which % 4, states=("delivered", "failed", "held"))
        job = Replay(
            id=f"rp_{next(self.numbers)}",
            team="default",
            endpoint_key=query.endpoint_key,
            query=query,
            created_us=self.now_us,
            matched=self.ask("delivery_count", query),
        )
        job = self.ask("put_replay", job)
        keys = self.ask("keys_of", query, 0, 1 + many % 6)
        states = query.states or ()
        queued = self.ask("redeliver", keys, "replay", due_us=self.now_us, rank=1, replay_key=job.key, states=states)
        self.replays.append(self.ask("put_replay", replace(job, queued=queued)))

    def end_replay(self, which: int, _: int, __: int) -> None:
        if self.replays:
            job = self.replays.pop(which % len(self.replays))
            self.ask("end_replayed", job.key, self.now_us)
            self.ask("put_replay", replace(job, state="cancelled"))

    def cancel(self, which: int, many: int, _: int) -> None:
        if keys := self.keys():
            self.ask("cancel", [keys[(which + n) % len(keys)] for n in range(1 + many % 3)], "asked", self.now_us)

    def hold(self, limit: int, most: int, _: int) -> None:
        self.ask("hold_overflow", limit % 5, self.now_us, 1 + most % 5)

    def forget(self, after_key: int, limit: int, _: int) -> None:
        self.ask("forget_deliveries", self.now_us - 60 * S_US, after_key % 5, 1 + limit % 20)

    def wait(self, gap: int, _: int, __: int) -> None:
        self.now_us += GAPS_US[gap % len(GAPS_US)]

    def wait_as_told(self, _: int, __: int, ___: int) -> None:
        """Until the deliverer would look."""
        look_us = self.memory.next_look_us()
        self.now_us = max(self.now_us, look_us or 0)

    def set_clock_back(self, by: int, rarely: int, _: int) -> None:
        if rarely % 4 == 0:
            by_us = GAPS_US[by % len(GAPS_US)]
            self.now_us -= by_us
            self.ask("set_back", by_us)

    # What is seen

    def compare(self) -> None:
        """What a step may change, of both."""
        for name in ("endpoints_version", "next_look_us"):
            self.ask(name)
        for key in range(1, 5):
            self.ask("lane", key)
            self.ask("endpoint_of", key)
            self.ask("deliveries", DeliveryQuery(key), 1000)

    def compare_questions(self) -> None:
        """Everything else that anybody can ask; of one endpoint in all ways."""
        assert [self.ask("endpoint", it.team, it.id) for it in self.ask("endpoints", None)] == self.endpoints()
        for key in (1, 2, 3, 4):
            for row in self.ask("deliveries", DeliveryQuery(key), 1000):
                self.ask("attempts", row.id)
        for replay in self.replays:
            assert self.ask("replay", "default", replay.id) == replay
            self.ask("untried", replay.key)
        self.ask("backlog", None)
        self.ask("replays", None)
        key = 1 + len(self.replays) % 4
        self.ask("backlog", key)
        self.ask("replays", key)
        for query in (
            *(DeliveryQuery(key, states=(state,)) for state in ("pending", "held", "leased", "failed", "cancelled")),
            *(DeliveryQuery(key, event_types=(name,)) for name in ("node.*", "Node.completed")),
            DeliveryQuery(key, triggers=("test", "replay")),
            DeliveryQuery(key, execution_id="x1", since_us=NOW_US + 1, until_us=NOW_US + 60 * S_US),
            DeliveryQuery(key, states=("pending", "delivered"), before_key=9),
        ):
            found = self.ask("keys_of", query, 2, 3)
            assert found == sorted(found)
            assert self.ask("delivery_count", query) >= len(found)
            self.ask("deliveries", query, 2)

    def check_lanes(self) -> None:
        """No lane is forgotten: where something is due and there is room, it is looked at in time."""
        for endpoint in self.endpoints():
            lane, look_us = self.tables.lanes[endpoint.key]
            rows = self.memory.deliveries(DeliveryQuery(endpoint.key), 1000)
            in_flight = sum(row.state == "leased" for row in rows)
            for due_us in (row.due_us for row in rows if row.state == "pending" and row.due_us is not None):
                at_us = max(due_us, self.now_us)
                if room(lane, endpoint, in_flight, at_us).free:
                    assert look_us is not None, f"lane {endpoint.key} is forgotten"
                    assert look_us <= at_us, f"lane {endpoint.key} is looked at too late"

    def check_orders(self) -> None:
        """Of each order and rank only the first one that is open may be due."""
        first: set[tuple[int, str, int]] = set()
        for it in self.tables.deliveries.values():
            if it.order_key is not None and it.row.state in ("pending", "leased"):
                order = (it.row.endpoint_key, it.order_key, it.rank)
                assert order not in first or it.row.state == "leased" or it.row.due_us is None
                first.add(order)


STEPS: Final = (
    *("register", "change", "remove", "test", "restart", "cancel", "hold", "forget", "set_clock_back"),
    *("redeliver", "replay", "end_replay"),
    *("owe", "claim", "end", "wait", "wait_as_told") * 2,
    *("owe", "claim", "end"),
)
NUMBERS: Final = st.integers(0, 23)
PROGRAM: Final = st.lists(st.tuples(st.sampled_from(STEPS), NUMBERS, NUMBERS, NUMBERS), min_size=20, max_size=60)


def run(program: list[tuple[str, int, int, int]], first_kinds: list[int], writer: Writer) -> None:
    """The program on both, from two endpoints on; raises Undo."""
    world = World(writer)
    if isinstance(writer, PostgresWriter):
        begin_anew(writer)
    for kind in first_kinds:
        world.register(kind, 0, 0)
    for step in program:
        world.do(step)
        world.compare()
        world.check_lanes()
        world.check_orders()
    world.compare_questions()
    raise Undo


def begin_anew(writer: PostgresWriter) -> None:
    """Give keys from 1 on: a sequence does not go back when a program is undone."""
    for name in ("endpoints_key_seq", "replays_key_seq", "deliveries_keys", "delivery_bodies_keys"):
        writer._driver.execute("SELECT setval(%s::text::regclass, 1, false)", (name,))


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """A loop for every program."""
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """An empty store that each program leaves as it was."""
    with ExitStack() as stack:
        opened: Store
        if request.param == "sqlite":
            opened = runner.run(open_sqlite_store(tmp_path_factory.mktemp("ledger") / "store.db"))
        else:
            server: Postgres = request.getfixturevalue("postgres")
            opened = runner.run(open_postgres_store(stack.enter_context(server.database())))
        yield opened
        runner.run(opened.close())


@pytest.mark.parametrize("part", range(PARTS))
def test_both_ledgers_show_the_same(runner: asyncio.Runner, store: Store, long_form: bool, part: int) -> None:
    """After every step of every program."""
    examples = LONG_PROGRAMS if long_form else PROGRAMS

    @settings(
        max_examples=examples if isinstance(store, SQLiteStore) else examples // SLOWER,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(program=PROGRAM, first_kinds=st.lists(st.integers(0, 5), min_size=2, max_size=3))
    def programs(program: list[tuple[str, int, int, int]], first_kinds: list[int]) -> None:
        with pytest.raises(Undo):
            runner.run(store.write(partial(run, program, first_kinds)))

    programs()
