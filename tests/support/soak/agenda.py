"""Who misbehaves when: a plan of everything that clients are told to do, made beforehand from the seed.

Its times are numbers of told events, so that it means the same on any machine.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from tests.support.soak.client import Client
from tests.support.soak.telling import HOT

SHORT_STALL: Final = (20, 600)
LONG_STALL: Final = (4000, 9000)
"""What readers of the busy workflow miss meanwhile is more than sockets and rings hold."""

ABSENCE: Final = (50, 4000)

_SHARES: Final = {"cut": 34, "stall": 18, "long stall": 10, "absence": 10, "change": 20, "add": 5, "forge": 3}


class Act(NamedTuple):
    """Something that is due once so many events are told."""

    due: int
    order: int
    name: str
    do: Callable[[], None]


class Agenda:
    """All acts, soonest first."""

    def __init__(self, acts: Iterable[Act]) -> None:
        self._acts = sorted(acts, key=lambda act: (act.due, act.order), reverse=True)
        self.counts: Counter[str] = Counter()

    def perform(self, told: int | None = None) -> None:
        """Do what is due; with None all the rest."""
        while self._acts and (told is None or self._acts[-1].due <= told):
            act = self._acts.pop()
            self.counts[act.name] += 1
            act.do()


def misbehaviour(clients: Iterable[Client], events: int, density: int, chance: random.Random) -> Iterator[Act]:
    """`density` to three times as many acts for each client; none begins or ends in the last part of `events`."""
    last = events * 9 // 10
    for order, client in enumerate(clients):
        if HOT in client.wanted.workflows:
            # After the first restart, which would have to wait for them for seconds.
            names, first = ["long stall"] * density, events // 2
        else:
            names = chance.choices(list(_SHARES), list(_SHARES.values()), k=density * chance.randint(1, 3))
            first = events // 50
        for name in names:
            begin = chance.randint(first, last)
            for act in _acts(client, name, begin, order, chance):
                yield act._replace(due=min(act.due, last))


def _acts(client: Client, name: str, begin: int, order: int, chance: random.Random) -> Iterator[Act]:
    match name:
        case "cut":
            yield Act(begin, order, name, client.cut)
        case "stall" | "long stall":
            yield Act(begin, order, name, client.stall)
            yield Act(
                begin + chance.randint(*(SHORT_STALL if name == "stall" else LONG_STALL)), order, "", client.read_on
            )
        case "absence":
            yield Act(begin, order, name, client.go_away)
            yield Act(begin + chance.randint(*ABSENCE), order, "", client.connect)
        case "change":
            yield Act(begin, order, name, client.change)
        case "add":
            yield Act(begin, order, name, client.add)
            yield Act(begin + chance.randint(*ABSENCE), order, "", client.drop)
        case "forge":
            yield Act(begin, order, name, client.forge)
