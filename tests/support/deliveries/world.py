"""A world of endpoints, events and accidents, drawn from a seed. Planner, store and deliverers are real, others not.

Deliverers are killed between any two steps, stopped, stalled and doubled; the store fails; the wall clock is set;
owners pause, change, remove and retry; receivers answer anything. In the end all is well again and time passes. The
referee is told every transaction.
"""

import asyncio
import base64
import hashlib
import hmac
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace

from monitor.access.masking import DEFAULT_RULES, Masking
from monitor.access.sealing import Sealer
from monitor.deliverer import LONGEST_REST_S, MOST_IN_FLIGHT, PATIENCE_S, RECHECK_S, Deliverer
from monitor.errors import StoreUnavailable
from monitor.projections.fold import Changes, Release
from monitor.store.base import Commit, Reader, Store, Writer
from monitor.store.delivery_port import DeliveryQuery
from monitor.store.hints import Hints
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.delivery import Answer, Claimed, Outcome, Planned
from monitor.webhooks.endpoint import SECRET_PURPOSE, Endpoint, Rate, Secret
from monitor.webhooks.lane import enabled
from monitor.webhooks.planner import Planner
from monitor.webhooks.posting import Poster
from tests.support.deliveries.referee import DAY, Debt, Referee
from tests.support.deliveries.timeless import LoopClock, TimelessLoop
from tests.support.webhooks import BODIES, make_endpoint, make_release

SEALER: Final = Sealer(bytes(32))

TYPES: Final = ("execution.started", "node.completed", "execution.failed")

_METRICS: Final = Metrics()
_MASKING: Final = Masking(DEFAULT_RULES)

SHORT_S: Final = (2, 5, 10, 20, 40, 80)
"""A schedule that a lane goes through within minutes."""

MOST_RESTS: Final = 5000
"""Many times what any schedule takes."""

PATIENT_S: Final = PATIENCE_S + RECHECK_S + 0.1
"""How long a lane may wait where nobody handed it over, and no clock was set."""


class Tally(NamedTuple):
    """What became of one schedule."""

    complaints: Sequence[str]
    happened: Counter[str]


def run_schedule(seed: int, open_store: Callable[[], Awaitable[Store]]) -> Tally:
    """Live through the schedule of `seed`. The same seed gives the same story."""
    with asyncio.Runner(loop_factory=TimelessLoop) as runner:
        return runner.run(_live(seed, open_store))


async def _live(seed: int, open_store: Callable[[], Awaitable[Store]]) -> Tally:
    world = World(seed, await open_store())
    loop, living = asyncio.get_running_loop(), asyncio.current_task()
    assert isinstance(loop, TimelessLoop)
    assert living is not None
    loop.at_rest = partial(world.rested, living)
    try:
        await world.live()
    except asyncio.CancelledError:
        assert world.referee.complaints  # it gave up
    except Exception as error:  # noqa: BLE001 - whatever breaks is found
        world.referee.complain(f"broke: {error!r}")
    finally:
        await world.close()
    return Tally(world.referee.complaints, world.referee.tallies)


class Watched:
    """A transaction that tells the referee what is done in it."""

    def __init__(self, writer: Writer, world: "World") -> None:
        self._writer, self._world, self.told = writer, world, list[Callable[[], None]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def claim(self, *, now_us: int, lease: str, until_us: int, limit: int, share: int) -> list[Claimed]:
        """The store's."""
        found = self._writer.claim(now_us=now_us, lease=lease, until_us=until_us, limit=limit, share=share)
        now_s = self._world.clock.monotonic_s()
        self.told.append(partial(self._world.referee.claimed, found, now_us, now_s, until_us))
        return found

    def finish(self, outcomes: Sequence[Outcome]) -> set[int]:
        """The store's."""
        held = self._writer.finish(outcomes)
        self.told.append(partial(self._world.referee.finished, outcomes, held, self._world.keys))
        return held

    def release_leases(self, lease_prefix: str, now_us: int) -> int:
        """The store's."""
        self.told.append(
            partial(self._world.referee.taken_back, lambda debt: (debt.lease or "").startswith(lease_prefix))
        )
        return self._writer.release_leases(lease_prefix, now_us)

    def set_back(self, by_us: int) -> None:
        """The store's."""
        self.told.append(partial(self._world.made_up, by_us))
        self._writer.set_back(by_us)

    def owe(self, planned: Sequence[Planned]) -> None:
        """The store's."""
        self.told.append(partial(self._world.referee.owed, planned))
        self._writer.owe(planned)


class Line:
    """A deliverer's connection to the store: it takes some turns, may fail or stall, and a kill cuts it."""

    def __init__(self, world: "World", chance: random.Random) -> None:
        self._world, self._chance = world, chance
        self.hints = Hints()
        self.stalled_until_s = 0.0

    @property
    def is_stalled(self) -> bool:
        """Whether nothing comes through now."""
        return self.stalled_until_s > self._world.clock.monotonic_s()

    async def write(self, work: Callable[[Writer], Any], *, durable: bool = False, shared: bool = False) -> Any:
        """The store's write, after a while and before a while."""
        await self._wait()
        if self._world.store_is_down:
            raise StoreUnavailable
        answer = await self._world.write(work)
        await self._wait()
        return answer

    async def read(self, work: Callable[[Reader], Any]) -> Any:
        """The store's read."""
        return await self._world.store.read(work)

    async def wipe(self) -> bool:
        """The store's."""
        return await self._world.store.wipe()

    async def close(self) -> None:
        """Nothing to do."""

    async def _wait(self) -> None:
        for _ in range(self._chance.randrange(3)):
            await asyncio.sleep(0)
        while self.is_stalled:  # noqa: ASYNC110 - time of its own, and the end may be put off
            await asyncio.sleep(1)


class WatchedPoster(Poster):
    """The poster, with the referee beside it."""

    def __init__(self, world: "World", worker: "Worker") -> None:
        super().__init__(Receivers(world), SEALER, _MASKING)
        self._world, self._worker = world, worker

    async def post(self, claimed: Claimed, now_us: int) -> Answer:
        """The poster's."""
        await self._world.check_send(claimed, self._worker)
        referee, send = self._world.referee, (claimed.id, claimed.n)
        referee.sends[send] = claimed, None
        began_s = self._world.clock.monotonic_s()
        self._worker.sends[send] = began_s
        try:
            answer = await super().post(claimed, now_us)
            referee.sends[send] = claimed, answer
            self._worker.answered.add(send)
        finally:
            del self._worker.sends[send]
        return answer


class Receivers:
    """Implements the Sender port: whoever listens at an endpoint's address, in every temper."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, total_s: float) -> Answer:
        """What the receiver makes of it."""
        self._world.check_request(url, headers, body)
        if self._world.is_healed:
            return Answer(200)
        temper = self._world.temper_of(url)
        answer, after_s = temper(self._world.chance)
        await asyncio.sleep(min(after_s, total_s))
        if answer is None:
            raise RuntimeError("a fault of ours")
        return Answer(None, "timeout") if after_s >= total_s else answer


Temper = Callable[[random.Random], tuple[Answer | None, float]]
"""An answer (None = we fail) and how many seconds it takes."""


def _healthy(chance: random.Random) -> tuple[Answer | None, float]:
    return Answer(chance.choice((200, 202, 204))), chance.choice((0, 0, 0.01, 0.2, 3))


def _dead(chance: random.Random) -> tuple[Answer | None, float]:
    return Answer(None, chance.choice(("connect", "dns", "tls", "disconnected"))), chance.choice((0, 0, 0.01, 5))


def _failing(chance: random.Random) -> tuple[Answer | None, float]:
    return Answer(chance.choice((500, 500, 503, 404, 302))), chance.choice((0, 0.05))


def _hanging(chance: random.Random) -> tuple[Answer | None, float]:
    return Answer(200), chance.choice((1, 5, 99))


def _throttling(chance: random.Random) -> tuple[Answer | None, float]:
    header = chance.choice((None, "0", "3", "20", "abc", "120"))
    return Answer(chance.choice((429, 429, 503, 200)), retry_after=header), chance.choice((0, 0.1))


def _odd(chance: random.Random) -> tuple[Answer | None, float]:
    """Everything, once in a while."""
    if chance.random() < 0.5:
        return chance.choice((_healthy, _dead, _failing, _hanging, _throttling))(chance)
    strange = (None, Answer(410), Answer(422), *(Answer(status, control=word) for status, word in _WORDS))
    return chance.choice((*strange, Answer(200), Answer(200), Answer(500))), chance.choice((0, 0.1, 2))


_WORDS: Final = ((500, "abort-message"), (500, "disable"), (200, "abort-message"), (200, "disable"), (404, "nonsense"))

TEMPERS: Final[Sequence[Temper]] = (_healthy, _healthy, _odd, _odd, _dead, _failing, _hanging, _throttling)


class Worker:
    """A deliverer and its life."""

    def __init__(self, world: "World", name: str) -> None:
        self.line, self.name, self.sends = Line(world, world.chance), name, dict[tuple[str, int], float]()
        self.answered: set[tuple[str, int]] = set()
        self.concurrency = world.chance.choice((1, 2, 4, 16))
        self.deliverer = Deliverer(
            name=name,
            store=self.line,
            poster=WatchedPoster(world, self),
            clock=world.clock,
            chance=world.chance.random,
            metrics=_METRICS,
            concurrency=self.concurrency,
        )
        self.running = asyncio.create_task(self.deliverer.run())

    def has_room(self, now_s: float) -> bool:
        """Whether one more send may begin: those that last only wait for their receivers."""
        young = sum(now_s - began_s < PATIENCE_S - 0.001 for began_s in self.sends.values())
        return young < self.concurrency and len(self.sends) < MOST_IN_FLIGHT

    async def kill(self) -> None:
        """It is gone, wherever it was."""
        self.running.cancel()
        await asyncio.wait([self.running])


class World:
    """Everything, and what may happen in it."""

    def __init__(self, seed: int, store: Store) -> None:
        self.chance, self.store, self.referee = random.Random(seed), store, Referee()
        self.clock = LoopClock()
        self.workers: list[Worker] = []
        self.keys: dict[str, int] = {}
        self.is_healed = self.store_is_down = False
        self._is_simple, self._set_back_s, self._made_up_s = True, 0.0, 0.0
        self._releases: list[Release] = []
        self._signing_keys: dict[str, list[bytes]] = {}
        self._tempers: dict[str, Temper] = {}
        self._names = count()
        self._rests = 0
        self._accidents: set[asyncio.Task[None]] = set()

    # --- the story ---------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Some minutes of mayhem, then all is well for as long as it takes."""
        for _ in range(self.chance.randrange(1, 4)):
            await self._register()
        if self.chance.random() < 0.4:
            await self._register(events=self.chance.choice((("endpoint.*", "delivery.*"), ("*", "delivery.*"))))
        await self._start("a")
        acts = self.chance.choices(
            [act for act, _ in ACTS], [weight for _, weight in ACTS], k=self.chance.randrange(5, 16)
        )
        for act in acts:
            await act(self)
            await asyncio.sleep(self.chance.choice((0, 0, 0.02, 1, 4, 15, 40)))
        await self._heal()
        await self._stop(self.workers[0])
        await self._judge()

    async def close(self) -> None:
        """Leave nothing behind."""
        for worker in tuple(self.workers):
            await worker.kill()
        for task in self._accidents:
            task.cancel()
        await asyncio.gather(*self._accidents, return_exceptions=True)
        await self.store.close()

    async def _heal(self) -> None:
        self.is_healed, self.store_is_down = True, False
        for worker in self.workers:
            worker.line.stalled_until_s = 0
        await asyncio.gather(*self._accidents)
        for worker in tuple(self.workers[1:]):
            await self._stop(worker)
        if not self.workers:
            await self._start("a")
        for endpoint in tuple(self.referee.endpoints.values()):
            if self.chance.random() < 0.8:
                await self._put(endpoint, status="active", reason=None)
        await asyncio.sleep(60)
        for _ in range(300):
            due_us = self.referee.next_due_us()
            if due_us is None:
                return
            if due_us - self.clock.now_us() > 120_000_000:
                self._set_clock((due_us - self.clock.now_us()) / 1_000_000)
            await asyncio.sleep(LONGEST_REST_S)
        self.referee.complain("does not come to an end")

    async def _judge(self) -> None:
        for worker in self.workers:
            await self._stop(worker)
        leased = [debt.id for debt in self.referee.debts.values() if debt.state == "leased"]
        self.referee.check([], leased, "leases after everybody stopped")

        def look(reader: Reader) -> None:
            keys = {debt.endpoint_key for debt in self.referee.debts.values()}
            rows = [row for key in keys for row in reader.deliveries(DeliveryQuery(key), 10_000)]
            self.referee.judge([(row, reader.attempts(row.id)) for row in rows], reader.endpoints(None))

        await self.store.read(look)

    # --- what is watched ---------------------------------------------------------------------------------------------

    async def write(self, work: Callable[[Writer], Any]) -> Any:
        """One transaction, told to the referee."""

        def watched(writer: Writer) -> Any:
            watching: Any = Watched(writer, self)
            answer = work(watching)
            for tell in watching.told:
                tell()
            self.referee.settled()
            self._learn_keys(writer)
            return answer

        return await self.store.write(watched)

    def _learn_keys(self, reader: Reader) -> None:
        for id_, debt in self.referee.debts.items():
            if id_ not in self.keys:
                row = reader.delivery("default", id_)
                if row is None:
                    self.referee.complain(f"{id_} is not stored: {debt}")
                else:
                    self.keys[id_] = row.key

    async def check_send(self, claimed: Claimed, worker: Worker) -> None:
        """A send begins: its attempt is stored, and was never sent before."""
        attempts = await self.store.read(lambda reader: reader.attempts(claimed.id))
        if claimed.n not in [attempt.n for attempt in attempts]:
            self.referee.complain(f"attempt {claimed.n} of {claimed.id} is sent, but not stored")
        if (claimed.id, claimed.n) in self.referee.sends:
            self.referee.complain(f"attempt {claimed.n} of {claimed.id} is sent twice")
        if not worker.has_room(self.clock.monotonic_s()):
            self.referee.complain(f"{worker.name} sends {len(worker.sends) + 1} at once")

    def check_request(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """What arrives is what is owed, signed by every live key of its endpoint."""
        id_ = headers["webhook-id"]
        self.referee.check(self.referee.debts[id_].body, body, f"body of {id_}")
        stamp_s = self.clock.now_us() // 1_000_000
        self.referee.check(str(stamp_s), headers["webhook-timestamp"], f"timestamp of {id_}")
        content = f"{id_}.{stamp_s}.".encode() + body
        known = {
            f"v1,{base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()}"
            for key in self._signing_keys[urlsplit(url).netloc.partition(".")[0]]
        }
        if known.isdisjoint(headers["webhook-signature"].split(" ")):
            self.referee.complain(f"{id_} is signed by nobody")

    def temper_of(self, url: str) -> Temper:
        """Of whoever listens there."""
        return self._tempers[url]

    def rested(self, living: asyncio.Task[Tally]) -> None:
        """Time is about to pass: look whether it should. What cannot end is given up."""
        now_s = self.clock.monotonic_s()
        self._rests += 1
        ended = [f"{worker.name} ended: {worker.running!r}" for worker in self.workers if worker.running.done()]
        if ended or self._rests > MOST_RESTS:
            self.referee.complain(", ".join(ended) or "time passes in ever smaller steps")
            living.cancel()
            self._rests = 0
        able = [worker for worker in self.workers if not worker.line.is_stalled]
        if self.store_is_down or not any(worker.has_room(now_s) for worker in able):
            self.referee.nobody_could_send()
            return
        patience_s = PATIENT_S if self._is_simple else PATIENT_S + LONGEST_REST_S + self._set_back_s
        self.referee.rested(self.clock.now_us(), now_s, patience_s)

    # --- endpoints and events ----------------------------------------------------------------------------------------

    async def _register(self, events: tuple[str, ...] | None = None) -> None:
        name = f"wh{next(self._names)}"
        key = self.chance.randbytes(24)
        endpoint = make_endpoint(
            name,
            url=self._address(name),
            events=events or self.chance.choice((("*",), ("*",), ("execution.failed", "node.*"))),
            sealed_secret=SEALER.seal(SECRET_PURPOSE, key),
            since={0: len(self._releases)},
            **self._settings(),
        )
        self._signing_keys[name] = [key]
        await self.store.write(lambda writer: self.referee.registered(writer.add_endpoint(endpoint)))

    def _address(self, name: str) -> str:
        """A new one, with a receiver of its own."""
        url = f"https://{name}.example.com/{next(self._names)}"
        self._tempers[url] = self.chance.choice(TEMPERS)
        return url

    def _settings(self) -> dict[str, Any]:
        choose = self.chance.choice
        return {
            "ordering": choose(("none", "execution", "strict")),
            "on_exhausted": choose(("skip", "halt")),
            "max_in_flight": choose((1, 2, 4, 8)),
            "rate": choose((None, None, None, Rate(2.0, 3), Rate(0.5, 1))),
            "retry_delays_s": choose((SHORT_S, SHORT_S, SHORT_S[:2], (), None)),
            "timeout_s": choose((1.0, 15.0)),
            "give_up_on": choose(((), (), (404, 422))),
            "obeys_receiver": self.chance.random() < 0.8,
        }

    async def happen(self) -> None:
        """Some events are planned and committed, some of them not for the first time."""
        known = len(self._releases)
        for _ in range(self.chance.choice((1, 1, 2, 5))):
            offset = len(self._releases)
            type_, execution_id = self.chance.choice(TYPES), f"exec_{self.chance.randrange(3)}"
            self._releases.append(
                make_release(type_, execution_id=execution_id, event_id=f"ev_{offset}", offset=offset)
            )
        again = self.chance.choices(self._releases, k=self.chance.choice((0, 0, 2)))
        releases = [*self._releases[known:], *again]

        def work(writer: Writer) -> None:
            endpoints = writer.endpoints(None)
            planned = Planner(endpoints, BODIES).plan(releases, {}, self.clock.now_us())
            writer.commit(Commit(Changes(), {}, planned))
            self.referee.planned({pair for it in releases for pair in _matching(it, endpoints)}, planned)
            self._learn_keys(writer)

        await self.store.write(work)
        self._wake_all()

    async def remove(self) -> None:
        """An owner wants nothing any more."""
        endpoint = self._some_endpoint()
        if len(self.referee.endpoints) > 1:
            await self._decide(lambda writer: writer.remove_endpoint(endpoint.team, endpoint.id))
            self.referee.removed(endpoint.key)

    async def register(self) -> None:
        """Somebody new wants to hear."""
        await self._register()

    async def pause(self) -> None:
        """An owner wants silence."""
        await self._put(self._some_endpoint(), status=self.chance.choice(("paused", "disabled")), reason=None)

    async def resume(self) -> None:
        """An owner wants to hear again."""
        await self._put(self._some_endpoint(), status="active", reason=None)

    async def change(self) -> None:
        """An owner wants to be served differently."""
        settings = self._settings()
        names = self.chance.sample(sorted(settings), k=3)
        await self._put(self._some_endpoint(), **{name: settings[name] for name in names})

    async def move(self) -> None:
        """A receiver moves."""
        endpoint = self._some_endpoint()
        await self._put(endpoint, url=self._address(endpoint.id))

    async def rotate(self) -> None:
        """A new key signs; the old one does for a day."""
        endpoint = self._some_endpoint()
        key, now_us = self.chance.randbytes(24), self.clock.now_us()
        self._signing_keys[endpoint.id].append(key)
        old = [replace(it, expires_us=it.expires_us or now_us + DAY * 1_000_000) for it in endpoint.secrets]
        await self._put(endpoint, secrets=(Secret(SEALER.seal(SECRET_PURPOSE, key), now_us), *old))

    async def _put(self, endpoint: Endpoint, **changes: Any) -> None:
        changed = replace(endpoint, **changes)
        resumed = changed.status == "active" != endpoint.status

        def work(writer: Writer) -> None:
            writer.update_endpoint(changed)
            if resumed:
                writer.put_lane(endpoint.key, enabled(writer.lane(endpoint.key)))
            self.referee.changed(changed, resumed=resumed)

        await self._decide(work)

    async def retry(self) -> None:
        """Somebody wants a delivery once more, whatever became of it."""
        debt, now_us = self._some_debt(), self.clock.now_us()
        if debt is not None:
            await self._decide(lambda writer: writer.redeliver([self.keys[debt.id]], "retry", due_us=now_us))
            self.referee.retried(debt.id, now_us)

    async def cancel(self) -> None:
        """Somebody wants a delivery no more."""
        debt, now_us = self._some_debt(), self.clock.now_us()
        if debt is not None:
            await self._decide(lambda writer: writer.cancel([self.keys[debt.id]], "asked", now_us))
            self.referee.cancelled(debt.id, now_us)

    async def _decide(self, work: Callable[[Writer], Any]) -> None:
        await self.store.write(work)
        self._wake_all()

    async def turn(self) -> None:
        """A receiver changes its temper."""
        self._tempers[self._some_endpoint().url] = self.chance.choice(TEMPERS)

    def _some_endpoint(self) -> Endpoint:
        return self.chance.choice(list(self.referee.endpoints.values()))

    def _some_debt(self) -> Debt | None:
        of_endpoints = [debt for debt in self.referee.debts.values() if debt.endpoint_key in self.referee.endpoints]
        return self.chance.choice(of_endpoints) if of_endpoints else None

    # --- deliverers and accidents ------------------------------------------------------------------------------------

    async def _start(self, name: str) -> None:
        self.workers.append(Worker(self, name))
        self._is_simple = self._is_simple and len(self.workers) == 1

    async def _stop(self, worker: Worker) -> None:
        self.workers.remove(worker)
        await worker.deliverer.stop(self.chance.choice((0.0, 0.5, 20.0)))
        await worker.running
        self.referee.check(set(), worker.answered - self.referee.recorded, f"answers that {worker.name} forgot")
        if worker.name not in [it.name for it in self.workers]:
            held = [it.id for it in self.referee.debts.values() if (it.lease or "").startswith(f"{worker.name}.")]
            self.referee.check([], held, f"leases after {worker.name} stopped")

    async def kill(self) -> None:
        """A deliverer dies somewhere on its way, perhaps with events that it was just told of."""
        if self.chance.random() < 0.7:
            await self.happen()
        for _ in range(self.chance.randrange(25)):
            await asyncio.sleep(0)
        if self.workers:
            worker = self.workers.pop(self.chance.randrange(len(self.workers)))
            await worker.kill()
            await asyncio.sleep(self.chance.choice((0.001, 0.5, 20, 70)))
            await self._start(self.chance.choice((worker.name, worker.name, "b")))

    async def double(self) -> None:
        """One more deliverer, perhaps under the name of one that only seems to be dead."""
        if len(self.workers) < 3:
            await asyncio.sleep(0.001)
            await self._start(self.chance.choice("abc"))

    async def stop(self) -> None:
        """A deliverer is stopped, and another one started."""
        if self.workers:
            await self._stop(self.chance.choice(self.workers))
        if not self.workers:
            await asyncio.sleep(self.chance.choice((0.001, 5)))
            await self._start(self.chance.choice("ab"))

    async def stall(self) -> None:
        """A deliverer hangs, perhaps for longer than its leases, and goes on as if nothing had been."""
        if self.workers:
            worker, for_s = self.chance.choice(self.workers), self.chance.choice((2, 30, 70, 150))
            self._is_simple = False
            worker.line.stalled_until_s = self.clock.monotonic_s() + for_s

    async def fail(self) -> None:
        """The store is down for a while."""

        async def restore(after_s: float) -> None:
            await asyncio.sleep(after_s)
            self.store_is_down = False

        self.store_is_down = True
        task = asyncio.create_task(restore(self.chance.choice((0.5, 3, 20))))
        self._accidents.add(task)

    async def set_clock(self) -> None:
        """The wall clock is set, by a little or by days."""
        self._set_clock(self.chance.choice((-120, -5, 5, 120, 3600, 40 * 3600, 100 * 3600)) + self.chance.random())

    def _set_clock(self, by_s: float) -> None:
        self._is_simple = False
        self._set_back_s += max(0, -by_s)
        self.clock.jump(by_s)
        self.referee.clock_was_set()

    def made_up(self, by_us: int) -> None:
        """A deliverer had nobody wait longer for a clock that was set back: once for each time that it was."""
        self._made_up_s += by_us / 1_000_000
        if self._made_up_s > self._set_back_s + 1:
            self.referee.complain(f"{self._made_up_s} s were made up for {self._set_back_s} s")
        self.referee.set_back(by_us)

    def _wake_all(self) -> None:
        for worker in self.workers:
            worker.deliverer.wake()


ACTS: Final[Sequence[tuple[Callable[[World], Awaitable[None]], int]]] = (
    (World.happen, 30),
    (World.kill, 8),
    (World.turn, 5),
    (World.retry, 4),
    (World.cancel, 4),
    (World.double, 3),
    (World.stall, 3),
    (World.set_clock, 3),
    (World.pause, 3),
    (World.resume, 3),
    (World.change, 3),
    (World.stop, 2),
    (World.fail, 2),
    (World.move, 4),
    (World.rotate, 2),
    (World.register, 1),
    (World.remove, 1),
)
"""What may happen, and how often in comparison."""


def _matching(release: Release, endpoints: Sequence[Endpoint]) -> list[tuple[int, str]]:
    """Who is owed this event, and it."""
    event = release.event
    return [
        (endpoint.key, event.id)
        for endpoint in endpoints
        if event.record.offset >= endpoint.since[0]
        and not {"*", event.type, f"{event.type.partition('.')[0]}.*"}.isdisjoint(endpoint.events)
    ]
