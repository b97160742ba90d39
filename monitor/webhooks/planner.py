"""HOT PATH: which deliveries a batch owes. The pipeline asks inside the projection's transaction; nothing is sent here.

Promises: an endpoint hears of its own team's events only, of none before its registration, of none that a rebuild folds
again, and of no imported history. Planning the same event twice gives the same delivery ids and the same bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from monitor.events.model import Event
from monitor.events.types import TYPES
from monitor.projections.filter import Filter, matches
from monitor.projections.fold import Release
from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import Endpoint, Ordering
from monitor.webhooks.payload import Bodies


class _Candidate(NamedTuple):
    """An endpoint that may want an event, with what is left of its filter to test."""

    endpoint: Endpoint
    filter: Filter


class _Team:
    """A team's endpoints. One that names its workflows costs nothing to all others; types are looked into when they
    come, since every change of an endpoint makes this anew while events wait.
    """

    __slots__ = ("_by_workflow", "_of_any", "_wanting", "_wanting_of")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._of_any: list[_Candidate] = []
        self._by_workflow: dict[str, list[_Candidate]] = {}
        for endpoint in endpoints:
            workflows, rest = _split(endpoint.filter)
            candidate = _Candidate(endpoint, rest)
            if workflows is None:
                self._of_any.append(candidate)
            for workflow_id in workflows or ():
                self._by_workflow.setdefault(workflow_id, []).append(candidate)
        # Of those that name no workflow, by type, or by wildcard for types outside the catalogue; and of all that may
        # want a workflow that somebody names.
        self._wanting: dict[str, list[_Candidate]] = {}
        self._wanting_of: dict[tuple[str, str], list[_Candidate]] = {}

    def candidates(self, type_: str, workflow_id: str) -> Sequence[_Candidate]:
        """Whoever wants events of this type and may want this workflow's."""
        name = type_ if type_ in TYPES else _wildcard(type_)
        named = self._by_workflow.get(workflow_id)
        if named is None:
            return self._of_any_for(name)
        wanting = self._wanting_of.get((workflow_id, name))
        if wanting is None:
            wanting = self._wanting_of[workflow_id, name] = self._of_any_for(name) + _wanting(name, named)
        return wanting

    def _of_any_for(self, name: str) -> list[_Candidate]:
        wanting = self._wanting.get(name)
        if wanting is None:
            wanting = self._wanting[name] = _wanting(name, self._of_any)
        return wanting


class Planner:
    """Knows every endpoint, also those that are paused: what they are owed waits. Made anew when one changes."""

    def __init__(self, endpoints: Iterable[Endpoint], bodies: Bodies) -> None:
        self._bodies = bodies
        by_team: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            by_team.setdefault(endpoint.team, []).append(endpoint)
        self._teams = {team: _Team(registered) for team, registered in by_team.items()}

    def plan(self, releases: Iterable[Release], planned: Mapping[int, int], now_us: int) -> list[Planned]:
        """What is owed for `releases`, in their order, due at `now_us`.

        Records below `planned`, by partition, were planned before: a rebuild folds them again and owes nothing.
        """
        owed: list[Planned] = []
        if not self._teams:
            return owed
        for release in releases:
            event = release.event
            team = self._teams.get(event.team)
            if team is None or event.backfill or event.record.offset < planned.get(event.record.partition, 0):
                continue
            if candidates := team.candidates(event.type, release.workflow_id):
                self._owe(owed, release, candidates, now_us)
        return owed

    def _owe(self, owed: list[Planned], release: Release, candidates: Sequence[_Candidate], now_us: int) -> None:
        event, record = release.event, release.event.record
        # One for all endpoints, in each of the two forms.
        bodies: dict[str, bytes] = {}
        for endpoint, filter_ in candidates:
            if record.offset < endpoint.since.get(record.partition, 0) or not matches(filter_, release):
                continue
            body = bodies.get(endpoint.payload)
            if body is None:
                body = bodies[endpoint.payload] = self._bodies.of(release, endpoint.payload == "thin")
            id_ = delivery_id(endpoint, release)
            order_key = _ORDER_KEYS[endpoint.ordering](event)
            owed.append(
                Planned(
                    id_, endpoint.key, event.id, event.type, event.team, event.execution_id, body, now_us, order_key
                )
            )


def delivery_id(endpoint: Endpoint, release: Release) -> str:
    """Names what is owed to `endpoint` for this event, whenever it is planned: fit for a header, and nobody's choice.

    Event ids are unique within their execution only, so the execution is part of it.
    """
    event = release.event
    name = f"{endpoint.id}\0{event.execution_id}\0{event.id}"
    return f"msg_{blake2b(name.encode(), digest_size=16).hexdigest()}"


_ORDER_KEYS: Final[Mapping[Ordering, Callable[[Event], str | None]]] = {
    "none": lambda _: None,
    "execution": lambda event: event.execution_id,
    "strict": lambda _: "",
}


def _wanting(name: str, candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Those that asked for a type or wildcard, itself or by a wider one."""
    wanted = {name, _wildcard(name), "*"}
    return [it for it in candidates if not wanted.isdisjoint(it.endpoint.events)]


def _wildcard(name: str) -> str:
    """The narrowest wildcard that covers the type."""
    if name.startswith("execution."):
        return "execution.*"
    return "node.*" if name.startswith("node.") else "*"


def _split(filter_: Filter) -> tuple[set[str] | None, Filter]:
    """The workflows that a filter confines itself to (None: it does not), and its other tests."""
    named = [test for test in filter_.tests if test.field == "workflowId" and test.op == "eq"]
    if not named:
        return None, filter_
    workflows = set.intersection(*({str(value) for value in test.values} for test in named))
    return workflows, Filter(tuple(test for test in filter_.tests if test not in named))
