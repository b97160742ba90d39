"""A random history of two hubs and their clients: all that can happen to a connection, each in the middle of others.

The hubs have merge orders of their own, rings and backlogs that are too small; retention cuts the journal, hubs are
restarted. Clients pull or are written to, are shown snapshots, change their selections, and are cut off at any frame.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from monitor.fanout.channels import ACTIVE, Selection, SnapshotWish, Subscription
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.projections.filter import parse_json
from tests.support.chronicle import Chronicle, Pulled
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.released import Piped
from tests.support.witness import Witness

# So small that rings overflow, backlogs forget, replay turns pages and gives up, and checkpoints are due all the time.
TIGHT = Limits(
    ring_bytes=3000, chunk_bytes=800, backlog_bytes=40_000, replay_records=60, checkpoint_records=8, heartbeat_s=3
)

KINDS = ("node", "progress", "progress", "log", "log", *["end"] * 4, "restart", "poison", "burst", "delete")
CHANNELS = ("executions", "workflow:wf_0", "workflow:wf_1", "execution:exec_1", "execution:exec_2")
PLAIN, EVERY = Subscription(frozenset({"executions"})), Subscription(frozenset({"executions"}), frozenset({"*"}))
FAILED = parse_json({"status": ["failed", "timeout"]})


def some_subscription(chance: random.Random) -> Subscription:
    """Mostly one that others have too; sometimes with everything, with logs, with some types or with a filter."""
    channels = frozenset(chance.sample(CHANNELS, chance.choice((1, 1, 2))))
    return chance.choice(
        (
            *(PLAIN, PLAIN, Subscription(frozenset({"workflow:wf_0"})), Subscription(channels)),
            *(EVERY, EVERY, Subscription(channels, frozenset({"*"}))),
            Subscription(channels, logs=True),
            Subscription(channels, frozenset({"execution.*", "node.failed"})),
            Subscription(channels, filter=FAILED),
        )
    )


def some_selection(chance: random.Random) -> Selection:
    """One subscription or two."""
    return Selection("default", frozenset(some_subscription(chance) for _ in range(chance.choice((1, 1, 2)))))


def some_wish(chance: random.Random) -> SnapshotWish | None:
    """What to show."""
    return chance.choice((None, ACTIVE, ACTIVE, ACTIVE, SnapshotWish("recent", 5)))


class Story:
    """A history, and everybody in it."""

    def __init__(self, seed: int, partitions: int, clients: int = 8) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock(NOON_US)
        self.world = Chronicle(partitions, self.clock)
        self.partitions = partitions
        self.hubs = [self.world.hub(TIGHT), self.world.hub(TIGHT)]
        self.shared = some_selection(self.chance)
        # Most want the same: they share groups and snapshots.
        selections = [self.shared] * (clients - 1) + [some_selection(self.chance)]
        self.witnesses = [Witness(self.world, selection, TIGHT) for selection in selections]
        self.tally: Counter[str] = Counter()
        self._flushing: dict[Hub, asyncio.Task[None]] = {}

    @property
    def complaints(self) -> list[str]:
        """Of all of them."""
        return [complaint for witness in self.witnesses for complaint in witness.complaints]

    # --- one step ----------------------------------------------------------------------------------------------------

    async def live(self, steps: int) -> None:
        """Live through it, and look around in the end; at the first complaint it is over."""
        await self.world.bound()
        for _ in range(steps):
            await self.step()
            if self.complaints:
                break
        else:
            await self.end()
        for witness in self.witnesses:
            await witness.disconnect()
        for hub in list(self.hubs):
            self.retire(hub)
        await asyncio.gather(*self._flushing.values())

    async def step(self) -> None:
        """Something, somewhere; then others have a few turns, so that things happen in the middle of each other."""
        chance = self.chance
        [action] = chance.choices(list(ACTIONS), list(ACTIONS.values()))
        await action(self)
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)

    async def happen(self) -> None:
        chance, world = self.chance, self.world
        number = chance.randrange(10)
        execution_id, workflow_id = f"exec_{number}", f"wf_{number % 3}"
        if execution_id not in world.now:
            await world.append(
                "execution.started", execution_id, data={}, epoch=chance.randrange(2), workflow_id=workflow_id
            )
            return
        kind = chance.choice(KINDS)
        match kind:
            case "progress":
                name = chance.choice(("execution.progress", "execution.heartbeat"))
                await world.append(
                    name, execution_id, data={"completed": chance.randrange(9), "total": 9}, workflow_id=workflow_id
                )
            case "log":
                for _ in range(chance.choice((1, 3))):
                    await world.log(execution_id, lines=chance.choice((1, 4)), workflow_id=workflow_id)
            case "end":
                # Two that contradict each other: a derived event goes ahead of the second one.
                name = chance.choice(("execution.completed", "execution.failed"))
                await world.append(name, execution_id, data={}, workflow_id=workflow_id)
            case "restart":
                await world.append(
                    "execution.started", execution_id, data={}, epoch=chance.randrange(9), workflow_id=workflow_id
                )
            case "poison":
                await world.append_poison(execution_id)
            case "burst":
                for _ in range(chance.choice((3, 12))):
                    await world.append("node.completed", execution_id, workflow_id=workflow_id)
            case "delete" if chance.random() < 0.1:
                await world.append("execution.deleted", execution_id, data={}, workflow_id=workflow_id)
            case _:
                await world.append("node.completed", execution_id, workflow_id=workflow_id)

    async def publish(self) -> None:
        chance = self.chance
        self.world.publish(chance.choice(self.hubs), chance.randrange(self.partitions), chance.choice((1, 2, 5, 40)))

    async def flush(self, hub: Hub | None = None) -> None:
        hub = hub or self.chance.choice(self.hubs)
        if hub not in self._flushing or self._flushing[hub].done():
            self._flushing[hub] = asyncio.create_task(hub._flush())

    async def connect(self) -> None:
        """To the one hub mostly, so that it has many; sometimes to the other."""
        chance = self.chance
        # Mostly somebody who has no connection.
        alone = [witness for witness in self.witnesses if witness.connection is None]
        witness = chance.choice(alone if alone and chance.random() < 0.8 else self.witnesses)
        await witness.connect(
            self.hubs[chance.random() < 0.2],
            piped=chance.random() < 0.7,
            snapshot=some_wish(chance),
            on_loss=chance.choice((None, ACTIVE, ACTIVE, SnapshotWish("recent", 4))),
        )

    async def read(self) -> None:
        """Mostly all there is; sometimes the connection breaks off behind some frame."""
        chance = self.chance
        witness = chance.choice(self.witnesses)
        if isinstance(witness.connection, Pulled):
            witness.connection.let(chance.choice((1, 1, 5)))
        if chance.random() < 0.85:
            witness.read()
        else:
            witness.read(chance.randrange(4))
            await witness.disconnect()

    async def fill(self) -> None:
        """A socket takes a little or nothing for a while, or everything again."""
        witness = self.chance.choice(self.witnesses)
        if isinstance(witness.connection, Piped):
            outlet = witness.connection.outlet
            self.chance.choice((outlet.shut, partial(outlet.shut, self.chance.randrange(1000)), outlet.open))()

    async def change(self) -> None:
        """Somebody selects anew."""
        self._change(self.chance.choice(self.witnesses))

    async def turn_over(self) -> None:
        """Many select anew while something is handed out."""
        hub = self.hubs[0]
        await self.world.append("node.completed", "exec_0", workflow_id="wf_0")
        self.world.publish(hub)
        await self.flush(hub)
        await asyncio.sleep(0)
        for witness in self.witnesses:
            if self.chance.random() < 0.7:
                self._change(witness)

    def _change(self, witness: Witness) -> None:
        """Add a subscription, take one away, or want what others want."""
        chance = self.chance
        if witness.connection is None:
            return
        had = witness.asked.subscriptions
        kind = chance.random()
        if kind < 0.3 and len(had) > 1:
            wanted = had - {chance.choice(sorted(had, key=repr))}
        elif kind < 0.5:
            wanted = had | {some_subscription(chance)}
        else:
            wanted = chance.choice((had | {PLAIN}, frozenset({PLAIN}), self.shared.subscriptions))
        witness.change(Selection("default", wanted), some_wish(chance))

    async def ping(self) -> None:
        """Whoever is parked is woken, and parks again."""
        witness = self.chance.choice(self.witnesses)
        if witness.connection is not None:
            witness.connection.attachment.say("stream.pong", {})

    async def beat(self) -> None:
        hub = self.chance.choice(self.hubs)
        hub._beat()

    async def pass_by(self) -> None:
        """Snapshots that were read before are shared no longer."""
        await self.clock.advance(0.4)

    async def trim(self) -> None:
        """Retention cuts the journal, now and then down to its end."""
        partition = self.chance.randrange(self.partitions)
        end = self.world.end.offsets[partition]
        await self.world.trim(partition, max(0, end - self.chance.choice((0, 10, 40))))

    async def restart(self) -> None:
        """A hub goes away, with a word or without one; another one stands where the store does."""
        chance = self.chance
        at = chance.randrange(2)
        hub = self.hubs[at]
        leaving = [it for it in self.witnesses if it.connection is not None and it.connection.hub is hub]
        if chance.random() < 0.5:
            draining = asyncio.create_task(hub.drain(0))
            await self.clock.advance(1.0)
            for witness in leaving:
                witness.read(chance.choice((None, None, 2)))
            await draining
        for witness in leaving:
            await witness.disconnect()
        self.retire(hub)
        self.hubs[at] = self.world.hub(TIGHT, start=self.world.end)
        await self.hubs[at].refill()

    async def rest(self) -> None:
        """Everybody reads all that there is, and has then been told where it stands, more or less."""
        await self.flush_all()
        for hub in self.hubs:
            hub._beat()
        for _ in range(3):
            await self.flush_all()
            for witness in self.witnesses:
                if isinstance(witness.connection, Pulled):
                    witness.connection.let(50)
                elif witness.connection is not None:
                    witness.connection.outlet.open()
            await settle()
        for witness in self.witnesses:
            witness.read()
            connection = witness.connection
            if connection is not None and connection.attachment.state == "live" and witness.position is not None:
                untold = sum(connection.hub.position.offsets) - sum(witness.position.offsets)
                if untold > TIGHT.checkpoint_records:
                    witness.complaints.append(f"was not told of {untold} records")

    async def flush_all(self) -> None:
        for hub in self.hubs:
            if hub in self._flushing:
                await self._flushing[hub]
            await hub._flush()

    async def end(self) -> None:
        """Everything is released, everybody comes back once more and reads to the end."""
        for hub in self.hubs:
            self.world.publish(hub)
        for witness in self.witnesses:
            await witness.connect(self.chance.choice(self.hubs), piped=False, snapshot=ACTIVE, on_loss=ACTIVE)
            assert isinstance(witness.connection, Pulled)
            witness.connection.let(10_000)
        for _ in range(4):
            await self.flush_all()
            await settle()
        for witness in self.witnesses:
            witness.read()
            witness.look_around()
            self.tally.update(witness.told)

    def retire(self, hub: Hub) -> None:
        """Keep what it did."""
        tally = hub.statistics().tally
        for name in ("pages", "fallen", "merged", "omitted_lines", "slow", "snapshots", "gaps", "resumed", "replayed"):
            self.tally[name] += getattr(tally, name)


ACTIONS: Final[Mapping[Callable[[Story], Awaitable[None]], float]] = {
    Story.happen: 30,
    Story.publish: 25,
    Story.flush: 25,
    Story.read: 15,
    Story.connect: 10,
    Story.change: 3,
    Story.turn_over: 2,
    Story.fill: 4,
    Story.ping: 3,
    Story.beat: 2,
    Story.pass_by: 2,
    Story.rest: 2,
    Story.trim: 1,
    Story.restart: 1,
}
"""What happens, and how often."""
