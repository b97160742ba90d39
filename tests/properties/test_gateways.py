"""Clients that move between two gateways, each with a merge order of its own, miss nothing and get nothing twice."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from monitor.access.positions import open_position
from monitor.events.position import Position
from monitor.fanout.approach import Approach
from monitor.fanout.channels import Selection, Subscription
from monitor.fanout.feed import Feed, Limits
from monitor.fanout.frames import Entry
from monitor.fanout.hub import Hub
from monitor.fanout.slices import Slice
from monitor.fanout.wires import WEBSOCKET
from tests.support.clocks import settle
from tests.support.released import SEALER, World, subscribed

SELECTION = Selection("default", frozenset({Subscription(frozenset({"executions"}))}))
# Small chunks, so that a client is cut off in the middle of what it was to get.
LIMITS = Limits(chunk_bytes=1500)
CLIENTS, MOVES = 10, 100


class Traveller:
    """Reads a little here and a little there; keeps what it saw and the position of the last frame."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self.seen: Counter[str] = Counter()
        self.told: list[str] = []

    async def visit(self, hub: Hub, messages: int) -> None:
        """Come with the position, read up to so many messages, and break off."""
        attachment = subscribed(hub, SELECTION, WEBSOCKET, self.position)
        while messages > 0:
            reading = asyncio.create_task(attachment.next())
            await settle()
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                break
            chunk = reading.result()
            assert chunk is not None
            for message in chunk.messages[:messages]:
                self._take(json.loads(message))
            messages -= len(chunk.messages)
        attachment.leave()

    def _take(self, frame: dict[str, str]) -> None:
        self.position = open_position(SEALER, frame["position"])
        if "id" in frame:
            self.seen[frame["id"]] += 1
        elif frame["type"] != "stream.checkpoint":
            self.told.append(frame["type"])


async def travel(seed: int) -> tuple[int, list[str]]:
    """Let every client move `MOVES` times while things happen; returns the number of events, and all complaints."""
    chance = random.Random(seed)
    world = World(partitions=3)
    gateways = [world.hub(LIMITS), world.hub(LIMITS)]
    travellers = [Traveller(world.beginning) for _ in range(CLIENTS)]
    happened: list[str] = []
    for _ in range(MOVES):
        happened += [
            await world.append(execution_id=f"exec_{chance.randrange(30)}") for _ in range(chance.randrange(8))
        ]
        for gateway in gateways:  # each goes on in the partitions that it happens to hear of
            for partition in chance.sample(range(3), chance.randrange(4)):
                world.publish(gateway, partition, chance.randrange(1, 6))
        for traveller in travellers:
            await traveller.visit(chance.choice(gateways), chance.randrange(8))
    world.publish(gateways[0])
    for traveller in travellers:
        await traveller.visit(gateways[0], 10 * len(happened))
    wrong = [
        f"{id_} came {traveller.seen[id_]} times"
        for traveller in travellers
        for id_ in happened
        if traveller.seen[id_] != 1
    ]
    return len(happened), wrong + [f"told {name}" for traveller in travellers for name in traveller.told]


async def test_a_thousand_moves_miss_nothing_and_repeat_nothing() -> None:
    """One journal of three partitions, two merge orders; the clients' positions are all that they have."""
    events, wrong = await travel(1)
    print(f"{CLIENTS} clients, {CLIENTS * MOVES} moves, {events} events: {CLIENTS * events} came once each")
    assert wrong == []


def entries_of(feed: Feed) -> list[Entry]:
    """Everything that a gateway has released, in its order."""
    backlog = feed.backlog
    return [entry for at in range(backlog.first, backlog.next) for entry in backlog.at(at).entries]


def first_at_or_above(feed: Feed, position: Position, _max_entries: int) -> tuple[list[Entry], bool]:
    """As if the token were a place in this gateway's order: go on at the first entry that is not below it."""
    entries = entries_of(feed)
    start = next((at for at, entry in enumerate(entries) if entry.position.includes(position)), len(entries))
    return entries[start:], True


def last_at_or_below(feed: Feed, position: Position, _max_entries: int) -> tuple[list[Entry], bool]:
    """The same, from behind: go on behind the last entry that is not above it."""
    entries = entries_of(feed)
    below = [at for at, entry in enumerate(entries) if position.includes(entry.position)]
    return entries[below[-1] + 1 if below else 0 :], True


def by_the_sum(feed: Feed, position: Position, _max_entries: int) -> tuple[list[Entry], bool]:
    """As if a token were a number."""
    return [entry for entry in entries_of(feed) if sum(entry.position.offsets) > sum(position.offsets)], True


def by_one_partition(feed: Feed, position: Position, _max_entries: int) -> tuple[list[Entry], bool]:
    """As if the first partition told for all."""
    return [entry for entry in entries_of(feed) if entry.position.offsets[0] >= position.offsets[0]], True


def dropping_nothing(approach: Approach, entries: Sequence[Entry], _max_entries: int) -> tuple[list[bytes], int]:
    """Without a look at what the client has already."""
    slice_ = Slice()
    for entry in entries:
        approach.position = approach.told = approach.position.merged(entry.position)
        slice_.add(entry, WEBSOCKET, approach._token_behind(entry))
    return slice_.frames(WEBSOCKET), len(entries)


@pytest.mark.parametrize("rule", [first_at_or_above, last_at_or_below, by_the_sum, by_one_partition])
async def test_naive_rules_are_caught(
    rule: Callable[[Feed, Position, int], tuple[list[Entry], bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A position is a set of records, not a place in somebody's order."""
    monkeypatch.setattr(Feed, "since", rule)
    if rule is last_at_or_below:
        monkeypatch.setattr(Approach, "_encode", dropping_nothing)
    _, wrong = await travel(1)
    assert wrong != []
