"""Several projectors and deliverers over one PostgreSQL, each with a store of its own, as processes have it.

Sends take no time and need no sockets: a deliverer has them in its hands and lets them end in any order. Connections
are cut before a commit, answers are lost after it, deliverers forget what they held. Time runs faster than the clock on
the wall, so that leases end. The referee looks at what is stored after every commit, and at all of it in the end.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from monitor.errors import Fenced, StoreUnavailable
from monitor.projections.fold import Changes
from monitor.store.base import Commit, Reader
from monitor.store.postgres import PostgresStore, open_postgres_store
from monitor.store.postgres_write import PostgresWriter
from monitor.webhooks.delivery import AttemptDetail, Claimed, Outcome, Planned
from tests.support.webhooks import NOW_US, make_endpoint

T = TypeVar("T")

LANES: Final = 20
HEARERS: Final = 2
CAP: Final = 3
ORDERS: Final = ("none", "execution", "strict")

SPEED: Final = 20
"""Seconds of the story in one of the wall's."""

S_US: Final = 1_000_000
LEASE_US: Final = 40 * S_US

DETAIL: Final = AttemptDetail("https://example.com")

_CROWDED: Final = f"""
SELECT endpoint_key, NULL, count(*) FROM deliveries WHERE state = 'leased' AND lease <> '' GROUP BY 1
HAVING count(*) > {CAP}
UNION ALL
SELECT endpoint_key, order_key, count(*) FROM deliveries
WHERE state = 'leased' AND lease <> '' AND order_key IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1
"""  # noqa: S608 - constants
_UNENDED: Final = "SELECT id, state, due_us, order_key FROM deliveries WHERE state NOT IN ('delivered', 'failed')"
_ATTEMPTS: Final = """
SELECT d.id, d.attempts, count(a.n), count(a.finished_us) FROM deliveries AS d
LEFT JOIN attempts AS a ON a.delivery_key = d.key GROUP BY d.key
"""


class Story:
    """What happens, drawn from a seed, though not when; and what is said against it."""

    def __init__(self, address: str, seed: int) -> None:
        self.address, self.chance = address, random.Random(seed)
        self.complaints: list[str] = []
        self.happened = Counter[str]()
        self._began_s = time.monotonic()
        self._stack = AsyncExitStack()
        self._numbers = count(1)
        self._turns = count()
        self._lanes: dict[int, str] = {}
        self._hearers: list[int] = []
        self._planned: dict[str, Planned] = {}
        # Of ordered deliveries: when each was through, in turns; and how many ended in each lane.
        self._through: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
        self._ends = Counter[int]()
        self._is_calm = False

    async def live(self, *, for_s: float, limit_s: float, projectors: int = 2, deliverers: int = 3) -> None:
        """Some seconds of everything at once, then calm until nothing is left to do, or `limit_s` have passed."""
        async with self._stack:
            store = await self._open()
            await self._register(store)
            stores = [await self._open() for _ in range(projectors + deliverers)]
            calm = asyncio.get_running_loop().time() + for_s
            projecting = [self._project(n, it, calm) for n, it in enumerate(stores[:projectors])]
            hands = [Hands(self, f"d{n}", it) for n, it in enumerate(stores[projectors:])]
            delivering = [asyncio.create_task(it.run()) for it in hands]
            await asyncio.gather(*projecting)
            self._is_calm = True
            _, late = await asyncio.wait(delivering, timeout=limit_s)
            if late:
                self.complain("somebody has still something to do")
            for task in late:
                task.cancel()
            await asyncio.gather(*delivering, return_exceptions=True)
            for task in delivering:
                if not task.cancelled() and (error := task.exception()):
                    self.complain(f"a deliverer broke: {error!r}")
            await self._judge(store)

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self._is_calm

    def now_us(self) -> int:
        """The story's time."""
        return NOW_US + round((time.monotonic() - self._began_s) * SPEED * S_US)

    def complain(self, text: str) -> None:
        """Something is against the rules."""
        self.complaints.append(text)

    async def write(self, store: PostgresStore, work: Callable[[PostgresWriter], T]) -> T | None:
        """What `work` answers, beside others; None when the store was not to be had. Nobody may see a deadlock."""
        try:
            return await store.write(work, shared=True)  # type: ignore[arg-type]
        except (StoreUnavailable, Fenced) as error:
            self.happened["failed"] += 1
            if "deadlock" in error.message or isinstance(error, Fenced) or "lock timeout" in error.message:
                self.complain(error.message)
            return None

    def cut(self, writer: PostgresWriter) -> None:
        """Now and then the connection breaks before the commit, or takes its time."""
        chance = random.random()
        if chance < 0.5:
            writer._driver.execute("SELECT pg_sleep(%s)", (chance / 50,))
        elif chance < 0.53 and not self._is_calm:
            self.happened["cut"] += 1
            writer._driver.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def _open(self) -> PostgresStore:
        store = await open_postgres_store(self.address)
        self._stack.push_async_callback(store.close)
        return store

    async def _register(self, store: PostgresStore) -> None:
        for number in range(LANES + HEARERS):
            is_hearer = number >= LANES
            ordering: Any = ("none", "strict")[number % 2] if is_hearer else ORDERS[number % 3]
            made = make_endpoint(f"wh_{number}", key=0, ordering=ordering, max_in_flight=CAP)
            key = (await store.write(lambda writer, it=made: writer.add_endpoint(it))).key  # type: ignore[misc]
            self._lanes[key] = ordering
            if is_hearer:
                self._hearers.append(key)

    def plan(self, keys: list[int], who: str) -> list[Planned]:
        """Deliveries to these lanes that nobody has heard of."""
        return [self._plan(key, f"x{who}{number % 3}") for number, key in enumerate(keys)]

    def _plan(self, key: int, execution_id: str) -> Planned:
        number = next(self._numbers)
        order_key = {"none": None, "execution": execution_id, "strict": ""}[self._lanes[key]]
        about = (f"{number}", key, f"e{number}", "execution.failed", "default", execution_id, b"{}")
        return Planned(*about, self.now_us(), order_key)

    def owed(self, planned: list[Planned]) -> None:
        """These were committed."""
        self._planned.update((it.id, it) for it in planned)

    def hearer(self) -> int:
        """Who is told of a lane."""
        return self.chance.choice(self._hearers)

    async def _project(self, number: int, store: PostgresStore, until_s: float) -> None:
        """Commit batches; one that failed is tried again, and now and then one that did not."""
        lanes = [key for key in self._lanes if key not in self._hearers]
        while asyncio.get_running_loop().time() < until_s:
            keys = self.chance.choices(lanes[: self.chance.choice((2, len(lanes)))], k=self.chance.randrange(1, 12))
            batch = self.plan(keys, str(number))
            is_stored = False
            while not is_stored or self.chance.random() < 0.1:
                is_stored = bool(await self.write(store, partial(self._commit, batch))) or is_stored
            self.owed(batch)
            self.happened["batches"] += 1

    def _commit(self, planned: list[Planned], writer: PostgresWriter) -> bool:
        writer.commit(Commit(Changes(), {}, planned))
        self.cut(writer)
        return True

    def turn(self) -> int:
        """Counts on, in whatever thread."""
        return next(self._turns)

    def ended(self, ends: list[tuple[int, Outcome, str | None]]) -> None:
        """These ends were committed, each with its turn and the order of its delivery."""
        for turn, it, order_key in ends:
            self._ends[it.endpoint_key] += 1
            if it.state != "pending" and order_key is not None:
                self._through[it.endpoint_key, order_key].append((turn, it.key))

    async def look(self, store: PostgresStore) -> None:
        """Whether some lane has more in flight than it may, or an order more than one."""
        for row in await store.read(lambda reader: _asked(reader, _CROWDED)):
            self.complain(f"too many at once: {row}")

    async def _judge(self, store: PostgresStore) -> None:
        for row in await store.read(lambda reader: _asked(reader, _UNENDED)):
            self.complain(f"stuck: {row}")
        found = await store.read(lambda reader: _asked(reader, _ATTEMPTS))
        if {row[0] for row in found} != set(self._planned):
            self.complain("what was planned and what is stored differ")
        for id_, attempts, recorded, finished in found:
            if not attempts == recorded == finished:
                self.complain(f"attempts at {id_}: {attempts} counted, {recorded} recorded, {finished} ended")
        for key, ordering in self._lanes.items():
            lane = await store.read(lambda reader, it=key: reader.lane(it))  # type: ignore[misc]
            if lane.failures != self._ends[key]:
                self.complain(f"lane {key} knows {lane.failures} of {self._ends[key]} ends")
            orders = {of: through for of, through in self._through.items() if of[0] == key}
            for of, through in orders.items() if ordering == "execution" else ():
                arrived = [it for _, it in sorted(through)]
                if arrived != sorted(arrived):
                    self.complain(f"out of order in {of}: {arrived}")
        self.happened["deliveries"] = len(found)
        self.happened["attempts"] = sum(row[1] for row in found)


def _asked(reader: Reader, question: str) -> list[Any]:
    connection: Any = reader._connection  # type: ignore[attr-defined]
    return [tuple(row) for row in connection.exec_driver_sql(question)]


class Hands:
    """A deliverer without sockets."""

    def __init__(self, story: Story, name: str, store: PostgresStore) -> None:
        self._story, self._name, self._store = story, name, store
        self._held: list[tuple[Claimed, int]] = []
        self._leases = count(1)
        # Attempts whose end was committed, of which it never heard.
        self._unsure: set[tuple[int, int]] = set()

    async def run(self) -> None:
        """Deliver until all is calm and nothing is left."""
        while True:
            sends = self._some()
            settled = await self._story.write(self._store, partial(self._settle, sends))
            if settled is None:
                continue
            claimed, until_us, look_us, ends, told = settled
            self._story.ended(ends)
            self._story.owed(told)
            self._story.happened["notices"] += len(told)
            if self._story.is_calm or self._story.chance.random() > 0.03:
                self._held = [it for it in self._held if it not in sends] + [(it, until_us) for it in claimed]
            else:  # it never heard that this was committed
                self._story.happened["answers lost"] += 1
                self._unsure |= {(it.key, it.n) for it, _ in sends}
            await self._story.look(self._store)
            if self._story.is_calm and look_us is None and not self._held:
                return
            await asyncio.sleep(0 if claimed or sends else 0.005)

    def _some(self) -> list[tuple[Claimed, int]]:
        chance = self._story.chance
        if not self._story.is_calm and chance.random() < 0.03:
            self._story.happened["forgotten"] += len(self._held)
            self._held = []
        return chance.sample(self._held, k=chance.randrange(len(self._held) + 1) if self._held else 0)

    def _settle(self, sends: list[tuple[Claimed, int]], writer: PostgresWriter) -> tuple[Any, ...]:
        story = self._story
        outcomes = [self._outcome(it) for it, _ in sends]
        held = writer.finish(outcomes)
        now_us = story.now_us()
        for (it, until_us), outcome in zip(sends, outcomes, strict=True):
            if it.key not in held and now_us < until_us and (it.key, it.n) not in self._unsure:
                story.complain(f"{outcome.key} was taken from {self._name} within its lease")
        ends = [(story.turn(), it, _order_of(writer, it.key)) for it in outcomes if it.key in held]
        for key in dict.fromkeys(it.endpoint_key for _, it, _ in ends):
            lane = writer.lane(key)
            number = sum(it.endpoint_key == key for _, it, _ in ends)
            writer.put_lane(key, replace(lane, failures=lane.failures + number))
        told = story.plan([story.hearer()], "h") if ends and random.random() < 0.2 else []
        writer.owe(told)
        until_us = now_us + LEASE_US
        lease = f"{self._name}.{next(self._leases)}"
        claimed = writer.claim(now_us=now_us, lease=lease, until_us=until_us, limit=random.choice((1, 4, 16)))
        look_us = writer.next_look_us()
        story.cut(writer)
        return claimed, until_us, look_us, ends, told

    def _outcome(self, it: Claimed) -> Outcome:
        now_us, chance = self._story.now_us(), random.random()
        how: dict[str, Any] = {"state": "delivered", "due_us": None}
        if chance < 0.15:
            how = {"state": "pending", "due_us": now_us + random.randrange(10 * S_US)}
        elif chance < 0.2:
            how = {"state": "failed", "due_us": None}
        said: dict[str, Any] = {"status": 200, "error": None, "answer": b"", "detail": DETAIL, "reason": None}
        times: dict[str, Any] = {"started_us": now_us, "finished_us": now_us}
        place: dict[str, Any] = {
            "key": it.key,
            "endpoint_key": it.endpoint.key,
            "n": it.n,
            "lease": it.lease,
            "step": it.step,
        }
        return Outcome(**place, **times, **said, **how)


def _order_of(writer: PostgresWriter, key: int) -> str | None:
    [(order_key,)] = writer._driver.execute("SELECT order_key FROM deliveries WHERE key = %s", (key,))
    return None if order_key is None else str(order_key)
