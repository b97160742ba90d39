"""Webhooks with trouble: an endpoint that hangs, one that is dead with a great backlog; and very many endpoints."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.perf._webhooks_load import Load, Seen
from tests.perf._webhooks_senders import Party, Scene, Wish, register, resident_mb, scene
from tests.support.service import Service

ENDPOINTS: Final = 100
PER_S: Final = 500
"""Events, each for one endpoint: every other one for the one that hangs."""

_WARM_UP_S: Final = 1.0
_NEW_ENDPOINTS: Final = 5
_ONE_EVENT: Final = (1000, 0.001)
_CLOSED_S: Final = 6.0
"""By then idle connections are closed."""

_DRAINED_WITHIN_S: Final = 300.0


class Pair(NamedTuple):
    """The same run with and without a hanging endpoint, as the others saw it."""

    hanging: Seen
    without: Seen

    @property
    def p99_times(self) -> float:
        """How much longer the others waited."""
        return self.hanging.p99_us / self.without.p99_us


def hanging(program: Path, start: Callable[[Scene], Party], seconds: float, *, patience_s: float | None = None) -> Pair:
    """Both runs; each with a service of its own, so that neither leaves anything to the other.

    With `patience_s`, the service may owe something when it is over.
    """
    return Pair(*(_run(program, start, seconds, patience_s, hangs=hangs) for hangs in (True, False)))


def _run(
    program: Path, start: Callable[[Scene], Party], seconds: float, patience_s: float | None, *, hangs: bool
) -> Seen:
    with scene(program) as here:
        sender, load = start(here)
        load.endpoints(ENDPOINTS, "half")
        register(sender, _own_workflows(load, range(ENDPOINTS)))
        load.rate(PER_S, _WARM_UP_S)
        if hangs:
            load.hang()
        if patience_s is None:
            seen = load.rate(PER_S, seconds)
            load.rest()
        else:
            load.patience(patience_s)
            seen = load.rate_in_part(PER_S, seconds)
        return seen


def first_beside_backlog_s(ours: Party, owed: int) -> list[float]:
    """Seconds from asking for a new endpoint to its first delivery, each time.

    Somewhere else, nobody listens, and `owed` deliveries are due there.
    """
    sender, load = ours
    assert isinstance(sender, Service)
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # it is taken, and connections are refused
        register(sender, [Wish(f"http://127.0.0.1:{dead.getsockname()[1]}/")])
        load.endpoints(0, "all")
        load.publish(owed)
        asyncio.run(sender.caught_up(_DRAINED_WITHIN_S))
        load.endpoints(_NEW_ENDPOINTS, "turns")
        return [_first_delivery_s(ours, endpoint) for endpoint in range(_NEW_ENDPOINTS)]


def _first_delivery_s(ours: Party, endpoint: int) -> float:
    sender, load = ours
    began_s = time.monotonic()
    register(sender, _own_workflows(load, [endpoint]))
    seen = load.rate(*_ONE_EVENT)
    load.rest()
    return seen.ended_us / 1e6 - began_s


def _own_workflows(load: Load, endpoints: Iterable[int]) -> Iterator[Wish]:
    """Each wants the events of the workflow with its own number."""
    return (Wish(load.url(endpoint), endpoint) for endpoint in endpoints)


class Memory(NamedTuple):
    """Of the service's process."""

    before_mb: float
    registered_mb: float
    idle_mb: float
    register_s: float


def memory(ours: Party, endpoints: int, idle_s: float = _CLOSED_S) -> Memory:
    """What so many endpoints take that each got the same event, and nothing for `idle_s`."""
    sender, load = ours
    before_mb, began_s = resident_mb(sender), time.monotonic()
    register(sender, (Wish(load.url(endpoint)) for endpoint in range(endpoints)))
    register_s, registered_mb = time.monotonic() - began_s, resident_mb(sender)
    load.endpoints(endpoints, "all")
    load.rate(*_ONE_EVENT)
    load.rest(idle_s)
    return Memory(before_mb, registered_mb, resident_mb(sender), register_s)
