"""The ledger in memory: says in plain Python what the drivers do in SQL. `memory` mixes it into its sessions."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any, NamedTuple

import msgspec

from monitor.store.delivery_port import REDELIVERABLE, AttemptRow, Backlog, DeliveryQuery, DeliveryRow, Replay
from monitor.store.ledger import ENDED, RANKS, SHED_FIRST
from monitor.webhooks.delivery import Claimed, DeliveryState, Outcome, Planned, Trigger
from monitor.webhooks.endpoint import MOST_IN_FLIGHT, Endpoint
from monitor.webhooks.lane import Lane, begun, room, set_back


class _LaneRow(NamedTuple):
    """A lane and when to look at it; None: when something happens."""

    lane: Lane = Lane()
    look_us: int | None = None


class _Delivery(NamedTuple):
    """A delivery with what nobody is shown."""

    row: DeliveryRow
    rank: int = 0
    first_us: int | None = None
    order_key: str | None = None
    replay_key: int | None = None
    lease: str | None = None
    lease_until_us: int = 0


@dataclass(slots=True)
class LedgerTables:
    """Everything that is stored. Rows are replaced, never changed."""

    key_check: bytes | None = None
    endpoints_version: int = 0
    last_endpoint_key: int = 0
    last_delivery_key: int = 0
    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    lanes: dict[int, _LaneRow] = field(default_factory=dict)
    # In order of their keys.
    deliveries: dict[int, _Delivery] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    attempts: dict[tuple[int, int], AttemptRow] = field(default_factory=dict)
    replays: dict[int, Replay] = field(default_factory=dict)

    def copy(self) -> "LedgerTables":
        """Tables of their own that share the rows."""
        held = ((member.name, getattr(self, member.name)) for member in fields(self))
        members: dict[str, Any] = {name: dict(it) if isinstance(it, dict) else it for name, it in held}
        return LedgerTables(**members)


class MemoryLedger:
    """The ledger's part of the Reader and Writer ports."""

    def __init__(self, ledger: LedgerTables) -> None:
        self._ledger = ledger

    # Questions

    def endpoints(self, team: str | None, *, after_key: int = 0, limit: int | None = None) -> Sequence[Endpoint]:
        rows = (it for it in self._ledger.endpoints.values() if team in (None, it.team) and it.key > after_key)
        return list(rows)[:limit]

    def endpoint_count(self, team: str) -> int:
        return len(self.endpoints(team))

    def endpoint(self, team: str, endpoint_id: str) -> Endpoint | None:
        return next((it for it in self.endpoints(team) if it.id == endpoint_id), None)

    def endpoint_of(self, key: int) -> Endpoint | None:
        return self._ledger.endpoints.get(key)

    def lane(self, endpoint_key: int) -> Lane:
        return self._ledger.lanes.get(endpoint_key, _LaneRow()).lane

    def deliveries(self, query: DeliveryQuery, limit: int) -> Sequence[DeliveryRow]:
        return [it.row for it in self._fitting(query)][::-1][:limit]

    def delivery_count(self, query: DeliveryQuery) -> int:
        return len(self._fitting(query))

    def delivery(self, team: str, delivery_id: str) -> DeliveryRow | None:
        found = self._ledger.deliveries.get(self._ledger.keys.get(delivery_id, 0))
        return found.row if found is not None and found.row.team == team else None

    def attempts(self, delivery_id: str) -> Sequence[AttemptRow]:
        key = self._ledger.keys.get(delivery_id)
        return [row for (of, _), row in sorted(self._ledger.attempts.items()) if of == key]

    def backlog(self, endpoint_key: int | None) -> Backlog:
        rows = [it.row for it in self._ledger.deliveries.values() if endpoint_key in (None, it.row.endpoint_key)]
        counts = {state: sum(_shown(row) == state for row in rows) for state in ("pending", "leased", "held")}
        return Backlog(counts, min((row.planned_us for row in rows if row.state == "pending"), default=None))

    def next_look_us(self) -> int | None:
        looks = [it.look_us for it in self._ledger.lanes.values()]
        ends = [it.lease_until_us for it in self._ledger.deliveries.values() if it.row.state == "leased"]
        return min((at_us for at_us in (*looks, *ends) if at_us is not None), default=None)

    def replay(self, team: str, replay_id: str) -> Replay | None:
        return next((it for it in self._ledger.replays.values() if (it.team, it.id) == (team, replay_id)), None)

    def replays(self, endpoint_key: int | None) -> Sequence[Replay]:
        rows = reversed(self._ledger.replays.values())
        return [
            it for it in rows if it.endpoint_key == endpoint_key or (endpoint_key is None and it.state == "running")
        ]

    def untried(self, replay_key: int) -> int:
        return sum(it.first_us is None for it in self._replayed(replay_key))

    def key_check(self) -> bytes | None:
        return self._ledger.key_check

    def keys_of(self, query: DeliveryQuery, after_key: int, limit: int) -> Sequence[int]:
        return [it.row.key for it in self._fitting(query) if it.row.key > after_key][:limit]

    def _fitting(self, query: DeliveryQuery) -> list[_Delivery]:
        return [it for it in self._ledger.deliveries.values() if _fits(it.row, query)]

    # Endpoints and their lanes

    def set_key_check(self, sealed: bytes) -> None:
        self._ledger.key_check = sealed

    def endpoints_version(self) -> int:
        return self._ledger.endpoints_version

    def add_endpoint(self, endpoint: Endpoint) -> Endpoint:
        self._ledger.last_endpoint_key += 1
        stored = msgspec.structs.replace(endpoint, key=self._ledger.last_endpoint_key)
        self._ledger.lanes[stored.key] = _LaneRow()
        self._ledger.endpoints[stored.key] = stored
        self._ledger.endpoints_version += 1
        return stored

    def update_endpoint(self, endpoint: Endpoint) -> None:
        if endpoint.key in self._ledger.endpoints:
            self._ledger.endpoints[endpoint.key] = endpoint
            self._look([endpoint.key], 0)
        self._ledger.endpoints_version += 1

    def remove_endpoint(self, team: str, endpoint_id: str) -> int | None:
        endpoint = self.endpoint(team, endpoint_id)
        if endpoint is None:
            return None
        del self._ledger.endpoints[endpoint.key], self._ledger.lanes[endpoint.key]
        self._ledger.endpoints_version += 1
        owed = self.keys_of(DeliveryQuery(endpoint.key, ("pending", "leased", "held")), 0, len(self._ledger.deliveries))
        return self.cancel(owed, "removed", 0)

    def put_lane(self, endpoint_key: int, lane: Lane) -> None:
        row = self._ledger.lanes.get(endpoint_key)
        if row is not None:
            self._ledger.lanes[endpoint_key] = row._replace(lane=lane)

    def _look(self, endpoint_keys: Iterable[int], at_us: int) -> None:
        for key in endpoint_keys:
            row = self._ledger.lanes.get(key)
            if row is not None and (row.look_us is None or row.look_us > at_us):
                self._ledger.lanes[key] = row._replace(look_us=at_us)

    # Owed

    def owe(self, planned: Iterable[Planned]) -> None:
        for it in planned:
            self._owe(it, "event")

    def _owe(self, it: Planned, trigger: Trigger) -> int | None:
        if it.id in self._ledger.keys or it.endpoint_key not in self._ledger.endpoints:
            return None
        self._ledger.last_delivery_key = key = self._ledger.last_delivery_key + 1
        waits = it.order_key is not None and self._open(it.endpoint_key, it.order_key, rank=0)
        row = DeliveryRow(
            key=key,
            id=it.id,
            endpoint_key=it.endpoint_key,
            team=it.team,
            event_id=it.event_id,
            event_type=it.event_type,
            execution_id=it.execution_id,
            state="pending",
            reason=None,
            trigger=trigger,
            attempts=0,
            step=0,
            due_us=None if waits else it.due_us,
            planned_us=it.due_us,
            body=it.body,
        )
        self._ledger.deliveries[key] = _Delivery(row, order_key=it.order_key)
        self._ledger.keys[it.id] = key
        if not waits:
            self._look([it.endpoint_key], it.due_us)
        return key

    def _open(self, endpoint_key: int, order_key: str | None, rank: int) -> list[_Delivery]:
        """What is pending or leased of an order, first things first; nothing where there is none."""
        if order_key is None:
            return []
        of_lane = (it for it in self._ledger.deliveries.values() if it.row.endpoint_key == endpoint_key)
        of_order = (it for it in of_lane if (it.order_key, it.rank) == (order_key, rank))
        return [it for it in of_order if it.row.state in ("pending", "leased")]

    # Claims

    def claim(
        self, *, now_us: int, lease: str, until_us: int, limit: int, share: int = MOST_IN_FLIGHT
    ) -> list[Claimed]:
        self._take_back(lambda it: it.lease_until_us <= now_us, now_us)
        claimed: list[Claimed] = []
        while len(claimed) < limit and (keys := self._lanes_to_look_at(now_us, limit - len(claimed))):
            queues = {key: self._due(key, now_us, share) for key in keys}
            chosen = _in_turns(queues, limit - len(claimed))
            for key, sent in chosen.items():
                is_probe = self.lane(key).breaker != "closed"
                claimed += [self._lease(it, lease, until_us, now_us, is_probe=is_probe) for it in sent]
                self._note_visit(key, len(sent), now_us, share)
        return claimed

    def _lanes_to_look_at(self, now_us: int, limit: int) -> list[int]:
        due = [(it.look_us, key) for key, it in self._ledger.lanes.items() if it.look_us is not None]
        return [key for at_us, key in sorted(due) if at_us <= now_us][:limit]

    def _in_flight(self, endpoint_key: int) -> int:
        return self.delivery_count(DeliveryQuery(endpoint_key, ("leased",)))

    def _due(self, endpoint_key: int, now_us: int, share: int) -> list[_Delivery]:
        """What the lane has room for: live before replayed, earliest first."""
        endpoint = self._ledger.endpoints[endpoint_key]
        free = room(self.lane(endpoint_key), endpoint, self._in_flight(endpoint_key), now_us, share).free
        due = [it for it in self._waiting(endpoint_key) if (it.row.due_us or 0) <= now_us]
        return sorted(due, key=lambda it: (it.rank, it.row.due_us, it.row.key))[:free]

    def _waiting(self, endpoint_key: int) -> list[_Delivery]:
        pending = self._fitting(DeliveryQuery(endpoint_key, ("pending",)))
        return [it for it in pending if it.row.due_us is not None]

    def _lease(self, it: _Delivery, lease: str, until_us: int, now_us: int, *, is_probe: bool) -> Claimed:
        row, first_us = it.row, now_us if it.first_us is None else it.first_us
        n = row.attempts + 1
        self._put(it, lease=lease, lease_until_us=until_us, first_us=first_us, state="leased", attempts=n)
        self._ledger.attempts[row.key, n] = AttemptRow(n, row.trigger, now_us, None, None, None, b"", None)
        place = (row.key, row.id, self._ledger.endpoints[row.endpoint_key], row.body, n, row.step, lease, row.trigger)
        return Claimed(*place, is_probe, row.planned_us, first_us)

    def _note_visit(self, key: int, taken: int, now_us: int, share: int) -> None:
        endpoint = self._ledger.endpoints[key]
        lane = begun(self.lane(key), endpoint, taken, now_us)
        free, look_us, _ = room(lane, endpoint, self._in_flight(key), now_us, share)
        if free:
            left_us = [it.row.due_us for it in self._waiting(key) if it.row.due_us is not None]
            look_us = max(now_us, min(left_us)) if left_us else None
        self._ledger.lanes[key] = _LaneRow(lane, look_us)

    def begin(self, planned: Planned, trigger: Trigger, *, now_us: int, lease: str, until_us: int) -> Claimed | None:
        key = self._owe(planned, trigger)
        if key is None:
            return None
        return self._lease(self._ledger.deliveries[key], lease, until_us, now_us, is_probe=False)

    # Ends

    def finish(self, outcomes: Sequence[Outcome]) -> set[int]:
        held: dict[int, _Delivery] = {}
        for it in outcomes:
            said = {"status": it.status, "error": it.error, "answer": it.answer, "detail": it.detail}
            self._end_attempt(it.key, it.n, finished_us=it.finished_us, **said)
            found = self._ledger.deliveries.get(it.key)
            if found is not None and found.row.state == "leased" and found.lease == it.lease:
                held[it.key] = found
                changes = {"state": it.state, "reason": it.reason, "due_us": it.due_us, "step": it.step}
                self._put(found, lease=None, **changes)
        latest_us = max((it.finished_us for it in outcomes), default=0)
        self._stand_back(held)
        self._wake(held.values(), latest_us)
        self._look({it.endpoint_key for it in outcomes}, latest_us)
        return set(held)

    def release_leases(self, lease_prefix: str, now_us: int) -> int:
        return self._take_back(lambda it: (it.lease or "").startswith(lease_prefix), now_us)

    def _take_back(self, is_so: Callable[[_Delivery], bool], now_us: int) -> int:
        found = [it for it in self._ledger.deliveries.values() if it.row.state == "leased" and is_so(it)]
        for it in found:
            # Nobody waits for a test any more.
            is_test = it.row.trigger == "test"
            now = {"state": "failed", "reason": "interrupted", "due_us": None} if is_test else {"state": "pending"}
            self._put(it, lease=None, **now)
            self._end_attempt(it.row.key, it.row.attempts, finished_us=now_us, error="interrupted")
            self._look([it.row.endpoint_key], now_us)
        self._stand_back(it.row.key for it in found)
        return len(found)

    def _end_attempt(self, key: int, n: int, **ended: Any) -> None:
        row = self._ledger.attempts.get((key, n))
        if row is not None:
            self._ledger.attempts[key, n] = row._replace(**ended)

    # What people decide

    def redeliver(
        self,
        keys: Sequence[int],
        trigger: Trigger,
        *,
        due_us: int,
        rank: int = 0,
        replay_key: int | None = None,
        states: Collection[DeliveryState] = REDELIVERABLE,
    ) -> int:
        served = (it for it in self._named(keys) if it.row.endpoint_key in self._ledger.endpoints)
        found = [it for it in served if _shown(it.row) in states]
        heads = [head for it in found for head in self._open(it.row.endpoint_key, it.order_key, rank)[:1]]
        for it in found:
            # Where an order is kept, it is due when its turn comes.
            turn_us = due_us if it.order_key is None else None
            anew = {"state": "pending", "reason": None, "trigger": trigger, "step": 0, "due_us": turn_us}
            self._put(it, rank=rank, replay_key=replay_key, first_us=None, **anew)
        self._stand_back(it.row.key for it in heads)
        self._follow(found, due_us)
        return len(found)

    def cancel(self, keys: Sequence[int], reason: str, now_us: int) -> int:
        found = [it for it in self._named(keys) if it.row.state in ("pending", "leased", "held")]
        for it in found:
            self._put(it, lease=None, state="cancelled", reason=reason, due_us=None)
        self._follow(found, now_us)
        return len(found)

    def hold_overflow(self, limit: int, now_us: int, most: int) -> Mapping[int, int]:
        held: dict[int, int] = {}
        for key in self._ledger.endpoints:
            pending = [it for it in self._fitting(DeliveryQuery(key)) if it.row.state == "pending"]
            sheddable = [it for it in pending if it.row.reason is None and _is_shed_first(it.row.event_type)]
            excess = sheddable[: min(max(0, len(pending) - limit), most)]
            for it in excess:
                self._put(it, state="held", reason="overflow", due_us=None)
            self._follow(excess, now_us)
            held |= {key: len(excess)} if excess else {}
        return held

    def put_replay(self, replay: Replay) -> Replay:
        stored = replay if replay.key else msgspec.structs.replace(replay, key=len(self._ledger.replays) + 1)
        self._ledger.replays[stored.key] = stored
        return stored

    def end_replayed(self, replay_key: int, now_us: int) -> int:
        pending = self._replayed(replay_key)
        for it in pending:
            was_accepted = any(row.finished_us and row.error is None for row in self.attempts(it.row.id))
            now = {"state": "delivered", "reason": None} if was_accepted else _NOT_REPLAYED
            self._put(it, rank=0, replay_key=None, due_us=None, **now)
        self._follow(pending, now_us)
        return len(pending)

    def forget_deliveries(self, before_us: int, after_key: int, limit: int) -> tuple[int, int]:
        found = [it.row for it in self._ledger.deliveries.values() if it.row.key > after_key][:limit]
        # The latest one stays: its key tells which comes next.
        latest = max(self._ledger.deliveries, default=0)
        gone = [row for row in found if row.planned_us < before_us and row.state in ENDED and row.key != latest]
        for row in gone:
            del self._ledger.deliveries[row.key], self._ledger.keys[row.id]
            for n in range(1, row.attempts + 1):
                self._ledger.attempts.pop((row.key, n), None)
        is_end = len(found) < limit or found[-1].planned_us >= before_us
        return len(gone), 0 if is_end else found[-1].key

    # Steps

    def _replayed(self, replay_key: int) -> list[_Delivery]:
        """What a replay queued and is pending."""
        queued = (it for it in self._ledger.deliveries.values() if it.replay_key == replay_key)
        return [it for it in queued if it.row.state == "pending"]

    def _named(self, keys: Sequence[int]) -> list[_Delivery]:
        return [self._ledger.deliveries[key] for key in dict.fromkeys(keys) if key in self._ledger.deliveries]

    def _follow(self, moved: Collection[_Delivery], now_us: int) -> None:
        """Let lanes go on after deliveries that were moved."""
        self._wake(moved, now_us)
        self._look({it.row.endpoint_key for it in moved}, now_us)

    def _wake(self, moved: Iterable[_Delivery], now_us: int) -> None:
        """Make due who comes first in the orders of these, of each rank, and has waited for that."""
        orders = {(it.row.endpoint_key, it.order_key) for it in moved}
        for (endpoint_key, order_key), rank in product(orders, RANKS):
            for first in self._open(endpoint_key, order_key, rank)[:1]:
                if first.row.state == "pending" and first.row.due_us is None and first.row.reason is None:
                    self._put(first, due_us=now_us)

    def _stand_back(self, keys: Iterable[int]) -> None:
        """Let those wait that are pending and have others before them in their order."""
        for it in self._named(list(keys)):
            earlier = self._open(it.row.endpoint_key, it.order_key, it.rank)[:1]
            if it.row.state == "pending" and earlier and earlier[0].row.key < it.row.key:
                self._put(it, due_us=None)

    # The clock

    def set_back(self, by_us: int) -> None:
        for it in [it for it in self._ledger.deliveries.values() if it.row.state in ("pending", "leased")]:
            due_us = None if it.row.due_us is None else it.row.due_us - by_us
            self._put(it, due_us=due_us, lease_until_us=it.lease_until_us - by_us)
        for key, (lane, look_us) in list(self._ledger.lanes.items()):
            self._ledger.lanes[key] = _LaneRow(set_back(lane, by_us), None if look_us is None else look_us - by_us)

    def _put(self, it: _Delivery, **changes: Any) -> None:
        """Replace a row; `changes` name members of it or of what is shown of it."""
        hidden = {name: value for name, value in changes.items() if name in _Delivery._fields}
        shown = {name: value for name, value in changes.items() if name not in hidden}
        self._ledger.deliveries[it.row.key] = it._replace(row=it.row._replace(**shown), **hidden)


_NOT_REPLAYED = {"state": "failed", "reason": "replay_cancelled"}


def _fits(row: DeliveryRow, query: DeliveryQuery) -> bool:
    return (
        row.endpoint_key == query.endpoint_key
        and (query.states is None or _shown(row) in query.states)
        and (query.event_types is None or any(_is_of_type(row.event_type, name) for name in query.event_types))
        and (query.execution_id is None or row.execution_id == query.execution_id)
        and (query.since_us is None or row.planned_us >= query.since_us)
        and (query.until_us is None or row.planned_us < query.until_us)
        and (query.before_key is None or row.key < query.before_key)
        and (query.triggers is None or row.trigger in query.triggers)
    )


def _shown(row: DeliveryRow) -> DeliveryState:
    """As people see it: who is halted is held."""
    return "held" if (row.state, row.reason) == ("pending", "halted") else row.state


def _is_of_type(event_type: str, name: str) -> bool:
    return event_type.startswith(name[:-1]) if name.endswith("*") else event_type == name


def _is_shed_first(event_type: str) -> bool:
    return any(_is_of_type(event_type, name) for name in SHED_FIRST)


def _in_turns(queues: Mapping[int, Sequence[_Delivery]], limit: int) -> dict[int, list[_Delivery]]:
    """The first of every queue, then the second, until `limit` are taken."""
    taken: dict[int, list[_Delivery]] = {key: [] for key in queues}
    for turn in range(max(map(len, queues.values()), default=0)):
        for key, queue in queues.items():
            if turn < len(queue) and limit > 0:
                taken[key].append(queue[turn])
                limit -= 1
    return taken
