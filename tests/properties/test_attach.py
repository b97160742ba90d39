"""Whoever comes back with its last position, to whatever hub, misses nothing and sees nothing twice."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from monitor.access.positions import open_position
from monitor.events.codec import derived_id
from monitor.events.position import Position
from monitor.events.types import DERIVED
from monitor.fanout.approach import Approach
from monitor.fanout.attachment import Attachment
from monitor.fanout.channels import Selection, Subscription
from monitor.fanout.feed import Limits
from monitor.fanout.frames import Frame
from monitor.fanout.hub import Hub
from monitor.fanout.wires import WEBSOCKET
from monitor.projections.fold import Release
from tests.support.clocks import settle
from tests.support.released import SEALER, World, subscribed

SELECTION = Selection("default", frozenset({Subscription(frozenset({"executions"}))}))
# So small that rings overflow, backlogs forget and replay has pages to turn.
TIGHT = Limits(ring_bytes=3000, chunk_bytes=1000, backlog_bytes=40_000)


class Client:
    """Reads as far as its connection lives; keeps every event and the position of the last frame it saw."""

    def __init__(self, position: Position) -> None:
        self.seen: list[str] = []
        self.complaints: list[str] = []
        self._position = position
        self._attachment: Attachment | None = None

    def connect(self, hub: Hub) -> None:
        """Break off whatever there is and come back, here."""
        self.disconnect()
        self._attachment = subscribed(hub, SELECTION, WEBSOCKET, self._position)

    def disconnect(self) -> None:
        """Break off."""
        if self._attachment is not None:
            self._attachment.leave()
        self._attachment = None

    async def read(self, hub: Hub, cut_after: int | None = None) -> bool:
        """Read what there is now; break off after `cut_after` messages. Whether there was anything."""
        assert self._attachment is not None
        await hub._flush()
        reading = asyncio.create_task(self._attachment.next())
        await settle()
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return False
        chunk = reading.result()
        assert chunk is not None
        for message in chunk.messages[:cut_after]:
            self._take(json.loads(message))
        if cut_after is not None and cut_after < len(chunk.messages):
            self.disconnect()
        return True

    @property
    def connected(self) -> bool:
        """Whether it can read."""
        return self._attachment is not None

    def _take(self, frame: dict[str, Any]) -> None:
        if "position" in frame:
            self._position = open_position(SEALER, frame["position"])
        if frame["type"] in ("stream.checkpoint", "stream.slow"):
            return
        if frame["type"].startswith("stream."):
            self.complaints.append(f"told {frame['type']} {frame.get('reason')}")
            return
        # A derived event comes again with its cause, as long as that one was not seen.
        record = frame["data"].get("cause", frame["id"])
        if frame["id"] in self.seen and record in self.seen:
            self.complaints.append(f"{frame['id']} came twice")
        self.seen.append(frame["id"])


class Story(NamedTuple):
    """What a client has to complain about, and what the hubs did for it."""

    complaints: list[str]
    pages: int
    fallen: int


async def live_through(seed: int, partitions: int, steps: int = 150) -> Story:
    """A random history with two hubs and many connections of one client."""
    chance = random.Random(seed)
    world = World(partitions)
    hubs = [world.hub(TIGHT), world.hub(TIGHT)]
    client = Client(world.beginning)
    expected: list[str] = []
    hub = hubs[0]
    for _ in range(steps):
        action = chance.random()
        if action < 0.45:
            expected += await something(chance, world)
        elif action < 0.7:
            world.publish(chance.choice(hubs), chance.randrange(partitions), chance.choice((1, 2, 5, 40)))
        elif action < 0.78 or not client.connected:
            hub = chance.choice(hubs)
            client.connect(hub)
        else:
            await client.read(hub, chance.choice((None, 0, 1, 2, 3)))
    for last in hubs:
        world.publish(last)
    client.connect(hub)
    while not client.complaints and await client.read(hub):
        pass
    client.disconnect()
    missing = [f"{id_} never came" for id_ in expected if id_ not in client.seen]
    tallies = [last.statistics().tally for last in hubs]
    return Story(
        client.complaints + missing,
        sum(tally.pages for tally in tallies),
        sum(tally.fallen for tally in tallies),
    )


async def something(chance: random.Random, world: World) -> list[str]:
    """Let something happen in the world; returns the ids of what lifecycle subscribers get."""
    execution_id = f"exec_{chance.randrange(12)}"
    kind = chance.choice(("execution.started", "node.completed", "execution.progress", "end", "poison", "burst"))
    if kind == "poison":
        await world.append_poison(execution_id)
        return []
    if kind == "execution.progress":
        await world.append(kind, execution_id, data={"completed": 1, "total": 2})
        return []
    if kind == "burst":
        return [await world.append(execution_id=execution_id) for _ in range(8)]
    if kind == "end":
        # Two ends contradict each other: a derived event goes ahead of the second one.
        fresh = f"{execution_id}_{chance.random()}"
        first = await world.append("execution.completed", fresh)
        second = await world.append("execution.failed", fresh)
        return [first, derived_id("execution.conflict", second.encode()), second]
    return [await world.append(kind, execution_id)]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("seed", range(25))
async def test_nothing_is_missed_and_nothing_comes_twice(seed: int, partitions: int) -> None:
    """Two hubs with merge orders of their own, connections cut at any message, rings and backlogs too small."""
    assert (await live_through(seed, partitions)).complaints == []


async def test_the_histories_take_every_path() -> None:
    """Replay from the journal and readers that fall off their ring are part of the stories above."""
    stories = [await live_through(seed, 3) for seed in range(10)]
    assert sum(story.pages for story in stories) > 0
    assert sum(story.fallen for story in stories) > 0


def token_one_too_high(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame claims the record after its own."""
    shift_tokens(monkeypatch, 1)


def token_one_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame's token does not cover its own record."""
    shift_tokens(monkeypatch, -1)


def shift_tokens(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    """Let every frame stand `by` records off in its partition."""
    made = Frame.__init__

    def init(self: Frame, release: Release, position: Position) -> None:
        offsets = list(position.offsets)
        offsets[release.event.record.partition] += by
        made(self, release, Position(position.incarnation, tuple(offsets)))

    monkeypatch.setattr(Frame, "__init__", init)


def tokens_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that came from elsewhere is told the hub's own position."""
    monkeypatch.setattr(Approach, "_token_behind", lambda self, entry: entry.token(self._feed.seal))


def covered_by_one_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are shared as soon as the hub is ahead in any partition."""
    monkeypatch.setattr(Position, "includes", lambda self, other: any(map(int.__ge__, self.offsets, other.offsets)))


def derived_claims_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A derived event covers the record that it shares with its cause."""

    def claiming(releases: Sequence[Release], position: Position) -> Iterator[Frame]:
        for release in releases:
            record = release.event.record
            if not position.covers(record.partition, record.offset) or release.event.type not in DERIVED:
                position = position.advanced(record.partition, record.offset + 1)
                yield Frame(release, position)

    monkeypatch.setattr("monitor.fanout.approach.frames_of", claiming)
    monkeypatch.setattr("monitor.fanout.frames.frames_of", claiming)


@pytest.mark.parametrize(
    "mutant",
    [token_one_too_high, token_one_too_low, tokens_not_merged, covered_by_one_partition, derived_claims_its_cause],
)
async def test_wrong_arithmetic_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model finds each of the mistakes that are easy to make."""
    mutant(monkeypatch)
    for seed in range(25):
        if (await live_through(seed, 3)).complaints:
            return
    pytest.fail("every history went well")
