"""A client goes from gateway to gateway with nothing but its last token, misses nothing and gets nothing twice.

Each gateway merges the partitions in an order of its own, so a token of one is no place in the order of the other.
Rules that take it for a place are those that come to mind first; the same journeys find each of them out.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from monitor.events.position import Position
from monitor.fanout.approach import Approach
from monitor.fanout.channels import Selection, Subscription
from monitor.fanout.feed import Feed, Limits
from monitor.fanout.frames import Entry
from monitor.fanout.hub import Hub
from tests.support.chronicle import Chronicle, Pulled
from tests.support.mistakes import Mistake
from tests.support.witness import Witness, is_lifecycle

PARTITIONS, CLIENTS, MOVES = 3, 5, 1000
# The backlog reaches back far enough for most; some have to ask the journal.
LIMITS = Limits(backlog_bytes=500_000, chunk_bytes=2000)
EVERYTHING = Selection("default", frozenset({Subscription(frozenset({"executions"}))}))


class Journey(NamedTuple):
    """What became of some clients."""

    complaints: list[str]
    moves: int
    # Lifecycle events that happened, that all clients got together, and derived ones that came again with their cause.
    happened: int
    got: int
    again: int
    pages: int
    # Whether the gateways told things in different orders.
    orders_differ: bool


class Gateways:
    """Two hubs over one journal, and clients between them."""

    def __init__(self, seed: int, *, same_order: bool = False) -> None:
        self.chance = random.Random(seed)
        self.world = Chronicle(PARTITIONS)
        self.hubs = [self.world.hub(LIMITS), self.world.hub(LIMITS)]
        self.orders: list[list[Position]] = [[], []]
        self.witnesses = [Witness(self.world, EVERYTHING, LIMITS) for _ in range(CLIENTS)]
        self.same_order = same_order
        # Ends that contradict each other make derived events, which have no place of their own in any order.
        ends = () if same_order else ("execution.completed", "execution.failed")
        self.names = ("node.completed", "node.started", "execution.progress", *ends)

    async def travel(self, moves: int) -> Journey:
        """Let somebody move so often."""
        await self.world.bound()
        for witness in self.witnesses:
            witness.position = self.world.beginning
            await witness.connect(self.hubs[0], piped=False)
        moved = 0
        while moved < moves and not self.complaints:
            await self.happen()
            self.release()
            await self.hand_out()
            witness = self.chance.choice(self.witnesses)
            witness.read(self.chance.choice((None, 0, 1, 2, 5)))
            await witness.connect(self.other(witness), piped=self.chance.random() < 0.5)
            moved += 1
        await self.arrive()
        return self.summed_up(moved)

    @property
    def complaints(self) -> list[str]:
        """Of all clients."""
        return [complaint for witness in self.witnesses for complaint in witness.complaints]

    def other(self, witness: Witness) -> Hub:
        """The gateway that a client does not read from now."""
        assert witness.connection is not None
        return self.hubs[witness.connection.hub is self.hubs[0]]

    async def happen(self) -> None:
        for _ in range(self.chance.randrange(5)):
            await self.world.append(self.chance.choice(self.names), f"exec_{self.chance.randrange(12)}")

    def release(self) -> None:
        """Each gateway, or both in one order, takes some of what one partition has."""
        for _ in range(self.chance.randrange(4)):
            partition, records = self.chance.randrange(PARTITIONS), self.chance.choice((1, 3, 50))
            for at in (0, 1) if self.same_order else (self.chance.randrange(2),):
                self.world.publish(self.hubs[at], partition, records)
                self.orders[at].append(self.hubs[at].position)

    async def hand_out(self) -> None:
        for hub in self.hubs:
            await hub._flush()
        for witness in self.witnesses:
            if isinstance(witness.connection, Pulled):
                witness.connection.let(self.chance.choice((0, 1, 3)))
        for _ in range(self.chance.randrange(8)):
            await asyncio.sleep(0)

    async def arrive(self) -> None:
        """Everybody comes once more, and reads to the end."""
        for hub in self.hubs:
            self.world.publish(hub)
        for witness in self.witnesses:
            await witness.connect(self.chance.choice(self.hubs), piped=True)
        for _ in range(500):
            await asyncio.sleep(0)
        for witness in self.witnesses:
            witness.read()
            witness.look_around()
            await witness.disconnect()

    def summed_up(self, moves: int) -> Journey:
        happened = sum(map(is_lifecycle, self.world.releases.values()))
        got = sum(len(witness.got) for witness in self.witnesses)
        told = sum(count for it in self.witnesses for name, count in it.told.items() if not name.startswith("stream."))
        pages = sum(hub.statistics().tally.pages for hub in self.hubs)
        return Journey(self.complaints, moves, happened, got, told - got, pages, self.orders[0] != self.orders[1])


async def test_a_thousand_moves_miss_nothing_and_repeat_nothing() -> None:
    """Every client gets every lifecycle event once, wherever it was when."""
    journey = await Gateways(1).travel(MOVES)
    assert journey.complaints == []
    assert (journey.moves, journey.got) == (MOVES, CLIENTS * journey.happened)
    assert journey.orders_differ
    assert journey.pages > 0
    print(
        f"{journey.moves} moves of {CLIENTS} clients between 2 gateways over {PARTITIONS} partitions: "
        f"{journey.happened} events, {journey.got} received, 0 missed, 0 repeated "
        f"(and {journey.again} derived ones said again with their cause); {journey.pages} pages of the journal"
    )


Rule = Callable[[Sequence[Entry], Position], int]
"""How many entries of the backlog are left out for somebody who comes with this position."""


def first_at_or_above(entries: Sequence[Entry], position: Position) -> int:
    """All before the first entry that knows everything that the token knows, and that one if it knows no more."""
    above = ((at, entry.position) for at, entry in enumerate(entries) if entry.position.includes(position))
    return next((at + (found == position) for at, found in above), len(entries))


def last_at_or_below(entries: Sequence[Entry], position: Position) -> int:
    """Up to the last entry that knows nothing that the token does not know."""
    return sum(position.includes(entry.position) for entry in entries)


def by_the_sum(entries: Sequence[Entry], position: Position) -> int:
    """Up to where as many records were released."""
    return sum(sum(entry.position.offsets) <= sum(position.offsets) for entry in entries)


def by_one_partition(entries: Sequence[Entry], position: Position) -> int:
    """Up to where the first partition was as far."""
    return sum(entry.position.offsets[0] <= position.offsets[0] for entry in entries)


def follow(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gateways resume by this rule alone: what lies behind the place that it finds is sent, all of it."""

    def since(self: Feed, position: Position, max_entries: int) -> tuple[Sequence[Entry], bool]:
        pieces = (self.backlog.at(at) for at in range(self.backlog.first, self.backlog.next))
        entries = [entry for piece in pieces for entry in piece.entries]
        return entries[rule(entries, position) :], True

    monkeypatch.setattr(Feed, "since", since)
    Mistake(Approach._encode, "if not entry.covered_by(self.position):", "if True:").make(monkeypatch)


@pytest.mark.parametrize("rule", [first_at_or_above, last_at_or_below, by_the_sum, by_one_partition])
async def test_rules_that_take_a_token_for_a_place_are_found_out(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the same thousand moves."""
    follow(rule, monkeypatch)
    journey = await Gateways(1).travel(MOVES)
    assert journey.complaints != []
    print(f"{rule.__name__}: found out after {journey.moves} moves: {journey.complaints[0]}")


@pytest.mark.parametrize("rule", [first_at_or_above, last_at_or_below, by_the_sum])
async def test_where_all_gateways_have_one_order_a_token_is_a_place(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So these rules fail for what they get wrong, and for nothing else."""
    follow(rule, monkeypatch)
    journey = await Gateways(1, same_order=True).travel(MOVES // 4)
    assert (journey.complaints, journey.orders_differ) == ([], False)
