"""The final count: what was told, stored, shown and sent, held against each other promise by promise, and printed.

Nothing here is taken from the service's word alone: the reference is a clean fold of the journal's own records, the
subscribers' part is judged as in the soak, deliveries are counted where they arrived.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from monitor.access.teams import team_rule
from monitor.events.codec import decode
from monitor.events.model import Event
from monitor.events.position import Position
from monitor.projections.statistics import IN_FLIGHT_HOUR
from monitor.store.base import Reader, Store
from monitor.store.delivery_port import AttemptRow, DeliveryQuery, DeliveryRow
from monitor.webhooks.endpoint import Endpoint
from tests.chaos.archive import Archive
from tests.support.receiver import Request
from tests.support.recount import recount
from tests.support.replay import contents, deliveries, replayed
from tests.support.soak.client import Client
from tests.support.soak.judgement import Judge
from tests.support.soak.judgement import Verdict as Judged
from tests.support.soak.telling import Told
from tests.support.soak.truth import read_truth

SHOWN = 20
"""Complaints of one promise that are printed."""


_BY_ARRIVAL: Final = ("version", "created_us", "updated_us")
"""Of an execution: what may depend on the order in which its events came."""


@dataclass(slots=True)
class Promise:
    """What was counted of one promise, and where it was broken."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def hold(self, holds: bool, otherwise: str) -> None:
        """Complain unless it holds."""
        if not holds:
            self.broken.append(otherwise)

    def __str__(self) -> str:
        said = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        return f"{said}; broken {len(self.broken)} times"


class Witnessed(NamedTuple):
    """What everybody outside of the service saw."""

    told: Told
    # Ids of events.
    acknowledged: Collection[str]
    clients: Sequence[Client]
    requests: Sequence[Request]
    # Those of them that the receiver hung up on.
    hung_up: Sequence[Request]
    # What REST says of each execution in the end, and which log lines each address of a gap has.
    answers: Mapping[str, Mapping[str, Any]]
    lines_at: Mapping[str, Collection[int]]
    # How many events had been told when everything was folded and everybody connected.
    settled: int
    # Who did not read for a while.
    stalled: Collection[Client]
    # How often REST was asked for what a subscriber had seen, and what it did not have yet.
    asked: int
    outdated: Sequence[str]
    # Ids of acknowledged events that were cut from the journal before anybody read them.
    cut: Collection[str] = ()


class Owed(NamedTuple):
    """A delivery of the ledger, with its attempts."""

    endpoint: Endpoint
    row: DeliveryRow
    attempts: Sequence[AttemptRow]


async def judged(
    archive: Archive, store: Store, seen: Witnessed, open_position: Callable[[str], Position]
) -> dict[str, Promise]:
    """Every promise by its number. Nobody works on the store any more."""
    team_of = team_rule(exclusive=archive.exclusive, trust_body=False)
    events = [event for record in archive.records if isinstance(event := decode(record, team_of), Event)]
    endpoints = await store.read(lambda reader: reader.endpoints(None))
    reference = await replayed(archive, team_of, endpoints)
    expected, found = await contents(reference), await contents(store)
    owed = await store.read(_owed)
    return {
        "G1 nothing lost": _lost(events, expected, found, seen),
        "G2 exactly once": _doubled(events, expected, found, await deliveries(reference), owed),
        "G3 order-proof": await _in_any_order(archive, found),
        "G4 G5 one truth, no gap": await _told(archive, seen, open_position),
        "G6 nobody slows anybody": _slowed(seen.clients, seen.stalled),
        "G7 webhooks": _sent(owed, seen.requests, seen.hung_up),
    }


async def judged_anew(archive: Archive, store: Store, seen: Witnessed) -> dict[str, Promise]:
    """What can be said of a store that was begun anew: an execution's records may lie in two partitions then, and the
    order in which these are read shows in what is allowed to depend on it.
    """
    team_of = team_rule(exclusive=archive.exclusive, trust_body=False)
    events = [event for record in archive.records if isinstance(event := decode(record, team_of), Event)]
    expected, found = await contents(await replayed(archive, team_of)), await contents(store)
    for projected in (expected, found):
        _forget_arrival(projected)
    return {
        "G1 nothing lost": _lost(events, expected, found, seen),
        "G2 exactly once": _doubled(events, expected, found, (), ()),
    }


def report(promises: Mapping[str, Promise]) -> str:
    """For people, a line for each."""
    return "\n".join(f"{name}: {promise}" for name, promise in promises.items())


def complaints(promises: Mapping[str, Promise]) -> list[str]:
    """The first of each."""
    return [f"{name}: {fault}" for name, promise in promises.items() for fault in promise.broken[:SHOWN]]


def _lost(events: Sequence[Event], expected: Mapping[str, Any], found: Mapping[str, Any], seen: Witnessed) -> Promise:
    """Whatever was acknowledged is in the journal, and the store is what the journal's records come to."""
    promise, stored = Promise(), {event.id for event in events}
    promise.counts.update(
        {
            "acknowledged": len(seen.acknowledged),
            "stored": len(stored & set(seen.acknowledged)),
            "cut and said so": len(seen.cut),
            "executions": len(found["executions"]),
        }
    )
    promise.broken += [f"{it} was acknowledged and is gone" for it in set(seen.acknowledged) - stored - set(seen.cut)]
    promise.hold(
        found["position"] == expected["position"], f"stands at {found['position']}, not {expected['position']}"
    )
    for name in sorted(expected["executions"].keys() | found["executions"].keys()):
        is_equal = found["executions"].get(name) == expected["executions"].get(name)
        promise.hold(is_equal, f"{name} is not what its events come to")
    return promise


def _doubled(
    events: Sequence[Event],
    expected: Mapping[str, Any],
    found: Mapping[str, Any],
    planned: Sequence[str],
    owed: Sequence[Owed],
) -> Promise:
    """Each end counts once in statistics, and each delivery is once in the ledger."""
    promise, ids = Promise(), [it.row.id for it in owed]
    promise.counts.update(
        {"records": len(events), "repeats among them": len(events) - len({event.id for event in events})}
    )
    promise.hold(found["statistics"] == expected["statistics"], "the statistics are not those of a clean fold")
    ends, in_flight = recount(events)
    by_hand = Counter(end.status for end in ends if not end.node_id)
    counted, flying = Counter[str](), 0
    for cell, (number, _) in found["statistics"].items():
        if cell.hour == IN_FLIGHT_HOUR:
            flying += number
        else:
            counted[cell.status] += number
    promise.counts["ends counted"] = counted.total()
    promise.hold(+counted == by_hand, f"counted {dict(counted)} ends, and there were {dict(by_hand)}")
    promise.hold(flying == in_flight.total(), f"counted {flying} in flight, and there were {in_flight.total()}")
    promise.counts["deliveries"] = len(ids)
    promise.hold(len(ids) == len(set(ids)), "a delivery is twice in the ledger")
    promise.broken += [f"delivery {it} is owed by no record" for it in set(ids) - set(planned)]
    promise.broken += [f"delivery {it} is owed and not in the ledger" for it in set(planned) - set(ids)]
    return promise


async def _in_any_order(archive: Archive, found: Mapping[str, Any]) -> Promise:
    """The same records in another order come to the same executions and statistics."""
    promise, team_of = Promise(), team_rule(exclusive=archive.exclusive, trust_body=False)
    other = await contents(await replayed(await archive.shuffled(), team_of))
    mine = {**found, "executions": {name: dict(of_one) for name, of_one in found["executions"].items()}}
    for projected in (other, mine):
        _forget_arrival(projected)
    promise.counts["executions folded in another order"] = len(other["executions"])
    promise.hold(other["statistics"] == mine["statistics"], "statistics depend on the order of arrival")
    for name in sorted(mine["executions"].keys() | other["executions"].keys()):
        is_equal = mine["executions"].get(name) == other["executions"].get(name)
        promise.hold(is_equal, f"{name} depends on the order of arrival")
    return promise


def _forget_arrival(projected: Mapping[str, Any]) -> None:
    for of_one in projected["executions"].values():
        of_one["summary"] = of_one["summary"] | dict.fromkeys(_BY_ARRIVAL)


def _slowed(clients: Sequence[Client], stalled: Collection[Client]) -> Promise:
    """Whoever reads was never taken for slow, however long others did not."""
    promise, reading = Promise(), [client for client in clients if client not in stalled]
    promise.counts.update({"stood still meanwhile": len(stalled), "read on": len(reading)})
    for client in reading:
        promise.hold(not client.diary.counts["closed with 4008"], f"{client.name} was cut off as slow")
    return promise


async def _told(archive: Archive, seen: Witnessed, open_position: Callable[[str], Position]) -> Promise:
    """Every subscriber was told everything, once and in order, or that and why something is missing."""
    truth = await read_truth(archive, seen.told)
    judge = Judge(
        truth,
        open_position,
        lines_at=seen.lines_at,
        answers=seen.answers,
        end=truth.end_of(seen.settled, archive.incarnation, archive.partitions),
    )
    promise, verdict, of_readers = Promise(), Judged(), 0
    for client in seen.clients:
        verdict += (judged := judge.judge(client))
        of_readers += 0 if client in seen.stalled else judged.counts["losses announced"]
    shown = ("lifecycle frames", "derived frames", "snapshot rows", "stretches", "losses announced")
    promise.counts["subscribers"] = len(seen.clients)
    promise.counts["connections lost"] = sum(it.is_cut for client in seen.clients for it in client.diary.stretches[:-1])
    promise.counts.update({name: verdict.counts[name] for name in shown})
    promise.counts["lifecycle events lost with announcement"] = verdict.counts[
        "lifecycle events lost with announcement"
    ]
    promise.counts["losses of those who read on"] = of_readers
    promise.counts["answers held against what was seen"] = seen.asked
    promise.broken += [*verdict.complaints, *seen.outdated]
    return promise


def _sent(owed: Sequence[Owed], requests: Sequence[Request], hung_up: Sequence[Request]) -> Promise:
    """Each delivery arrived at least once, always under one id with one body, and no send is off the record."""
    promise, arrived = Promise(), defaultdict[str, list[Request]](list)
    for request in requests:
        arrived[request.headers["webhook-id"]].append(request)
    promise.counts.update(
        {
            "deliveries": len(owed),
            "requests": len(requests),
            "repeated": len(requests) - len(arrived),
            "attempts recorded": sum(len(it.attempts) for it in owed),
        }
    )
    known = {it.row.id for it in owed}
    promise.broken += [f"{it} arrived and is not in the ledger" for it in arrived.keys() - known]
    for one in owed:
        promise.broken += [f"{one.row.id} {fault}" for fault in _faults_of(one, arrived.get(one.row.id, []), hung_up)]
    promise.broken += _out_of_order(owed, requests)
    return promise


def _faults_of(one: Owed, came: Sequence[Request], hung_up: Sequence[Request]) -> Iterator[str]:
    if one.row.state != "delivered":
        yield f"is {one.row.state}"
    if not came:
        yield "never arrived"
    if any(request.body != one.row.body for request in came):
        yield "arrived with another body than it has"
    # An attempt sends once more over a new connection what a connection from before took without an answer.
    if len(one.attempts) < len(came) - sum(request in hung_up for request in came):
        yield f"arrived {len(came)} times, and {len(one.attempts)} attempts are on record"
    if [attempt.n for attempt in one.attempts] != list(range(1, len(one.attempts) + 1)):
        yield "has attempts that are not numbered one by one"


def _out_of_order(owed: Sequence[Owed], requests: Sequence[Request]) -> Iterator[str]:
    """Where order was asked for, the first arrivals of an execution are in the order in which they were owed."""
    first = {id_: place for place, id_ in reversed([*enumerate(it.headers["webhook-id"] for it in requests)])}
    latest: dict[tuple[int, str], int] = {}
    for one in sorted(owed, key=lambda one: one.row.key):
        if one.endpoint.ordering == "execution" and one.row.id in first:
            lane = (one.endpoint.key, one.row.execution_id)
            if first[one.row.id] < latest.get(lane, -1):
                yield f"{one.row.id} of {one.row.execution_id} arrived before an earlier one"
            latest[lane] = first[one.row.id]


def _owed(reader: Reader) -> list[Owed]:
    return [
        Owed(endpoint, row, reader.attempts(row.id))
        for endpoint in reader.endpoints(None)
        for row in reader.deliveries(DeliveryQuery(endpoint.key), 1_000_000)
    ]
