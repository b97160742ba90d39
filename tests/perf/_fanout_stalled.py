"""Fan-out to a crowd of which some never read: what that costs in memory, and whether their sockets are freed."""

from typing import Final, NamedTuple

from tests.perf._fanout_load import KINDS, Load
from tests.perf._fanout_servers import Scene, Server, frame_of
from tests.perf._report import Report, Rival

_SUBSCRIBERS: Final = 100
_STALLED: Final = 5
_PER_S: Final = 200
_PADDING_BYTES: Final = 1800
"""Makes frames of 2.3 KB."""

_FILLING: Final = (64, 1.0)
"""Events at once and seconds until the backlog is full, which is bounded and not what is looked for."""


class Party(NamedTuple):
    """A server and those who read it, or do not."""

    name: str
    server: Server
    load: Load


class Size(NamedTuple):
    """Of a server's process."""

    resident_bytes: int
    descriptors: int


def measure(report: Report, here: Scene, seconds: float) -> None:
    """All at the same time: it is memory that counts, and the cores have room."""
    report.progress(f"{_STALLED} of {_SUBSCRIBERS} subscribers never read, for {seconds:g} s")
    ours = [here.ours(padding_bytes=_PADDING_BYTES) for _ in KINDS]
    rival = here.rival("ws", frame_of(ours[0]))
    parties = [Party(kind, server, here.load(kind, server)) for kind, server in zip(KINDS, ours, strict=True)]
    parties.append(Party("rival", rival, here.load("ws", rival)))
    for _, server, load in parties[:2]:
        load.connect(_SUBSCRIBERS, server.path)
        load.burst(*_FILLING)
        load.disconnect()
    for _, server, load in parties:
        load.connect(_SUBSCRIBERS, server.path, stalled=_STALLED)
    before = {party.name: _size(party.server) for party in parties}
    for party in parties:
        party.load.begin_rate(_PER_S, seconds)
    for party in parties:
        party.load.answer().checked()
    after = {party.name: _size(party.server) for party in parties}
    conditions = {"subscribers": _SUBSCRIBERS, "stalled": _STALLED, "per_s": _PER_S, "seconds": seconds}
    grown_mb = {name: (after[name].resident_bytes - size.resident_bytes) / 1e6 for name, size in before.items()}
    rival_mb = Rival("websockets, broadcast() per event", grown_mb["rival"]) if grown_mb["rival"] > 0 else None
    for kind in KINDS:
        report.figure(
            f"stalled.{kind}.growth",
            grown_mb[kind],
            "MB resident",
            target="< 10 in 60 s",
            baseline=rival_mb,
            conditions=conditions,
        )
        report.figure(
            f"stalled.{kind}.freed",
            before[kind].descriptors - after[kind].descriptors,
            "sockets of those who never read",
            target=f"{_STALLED} in 60 s",
            conditions=conditions,
        )


def _size(server: Server) -> Size:
    return Size(server.resident_bytes(), server.descriptors())
