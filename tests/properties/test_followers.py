"""What gateways tell is what the projector's own hub would have: each release once, in order, never before its commit.

A projector folds, two gateways follow it, and clients go from one to the other with nothing but their last token, while
bytes come late, stores and brokers are away, hints are lost, retention cuts, partitions halt and followers die.
Mistakes that are easy to make are found out by the same stories.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import pytest

from monitor import follower as following
from monitor.fanout.channels import Selection, Subscription
from monitor.fanout.feed import Limits
from monitor.fanout.joining import is_doubtful, joined
from monitor.fanout.window import Window
from monitor.follower import Follower, _Telling
from tests.support.chronicle import Pulled
from tests.support.cluster import Cluster, Gateway
from tests.support.mistakes import Mistake
from tests.support.witness import Witness

STEPS, CLIENTS = 250, 3
LIMITS = Limits(backlog_bytes=500_000, chunk_bytes=2000)
EVERYTHING = Selection("default", frozenset({Subscription(frozenset({"executions"}))}))
NAMES = ("node.completed", "node.started", "execution.progress", "execution.completed", "execution.failed")


@pytest.fixture(autouse=True)
def _small_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have their turn after some releases, and nobody waits for bytes."""
    monkeypatch.setattr("monitor.follower.TOLD_AT_ONCE", 5)
    monkeypatch.setattr("monitor.follower.BYTES_WAIT_S", 0)


class Course:
    """A random history of a cluster."""

    def __init__(self, seed: int, partitions: int) -> None:
        self.chance = random.Random(seed)
        self.partitions = partitions
        self.world = Cluster(partitions)
        self.gateways = [Gateway(self.world, LIMITS, self.chance) for _ in range(2)]
        self.witnesses = [Witness(self.world, EVERYTHING, LIMITS) for _ in range(CLIENTS)]
        self.tally: Counter[str] = Counter()

    @property
    def complaints(self) -> list[str]:
        """Of gateways and clients."""
        gateways = [it for gateway in self.gateways for it in (*gateway.complaints, *gateway.auditor.complaints)]
        return gateways + [it for witness in self.witnesses for it in witness.complaints]

    async def run(self, steps: int) -> None:
        """Let it happen, and let everybody arrive; at the first complaint it is over."""
        await self.world.begin()
        for gateway in self.gateways:
            await gateway.follow()
        for witness in self.witnesses:
            witness.position = self.world.beginning
            await self.meet(witness)
        for _ in range(steps):
            [(action, _)] = self.chance.choices(list(ACTIONS.items()), list(ACTIONS.values()))
            await action(self)
            if self.complaints:
                break
        else:
            await self.arrive()
        for witness in self.witnesses:
            await witness.disconnect()
        for gateway in self.gateways:
            self.tally["cuts"] += gateway.auditor.cuts
            self.tally["told"] += gateway.auditor.told

    async def arrive(self) -> None:
        """One partition stands still with more than anybody reads ahead, and holds up no other; then all is well."""
        if self.partitions > 1 and not self.world.halted:
            await self.halt()
        for number in range(100):
            await self.world.append(execution_id=f"exec_{number}")
        for _ in range(20):
            await self.world.fold(50)
        for gateway in self.gateways:
            await gateway.arrive()
        await self.resume()
        while (ends := await self.world.journal.bounds()) and any(
            ends[at].end > folded for at, folded in enumerate(self.world.end.offsets)
        ):
            await self.world.fold(50)
        for gateway in self.gateways:
            await gateway.arrive()
        for witness in self.witnesses:
            await self.meet(witness)
        for _ in range(300):
            await self.flush()
            await asyncio.sleep(0)
        for witness in self.witnesses:
            witness.read()
            witness.look_around()
            self.tally.update(witness.told)

    # --- what may happen ---------------------------------------------------------------------------------------------

    async def happen(self) -> None:
        for _ in range(self.chance.choice((1, 3, 12))):
            await self.world.append(self.chance.choice(NAMES), f"exec_{self.chance.randrange(8)}")

    async def go_wrong(self) -> None:
        """Bytes that hold no event, or one that is there already: nothing is released of either."""
        if self.chance.random() < 0.5 or not self.world.entries:
            await self.world.append_poison(f"exec_{self.chance.randrange(8)}")
        else:
            await self.world.journal.append([self.chance.choice(self.world.entries)] * self.chance.choice((1, 4)))

    async def fold(self) -> None:
        await self.world.fold(self.chance.choice((1, 2, 5, 30)))

    async def look(self) -> None:
        """A hint came, or the time."""
        await self.chance.choice(self.gateways).step()

    async def show(self) -> None:
        """Bytes arrive at a gateway."""
        gateway = self.chance.choice(self.gateways)
        partitions = self.chance.sample(range(self.partitions), self.chance.randint(1, self.partitions))
        gateway.show(partitions, self.chance.choice((1, 4, None, None)))

    async def fail(self) -> None:
        """Brokers or database are away, or back again."""
        gateway = self.chance.choice(self.gateways)
        if self.chance.random() < 0.5:
            gateway.store.is_down = not gateway.store.is_down
        else:
            gateway.journal.is_down = not gateway.journal.is_down

    async def die(self) -> None:
        """A follower ends, in the middle of a step or between two, and another one goes on; or its whole process."""
        at = self.chance.randrange(2)
        gateway = self.gateways[at]
        stepping = asyncio.create_task(gateway.step())
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)
        if self.chance.random() < 0.7:
            await gateway.follow()
            return
        for witness in self.witnesses:
            if witness.connection is not None and witness.connection.hub is gateway.hub:
                await witness.disconnect()
        await gateway.restart()

    async def trim(self) -> None:
        """Retention takes records, of whatever state."""
        partition = self.chance.randrange(self.partitions)
        held = (await self.world.journal.bounds())[partition]
        await self.world.trim(partition, self.chance.randint(held.start, held.end))
        if self.chance.random() < 0.7:
            await self.fold()
        if self.chance.random() < 0.7:
            await self.world.forget()

    async def halt(self) -> None:
        """A partition stands still though others go on: the projector leaves it out until it is let go on."""
        if not self.world.halted:
            self.world.halted = {self.chance.randrange(self.partitions)}
        else:
            self.world.halted = set()
        self.world.projector.reload()

    async def resume(self) -> None:
        self.world.halted = set()
        self.world.projector.reload()

    async def flush(self) -> None:
        for gateway in self.gateways:
            await gateway.hub._flush()
        for witness in self.witnesses:
            if isinstance(witness.connection, Pulled):
                witness.connection.let(self.chance.choice((0, 1, 3)))
        for _ in range(self.chance.randrange(8)):
            await asyncio.sleep(0)

    async def move(self) -> None:
        """A client goes to some gateway, behind any of the frames that it got."""
        witness = self.chance.choice(self.witnesses)
        witness.read(self.chance.choice((None, 0, 1, 2, 5)))
        await self.meet(witness)

    async def meet(self, witness: Witness) -> None:
        await witness.connect(self.chance.choice(self.gateways).hub, piped=self.chance.random() < 0.5)


ACTIONS: Final[Mapping[Callable[[Course], Awaitable[None]], int]] = {
    Course.happen: 30,
    Course.go_wrong: 8,
    Course.fold: 30,
    Course.look: 60,
    Course.show: 40,
    Course.flush: 20,
    Course.move: 12,
    Course.fail: 6,
    Course.die: 4,
    Course.trim: 2,
    Course.halt: 3,
}


async def ran(seed: int, partitions: int) -> Course:
    """A course that is over."""
    course = Course(seed, partitions)
    await course.run(STEPS)
    return course


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("part", range(3))
async def test_gateways_tell_what_the_projector_would(part: int, partitions: int, long_form: bool) -> None:
    """Ten courses a part; two hundred in the long form."""
    courses = 200 if long_form else 10
    for seed in range(part * courses, (part + 1) * courses):
        assert (seed, (await ran(seed, partitions)).complaints) == (seed, [])


async def test_the_courses_take_every_path() -> None:
    """Whatever can happen to a gateway is part of them."""
    courses = [await ran(seed, 3) for seed in range(20)]
    for what in ("cuts", "told", "stream.gap", "execution.conflict", "node.completed"):
        assert (what, sum(course.tally[what] for course in courses) > 0) == (what, True)


MISTAKES = {
    "told before its commit": Mistake(following._look, "ends = map(min, here, folded.offsets)", "ends = here"),
    "derived events left out": Mistake(
        joined, "for row in stored[event.record.offset]]", "for row in stored[event.record.offset] if not row.derived]"
    ),
    "a partition passed whose bytes are not here": Mistake(
        following._look, "ends = map(min, here, folded.offsets)", "ends = folded.offsets"
    ),
    "a cut forgotten that the store passed": Mistake(Follower._tell, "if not batch.releases:", "if False:"),
    "a cut forgotten that the journal reports": Mistake(
        Follower._pass_cuts,
        "self._tell_cut(_Telling(self._hub), partition, passed)",
        "self._hub.publish([], self._hub.position.advanced(partition, passed))",
    ),
    "a cut told before the store has passed it": Mistake(
        Follower._pass_cuts, "min(first, folded.offsets[partition])", "first"
    ),
    "releases forgotten by the janitor": Mistake(
        is_doubtful, "not batches or batches[0].first > stretch.start", "False"
    ),
    "a cut that nobody reads on behind": Mistake(Follower._pass_cuts, "self._is_astray |= passed == first", "pass"),
    "records dropped that were not told": Mistake(
        Follower._tell, "self._window.take(partition, stretch.end)", "self._window.take(partition, 1 << 60)"
    ),
    "reading on from the store's place": Mistake(
        Follower._here,
        "max(self._window.end(partition), self._hub.position.offsets[partition])",
        "max(self._window.end(partition), (self._latest or self._hub.position).offsets[partition])",
    ),
    "a partition that stands still takes all the room": Mistake(
        Follower._note, "elif self._lacks_bytes and not self._window.room:", "elif False:"
    ),
    "a partition left out for good": Mistake(Follower._note, "if behind & self._left_out:", "if False:"),
    "a dropped window whose end is still known": Mistake(Window.drop_largest, "del self._ends[partition]", "pass"),
    "the end of a hand-over not told": Mistake(_Telling.finish, "if self._releases or", "if self._releases and"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_mistakes_are_found_out(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one course or another, over one partition or three."""
    MISTAKES[mistake].make(monkeypatch)
    for seed in range(100):
        if (await ran(seed, partitions=1 + 2 * (seed % 2))).complaints:
            return
    pytest.fail("every course went well")
