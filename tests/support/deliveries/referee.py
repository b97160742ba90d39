"""What the rules of delivery make of a history: every transaction of the ledger is told here, and judged.

The rules are written down from what is promised about webhooks (claims by lane, fenced leases, attempts, schedule,
breaker, order, operator events), not from the code that keeps them. Whatever differs is a complaint.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from monitor.store.delivery_port import AttemptRow, DeliveryRow
from monitor.webhooks.delivery import Answer, Claimed, Outcome, Planned
from monitor.webhooks.endpoint import Endpoint

S: Final = 1_000_000
HOUR: Final = 3600
DAY: Final = 24 * HOUR

SCHEDULE_S: Final = (5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Before the second attempt, the third, ...; the first is made at once."""

PAUSES_S: Final = (30, 60, 120, 240, 480, 600)
"""Of a breaker, before each probe; the last one repeats."""

EXPIRES_US: Final = 4 * DAY * S
"""After the first attempt; nothing is planned for later."""

RESTS_S: Final = {"throttled": 5, "internal": 30}
"""How long a lane is left alone after these, where the receiver does not say it. They do not count as its failures."""

WARNINGS: Final = {50: 2.5 * DAY, 70: 3.5 * DAY, 90: 4.5 * DAY}
"""Percent of the time after which an endpoint that only fails is disabled, and how long it has failed then."""


@dataclass(slots=True)
class Debt:
    """A delivery as it should stand."""

    id: str
    endpoint_key: int
    event_id: str
    type: str
    body: bytes
    order: str | None
    # In order of planning.
    place: int
    due_us: int | None
    state: str = "pending"
    reason: str | None = None
    trigger: str = "event"
    step: int = 0
    first_us: int | None = None
    lease: str | None = None
    lease_until_us: int = 0
    # (status, error) of every attempt; None while it runs.
    attempts: list[tuple[int | None, str | None] | None] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether others of its order wait for it."""
        return self.state in ("pending", "leased")


@dataclass(slots=True)
class Way:
    """A receiver, by what it answered."""

    is_open: bool = False
    failed_probes: int = 0
    blocked_us: int = 0
    # None = as many as its endpoint may.
    ramp: int | None = None
    # (when, whether it succeeded) since the breaker opened last.
    answers: list[tuple[int, bool]] = field(default_factory=list)
    failures: int = 0
    failing_us: int | None = None
    warned: int = 0
    # When sends began, by a clock that nobody sets; None = the rate was changed, or the clock was set.
    begun_s: list[float | None] = field(default_factory=list)


class Told(NamedTuple):
    """An operator event: what it says about whom."""

    hearer_key: int
    type: str
    about: str
    # The delivery or the percentage, and the reason.
    what: str | int | None
    reason: str | None


class Next(NamedTuple):
    """What follows an attempt."""

    state: str
    reason: str | None
    error: str | None
    step: int
    # When at the earliest and at the latest; None = never by itself.
    due_us: tuple[int, int] | None = None
    # What it says of the receiver.
    kind: str = "failed"
    asked_us: int = 0
    disables: str | None = None


class Referee:
    """Keeps what is owed to whom, by the rules, and every complaint."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.debts: dict[str, Debt] = {}
        self.endpoints: dict[int, Endpoint] = {}
        self.ways: dict[int, Way] = {}
        # By delivery and number of the attempt; None until it was answered.
        self.sends: dict[tuple[str, int], tuple[Claimed, Answer | None]] = {}
        self.recorded: set[tuple[str, int]] = set()
        self.tallies: Counter[str] = Counter()
        self._expected: Counter[Told] = Counter()
        self._told: Counter[Told] = Counter()
        self._neglected: dict[int, float] = {}

    def complain(self, complaint: str) -> None:
        """Something is against the rules."""
        self.complaints.append(complaint)

    def check(self, expected: object, actual: object, what: str) -> None:
        """Complain unless they are equal."""
        if expected != actual:
            self.complain(f"{what}: {actual!r} instead of {expected!r}")

    # --- endpoints and what they are owed ----------------------------------------------------------------------------

    def registered(self, endpoint: Endpoint) -> None:
        """A new endpoint."""
        self.endpoints[endpoint.key], self.ways[endpoint.key] = endpoint, Way()

    def changed(self, endpoint: Endpoint, *, resumed: bool = False) -> None:
        """Its owner changed it; resumed, it starts slowly and its past is forgotten."""
        way = self.ways[endpoint.key]
        if self.endpoints[endpoint.key].rate != endpoint.rate:
            way.begun_s = [None]
        if resumed:
            self.ways[endpoint.key] = Way(ramp=1, begun_s=way.begun_s)
        self.endpoints[endpoint.key] = endpoint

    def removed(self, key: int) -> None:
        """Its owner removed it."""
        del self.endpoints[key], self.ways[key]
        for debt in self._owed_to(key):
            if debt.is_open or debt.state == "held":
                debt.state, debt.reason, debt.due_us, debt.lease = "cancelled", "removed", None, None

    def planned(self, matching: set[tuple[int, str]], planned: Sequence[Planned]) -> None:
        """A batch was committed: it owes exactly `matching` (endpoint, event)."""
        self.check(matching, {(it.endpoint_key, it.event_id) for it in planned}, "planned")
        for it in planned:
            twins = [debt for debt in self._owed_to(it.endpoint_key) if debt.event_id == it.event_id]
            if twins:
                self.check((twins[0].id, twins[0].body), (it.id, it.body), f"{it.event_id} planned again")
            else:
                self._add(it, it.execution_id)

    def _add(self, it: Planned, subject: str) -> None:
        order = {"none": None, "execution": subject, "strict": ""}[self.endpoints[it.endpoint_key].ordering]
        waits = any(debt.is_open for debt in self._of_order(it.endpoint_key, order))
        place, due_us = len(self.debts), None if waits else it.due_us
        self.debts[it.id] = Debt(it.id, it.endpoint_key, it.event_id, it.event_type, it.body, order, place, due_us)

    def retried(self, id_: str, now_us: int) -> None:
        """Somebody wants it once more, with a schedule of its own; where an order is kept, when its turn comes."""
        debt = self.debts[id_]
        if debt.state not in ("leased", "cancelled"):
            debt.state, debt.reason, debt.trigger, debt.step, debt.first_us = "pending", None, "retry", 0, None
            debt.due_us = now_us if debt.order is None else None
            for later in self._of_order(debt.endpoint_key, debt.order):
                self._stand_back(later)
            self._wake(debt, now_us)

    def cancelled(self, id_: str, now_us: int) -> None:
        """Somebody wants it no more."""
        debt = self.debts[id_]
        if debt.is_open or debt.state == "held":
            debt.state, debt.reason, debt.due_us, debt.lease = "cancelled", "asked", None, None
            self._wake(debt, now_us)

    def set_back(self, by_us: int) -> None:
        """A deliverer saw the clock set back: nothing takes longer for that."""
        for debt in self.debts.values():
            if debt.is_open:
                debt.due_us = None if debt.due_us is None else debt.due_us - by_us
                debt.lease_until_us -= by_us
        for way in self.ways.values():
            way.blocked_us -= by_us
            way.failing_us = None if way.failing_us is None else way.failing_us - by_us
            way.answers = [(at_us - by_us, ok) for at_us, ok in way.answers]
        # Of several deliverers one makes up for it, perhaps after another has gone by the new time already.
        self.clock_was_set()

    def clock_was_set(self) -> None:
        """Rates cannot be judged over it."""
        for way in self.ways.values():
            way.begun_s = [None]

    # --- claims ------------------------------------------------------------------------------------------------------

    def taken_back(self, is_so: Callable[[Debt], bool]) -> None:
        """Leases ended without us."""
        for debt in self.debts.values():
            if debt.state == "leased" and is_so(debt):
                self.tallies["interrupted"] += 1
                debt.state, debt.lease = "pending", None
                debt.attempts[-1] = (None, "interrupted")
                self._stand_back(debt)

    def claimed(self, found: Sequence[Claimed], now_us: int, now_s: float, until_us: int) -> None:
        """A deliverer took these."""
        self.taken_back(lambda debt: debt.lease_until_us <= now_us)
        probed = {key for key, way in self.ways.items() if way.is_open}
        for it in found:
            debt = self.debts.get(it.id)
            if debt is None:
                self.complain(f"{it.id} is claimed, nobody knows why")
                continue
            self._check_claim(debt, it, now_us, now_s)
            self.check(it.endpoint.key in probed, it.is_probe, f"{it.id} probes")
            self.tallies["claimed"] += 1
            self.tallies["probes"] += it.is_probe
            debt.first_us = now_us if debt.first_us is None else debt.first_us
            self.check(debt.first_us, it.first_us, f"{it.id} first attempt")
            debt.state, debt.lease, debt.lease_until_us = "leased", it.lease, until_us
            debt.attempts.append(None)
            self.ways[it.endpoint.key].begun_s.append(now_s)

    def _check_claim(self, debt: Debt, it: Claimed, now_us: int, now_s: float) -> None:
        is_due = debt.due_us is not None and debt.due_us <= now_us
        self.check(("pending", True), (debt.state, is_due), f"{it.id} claimed while")
        said = (it.n, it.step, it.trigger, it.body, it.endpoint)
        should = (len(debt.attempts) + 1, debt.step, debt.trigger, debt.body, self.endpoints.get(debt.endpoint_key))
        self.check(should, said, f"{it.id} claimed as")
        self.check([], [earlier.id for earlier in self._before(debt)], f"{it.id} overtook")
        if not self._room(it.endpoint.key, now_us, now_s):
            self.complain(f"{it.id} claimed without room: {self.ways[it.endpoint.key]}")

    def _room(self, key: int, now_us: int, now_s: float) -> bool:
        """Whether one more send may begin."""
        endpoint, way = self.endpoints[key], self.ways[key]
        in_flight = sum(debt.state == "leased" for debt in self._owed_to(key))
        if endpoint.status != "active" or way.blocked_us > now_us:
            return False
        if way.is_open:
            return in_flight == 0
        return in_flight < min(endpoint.max_in_flight, way.ramp or 99) and self._is_within_rate(key, now_s)

    def _is_within_rate(self, key: int, now_s: float) -> bool:
        """In no span of time more than a burst, and what the rate gives in it."""
        rate, begun_s = self.endpoints[key].rate, self.ways[key].begun_s
        if rate is None:
            return True
        since_s = [at_s for at_s in begun_s if at_s is not None]
        return all(
            len(since_s) - at + 1 <= rate.burst + rate.per_s * (now_s - first_s) + 0.01
            for at, first_s in enumerate(since_s)
        )

    # --- ends --------------------------------------------------------------------------------------------------------

    def finished(self, outcomes: Sequence[Outcome], held: set[int], keys: dict[str, int]) -> None:
        """A deliverer recorded these; `held` are the keys whose lease held, `keys` are those of deliveries."""
        ids = {key: id_ for id_, key in keys.items()}
        holding, counting = set[int](), dict[int, list[tuple[Debt, Outcome, Next]]]()
        for it in outcomes:
            debt = self.debts[ids[it.key]]
            claimed, answer = self.sends[debt.id, it.n]
            if answer is None:
                self.complain(f"{debt.id} ended without an answer")
                continue
            has_lease = debt.state == "leased" and debt.lease == it.lease
            self.recorded.add((debt.id, it.n))
            follows = self._next(claimed, answer, it)
            debt.attempts[it.n - 1] = (answer.status, follows.error)
            if has_lease:
                holding.add(it.key)
                self._check_outcome(debt, it, follows)
                counting.setdefault(debt.endpoint_key, []).append((debt, it, follows))
            else:
                self.tallies["late ends"] += 1
        self.check(holding, held, "leases that held")
        for key, ends in counting.items():
            for debt, it, follows in ends:
                self._end(debt, it, follows)
            self._move_way(key, ends)

    def _check_outcome(self, debt: Debt, it: Outcome, follows: Next) -> None:
        said = (it.state, it.reason, it.error, it.step)
        self.check(follows[:4], said, f"attempt {it.n} of {debt.id} ends as")
        earliest_us, latest_us = follows.due_us or (0, -1)
        if (it.due_us is not None) != (follows.due_us is not None) or (
            it.due_us is not None and not earliest_us <= it.due_us <= latest_us
        ):
            self.complain(f"attempt {it.n} of {debt.id} is repeated at {it.due_us}, not within {follows.due_us}")

    def _end(self, debt: Debt, it: Outcome, follows: Next) -> None:
        debt.state, debt.reason, debt.step, debt.lease = follows.state, follows.reason, follows.step, None
        debt.due_us = it.due_us
        if debt.state == "pending":
            self._stand_back(debt)
        else:
            self._wake(debt, it.finished_us)
        endpoint = self.endpoints[debt.endpoint_key]
        if follows.reason in ("exhausted", "expired", "halted"):
            self._expect(endpoint, "delivery.exhausted", debt.id, follows.reason)
        if debt.state == "delivered" and debt.trigger == "retry":
            self._expect(endpoint, "delivery.recovered", debt.id, None)

    def _next(self, claimed: Claimed, answer: Answer, it: Outcome) -> Next:
        """What follows the answer."""
        endpoint, status, step, ended_us = claimed.endpoint, answer.status, claimed.step, it.finished_us
        word = answer.control if endpoint.obeys_receiver and status is not None else None
        error = answer.failure or error_of(status)
        if error is None:
            return Next("delivered", None, None, step, None, "succeeded", 0, "receiver" if word == "disable" else None)
        if error == "gone" or word == "disable":
            why = ("gone", "gone") if error == "gone" else ("disabled", "receiver")
            return Next("pending", None, why[0], step, (ended_us, ended_us), "failed", 0, why[1])
        if word == "abort-message":
            return Next("failed", "aborted", "aborted", step)
        if status in endpoint.give_up_on:
            return Next("failed", "given_up", error, step)
        kind = "rests" if error in RESTS_S else "failed"
        asked_s = int(answer.retry_after) if answer.retry_after and answer.retry_after.isdigit() else 0
        asked_s = asked_s or RESTS_S.get(error, 0)
        asked_us = ended_us + asked_s * S if asked_s else 0
        delays_s = SCHEDULE_S if endpoint.retry_delays_s is None else endpoint.retry_delays_s
        step += not claimed.is_probe
        is_exhausted = step > len(delays_s)
        delay_us = 0 if claimed.is_probe or is_exhausted else delays_s[step - 1] * S
        earliest_us, latest_us = (max(asked_us, ended_us + round(delay_us * share)) for share in (0.8, 1.2))
        ends_us = claimed.first_us + EXPIRES_US
        is_late = earliest_us >= ends_us or (latest_us >= ends_us and it.due_us is None)
        if not is_exhausted and not is_late:
            return Next("pending", None, error, step, (earliest_us, latest_us), kind, asked_us)
        if endpoint.ordering != "none" and endpoint.on_exhausted == "halt":
            return Next("pending", "halted", error, step, None, kind, asked_us)
        return Next("failed", "exhausted" if is_exhausted else "expired", error, step, None, kind, asked_us)

    def _move_way(self, key: int, ends: Iterable[tuple[Debt, Outcome, Next]]) -> None:
        """Let the receiver's answers open and close its breaker, and warn its owner."""
        endpoint, way = self.endpoints[key], self.ways[key]
        disables = None
        for debt, it, follows in ends:
            claimed, _ = self.sends[debt.id, it.n]
            if claimed.endpoint.url != endpoint.url:
                continue  # another receiver's
            disables = disables or follows.disables
            if follows.kind == "succeeded":
                self._succeed(way, endpoint, it.finished_us)
            elif follows.kind == "rests":
                way.blocked_us = max(way.blocked_us, follows.asked_us)
            elif follows.kind == "failed":
                way.blocked_us = max(way.blocked_us, follows.asked_us)
                disables = disables or self._fail(way, endpoint, it.finished_us, is_probe=claimed.is_probe)
        if disables is not None and endpoint.status != "disabled":
            self.tallies["disabled"] += 1
            self.endpoints[key] = msgspec.structs.replace(endpoint, status="disabled", reason=disables)
            self._expect(endpoint, "endpoint.disabled", None, disables)

    def _succeed(self, way: Way, endpoint: Endpoint, at_us: int) -> None:
        if way.warned:
            self._expect(endpoint, "endpoint.recovered", None, None)
        allowed = 1 if way.is_open else (way.ramp or endpoint.max_in_flight) * 2
        way.ramp = allowed if allowed < endpoint.max_in_flight else None
        self.tallies["closed"] += way.is_open
        way.is_open, way.failed_probes, way.failures, way.failing_us, way.warned = False, 0, 0, None, 0
        way.answers.append((at_us, True))
        if all(ok for _, ok in way.answers[-20:]):
            way.answers = []  # counted from a failure on

    def _fail(self, way: Way, endpoint: Endpoint, at_us: int, *, is_probe: bool) -> str | None:
        """Why the endpoint is disabled, if it is."""
        way.failures += 1
        way.failing_us = at_us if way.failing_us is None else way.failing_us
        failing_s = (at_us - way.failing_us) / S
        is_hopeless = failing_s >= 5 * DAY and way.failures >= 20
        reached = max((percent for percent, after_s in WARNINGS.items() if failing_s >= after_s), default=0)
        if reached > way.warned:
            way.warned = reached
            if not is_hopeless:
                self._expect(endpoint, "endpoint.failing", reached, None)
        way.answers.append((at_us, False))
        if is_probe if way.is_open else _breaks(way.answers):
            self.tallies["opened"] += not way.is_open
            way.failed_probes = way.failed_probes + 1 if way.is_open else 0
            pause_s = PAUSES_S[min(way.failed_probes, len(PAUSES_S) - 1)]
            way.is_open, way.ramp, way.answers = True, None, []
            way.blocked_us = max(way.blocked_us, at_us + pause_s * S)
        return "failing" if is_hopeless else None

    def _wake(self, ended: Debt, now_us: int) -> None:
        """The next of its order goes on."""
        if ended.order is None:
            return
        waiting = [debt for debt in self._of_order(ended.endpoint_key, ended.order) if debt.is_open]
        first = min(waiting, key=lambda debt: debt.place, default=None)
        if first is not None and (first.state, first.due_us, first.reason) == ("pending", None, None):
            first.due_us = now_us

    def _before(self, debt: Debt) -> list[Debt]:
        """Those of its order that it waits for."""
        of_order = self._of_order(debt.endpoint_key, debt.order)
        return [earlier for earlier in of_order if earlier.is_open and earlier.place < debt.place]

    def _stand_back(self, debt: Debt) -> None:
        """It waits for its turn: somebody may have wanted an earlier one of its order once more."""
        if debt.state == "pending" and self._before(debt):
            debt.due_us = None

    # --- operator events ---------------------------------------------------------------------------------------------

    def _expect(self, about: Endpoint, type_: str, what: str | int | None, reason: str | None) -> None:
        """It is to be told to whoever wants it, unless it is about one that hears such events itself."""
        if not _hears(about, ("endpoint.*", "delivery.*")):
            for hearer in self.endpoints.values():
                if _hears(hearer, (f"{type_.partition('.')[0]}.*",)):
                    self._expected[Told(hearer.key, type_, about.id, what, reason)] += 1

    def owed(self, planned: Iterable[Planned]) -> None:
        """A transaction owes these operator events."""
        for it in planned:
            data = msgspec.json.decode(it.body)["data"]
            what = data.get("deliveryId", data.get("percent"))
            self._told[Told(it.endpoint_key, it.event_type, data["webhookId"], what, data.get("reason"))] += 1
            # Of a webhook's troubles it hears in order, as of an execution's.
            self._add(it, data["webhookId"])

    def settled(self) -> None:
        """A transaction ends: what changed was told in it, and nothing else."""
        self.check(dict(self._expected), dict(self._told), "operator events")
        self.tallies["operator events"] += self._told.total()
        self._expected, self._told = Counter(), Counter()

    # --- waiting -----------------------------------------------------------------------------------------------------

    def rested(self, now_us: int, now_s: float, patience_s: float) -> None:
        """Time passes, though somebody could send: no lane may wait for longer than `patience_s`."""
        neglected = {key for key in self.endpoints if self._could_go_on(key, now_us, now_s)}
        neglected |= {
            it.endpoint_key for it in self.debts.values() if it.state == "leased" and it.lease_until_us < now_us
        }
        self._neglected = {key: self._neglected.get(key, now_s) for key in neglected}
        for key, since_s in self._neglected.items():
            if now_s - since_s > patience_s:
                due = [it.id for it in self._owed_to(key) if it.state == "pending" and (it.due_us or now_us) < now_us]
                self.complain(f"lane {key} waits from {since_s:.3f} to {now_s:.3f} for nothing: {', '.join(due)}")
                self._neglected = {}
                return

    def nobody_could_send(self) -> None:
        """Time passes, and nobody has room."""
        self._neglected = {}

    def _could_go_on(self, key: int, now_us: int, now_s: float) -> bool:
        is_due = any(
            it.state == "pending" and it.due_us is not None and it.due_us <= now_us for it in self._owed_to(key)
        )
        return is_due and self._room(key, now_us, now_s) and self._surely_within_rate(key, now_s)

    def _surely_within_rate(self, key: int, now_s: float) -> bool:
        """Whether the bucket holds a token, whatever was before the rate changed; probes may have borrowed some."""
        rate, begun_s = self.endpoints[key].rate, self.ways[key].begun_s
        if rate is None:
            return True
        last_s = begun_s[-1] if begun_s else None
        return now_s - (last_s or 0.0) > 3 / rate.per_s

    def next_due_us(self) -> int | None:
        """When the next delivery is due that nothing but time keeps; None = all others wait for somebody."""
        due_us = (
            max(debt.due_us, self.ways[debt.endpoint_key].blocked_us)
            for debt in self.debts.values()
            if debt.state == "pending" and debt.due_us is not None and self._is_active(debt)
        )
        ends_us = (debt.lease_until_us for debt in self.debts.values() if debt.state == "leased")
        return min((*due_us, *ends_us), default=None)

    # --- the end -----------------------------------------------------------------------------------------------------

    def judge(self, rows: Iterable[tuple[DeliveryRow, Sequence[AttemptRow]]], endpoints: Iterable[Endpoint]) -> None:
        """Compare what is stored in the end with what should be."""
        statuses = {key: (it.status, it.reason) for key, it in self.endpoints.items()}
        self.check(statuses, {it.key: (it.status, it.reason) for it in endpoints}, "endpoints")
        found = set()
        for row, attempts in rows:
            found.add(row.id)
            debt = self.debts.get(row.id)
            if debt is None:
                self.complain(f"{row.id} is owed, nobody knows why")
                continue
            should = (debt.state, debt.reason, debt.trigger, debt.step, debt.due_us, len(debt.attempts), debt.body)
            self.check(should, (*row[7:10], row.step, row.due_us, row.attempts, row.body), f"{row.id} stands at")
            self.check(debt.attempts, [ended(attempt) for attempt in attempts], f"attempts of {row.id}")
        self.check(set(self.debts), found, "deliveries")
        for debt in self.debts.values():
            self.tallies[f"ends {debt.reason or debt.state}"] += 1
            if debt.is_open and not self._is_explained(debt):
                self.complain(f"{debt.id} is left: {debt}")

    def _is_explained(self, debt: Debt) -> bool:
        """Whether somebody has to act before this one can go on."""
        if not self._is_active(debt) or debt.reason == "halted":
            return True
        return debt.due_us is None and any(earlier.reason == "halted" for earlier in self._before(debt))

    def _is_active(self, debt: Debt) -> bool:
        endpoint = self.endpoints.get(debt.endpoint_key)
        return endpoint is not None and endpoint.status == "active"

    def _owed_to(self, key: int) -> Iterator[Debt]:
        return (debt for debt in self.debts.values() if debt.endpoint_key == key)

    def _of_order(self, key: int, order: str | None) -> Iterator[Debt]:
        return (debt for debt in self._owed_to(key) if order is not None and debt.order == order)


def error_of(status: int | None) -> str | None:
    """The word for a status; None for one that accepts."""
    assert status is not None
    words = {410: "gone", 429: "throttled"}
    return None if 200 <= status < 300 else words.get(status, "redirect" if 300 <= status < 400 else "status")


def ended(attempt: AttemptRow) -> tuple[int | None, str | None] | None:
    """How a stored attempt ended."""
    return None if attempt.finished_us is None else (attempt.status, attempt.error)


def _breaks(answers: Sequence[tuple[int, bool]]) -> bool:
    """Five failures in a row, or half of twenty within a minute."""
    last, latest = answers[-20:], answers[-5:]
    if len(latest) == 5 and not any(ok for _, ok in latest):
        return True
    return len(last) == 20 and last[-1][0] - last[0][0] <= 60 * S and sum(ok for _, ok in last) <= 10


def _hears(endpoint: Endpoint, names: Iterable[str]) -> bool:
    return not set(names).isdisjoint(endpoint.events)
