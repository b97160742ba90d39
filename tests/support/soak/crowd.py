"""Clients of every kind, as many as are wanted, over as many gateways as there are."""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from tests.support.soak.client import Client, Dial
from tests.support.soak.connections import Dialer
from tests.support.soak.telling import Told
from tests.support.soak.wanted import Snapshot, drawn


def crowd(ports: Sequence[int], told: Told, number: int, seed: int) -> list[Client]:
    """So many, none connected yet. Where there are several ports, each connection goes to the next one."""
    chance = random.Random(seed)
    dialers = [Dialer(port) for port in ports]
    kinds: Sequence[tuple[str, Callable[[Dialer], Dial], int]] = (
        ("websocket", lambda dialer: dialer.websocket, 38),
        ("events", lambda dialer: dialer.events, 32),
        ("lines", lambda dialer: dialer.lines, 26),
        ("websockets", lambda dialer: dialer.library_websocket, 2),
        ("httpx-sse", lambda dialer: dialer.library_events, 2),
    )
    dials = [
        (kind, [dial_of(dialer) for dialer in dialers])
        for kind, dial_of, percent in kinds
        for _ in range(number * percent // 100)
    ]
    chance.shuffle(dials)
    return [
        Client(
            f"{kind} {number}",
            _in_turn(dials_of, number),
            drawn(chance),
            _snapshot(chance),
            told=told,
            chance=random.Random(number),
        )
        for number, (kind, dials_of) in enumerate(dials)
    ]


def _in_turn(dials: Sequence[Dial], first: int) -> Dial:
    """Another gateway with each connection."""
    coming: Iterator[Dial] = cycle([*dials[first % len(dials) :], *dials[: first % len(dials)]])

    async def dial(client: Client) -> None:
        await next(coming)(client)

    return dial


def _snapshot(chance: random.Random) -> Snapshot | None:
    """Which snapshot a client asks for; None = it says nothing."""
    wishes: Sequence[Snapshot | None] = (None, "active", "recent:50", "none")
    return chance.choices(wishes, [60, 25, 5, 10])[0]
