"""The store port's part for what is owed: deliveries, their attempts, and replays. Ledger, never rebuilt."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from monitor.webhooks.delivery import AttemptDetail, Claimed, DeliveryState, Outcome, Planned, Trigger
from monitor.webhooks.endpoint import MOST_IN_FLIGHT


class DeliveryRow(NamedTuple):
    """A delivery and how it stands."""

    key: int
    id: str
    endpoint_key: int
    team: str
    event_id: str
    event_type: str
    execution_id: str
    state: DeliveryState
    # Why it failed, is held or cancelled: a stable word; None where there is nothing to say.
    reason: str | None
    trigger: Trigger
    attempts: int
    step: int
    due_us: int | None
    planned_us: int
    body: bytes


class DeliveryQuery(NamedTuple):
    """Which deliveries of an endpoint; every test that is None lets all of them through."""

    endpoint_key: int
    # As people see them: one that is pending but `halted` counts as held.
    states: tuple[DeliveryState, ...] | None = None
    # Each a type, or the beginning of types with a star: `node.*`.
    event_types: tuple[str, ...] | None = None
    execution_id: str | None = None
    # When they were planned: from `since_us` up to, not including, `until_us`.
    since_us: int | None = None
    until_us: int | None = None
    # Only those with smaller keys.
    before_key: int | None = None
    # What the last attempt was made for, or the next one will be.
    triggers: tuple[Trigger, ...] | None = None


class AttemptRow(NamedTuple):
    """One send of a delivery; `finished_us` is None while it runs. `interrupted`: the process ended over it."""

    n: int
    trigger: Trigger
    started_us: int
    finished_us: int | None
    status: int | None
    error: str | None
    answer: bytes
    detail: AttemptDetail | None


class Backlog(NamedTuple):
    """What is owed to one endpoint, or to all."""

    # Deliveries by state, those that are not final: pending, leased, held (with those that are halted).
    counts: Mapping[str, int]
    # When the oldest pending one was planned; None when nothing is pending.
    oldest_us: int | None


REDELIVERABLE: Final[tuple[DeliveryState, ...]] = ("pending", "delivered", "failed", "held")
"""States from which a delivery can be sent again: nobody works on it, and nobody has called it off."""


ReplayState = Literal["running", "done", "cancelled"]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A job that queues an endpoint's deliveries once more, in portions."""

    # The store's integer key; 0 until it is stored.
    key: int = 0
    id: str
    team: str
    endpoint_key: int
    query: DeliveryQuery
    state: ReplayState = "running"
    created_us: int
    finished_us: int | None = None
    # How many there were when it was asked for.
    matched: int
    # How many of them it has queued so far, and the key up to which it has looked.
    queued: int = 0
    cursor: int = 0


class DeliveryReader(Protocol):
    """Questions about what is owed."""

    def deliveries(self, query: DeliveryQuery, limit: int) -> Sequence[DeliveryRow]:
        """The latest deliveries that fit, newest first."""
        ...

    def delivery_count(self, query: DeliveryQuery) -> int:
        """How many fit."""
        ...

    def keys_of(self, query: DeliveryQuery, after_key: int, limit: int) -> Sequence[int]:
        """Keys of the first deliveries that fit behind `after_key`, oldest first."""
        ...

    def delivery(self, team: str, delivery_id: str) -> DeliveryRow | None:
        """One of a team, also when its endpoint is removed."""
        ...

    def attempts(self, delivery_id: str) -> Sequence[AttemptRow]:
        """Every attempt of a delivery, in order."""
        ...

    def backlog(self, endpoint_key: int | None) -> Backlog:
        """What is owed to an endpoint; to all of them for None."""
        ...

    def next_look_us(self) -> int | None:
        """When there may be something to do for a deliverer: a lane to look at or a lease that ends; None = never."""
        ...

    def replay(self, team: str, replay_id: str) -> Replay | None:
        """One of a team."""
        ...

    def replays(self, endpoint_key: int | None) -> Sequence[Replay]:
        """Those of an endpoint, newest first; for None all that run."""
        ...

    def untried(self, replay_key: int) -> int:
        """How many deliveries a replay has queued that nobody has sent yet."""
        ...


class DeliveryWriter(DeliveryReader, Protocol):
    """What is stored of it."""

    def owe(self, planned: Sequence[Planned]) -> None:
        """Store deliveries that are not there yet, to endpoints that still are, beside a commit's."""
        ...

    def claim(
        self, *, now_us: int, lease: str, until_us: int, limit: int, share: int = MOST_IN_FLIGHT
    ) -> list[Claimed]:
        """Lease due deliveries, lanes in turns, each as far as it has room (`lane.room`); attempts count as started.

        `limit` in all, and no lane beyond `share` in flight.

        A lane that waited longest comes first. Leases that have ended by `now_us` are taken back first: their attempts
        stay, as `interrupted`, and use up nothing of the schedule. A test that was interrupted has failed: whoever
        asked for it is gone.
        """
        ...

    def begin(self, planned: Planned, trigger: Trigger, *, now_us: int, lease: str, until_us: int) -> Claimed | None:
        """Store a delivery that is leased at once, whatever its lane says: a test. None: the endpoint is gone."""
        ...

    def finish(self, outcomes: Sequence[Outcome]) -> set[int]:
        """Record ended attempts; returns the keys of deliveries whose lease held. Where one was lost, only the attempt
        is recorded. What waited for one that ended is due now.
        """
        ...

    def release_leases(self, lease_prefix: str, now_us: int) -> int:
        """Take back what a deliverer of that name holds, as `claim` takes back leases that ended; returns how many."""
        ...

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
        """Make those that are in one of `states`, of endpoints that still are, pending again, with a fresh schedule.
        Returns how many.

        Rank 0 is live, 1 is served when nothing live is due. Where an order is kept, each waits for those before it
        that are of the same rank.
        """
        ...

    def cancel(self, keys: Sequence[int], reason: str, now_us: int) -> int:
        """End deliveries that are pending, leased or held; what waited for them is due now. Returns how many."""
        ...

    def hold_overflow(self, limit: int, now_us: int, most: int) -> Mapping[int, int]:
        """Hold (`overflow`) what is pending beyond `limit` in each lane: the oldest events of nodes, progress and logs,
        never the end of an execution, nor who is halted; `most` of a lane at once. Returns how many by endpoint.
        """
        ...

    def put_replay(self, replay: Replay) -> Replay:
        """Store it, or replace the stored one of its key."""
        ...

    def end_replayed(self, replay_key: int, now_us: int) -> int:
        """Take back what a replay queued and nobody has sent yet: delivered if it once was, else failed."""
        ...

    def forget_deliveries(self, before_us: int, after_key: int, limit: int) -> tuple[int, int]:
        """Remove deliveries planned before, of the first `limit` behind `after_key`, that are delivered, failed or
        cancelled, with their attempts. The latest delivery of all stays, for keys are never given again. Returns how
        many, and the key up to which it looked; 0 = to the end.
        """
        ...

    def set_back(self, by_us: int) -> None:
        """Bring every time that a delivery, a lease or a lane waits for nearer by so much: the clock was set back."""
        ...
