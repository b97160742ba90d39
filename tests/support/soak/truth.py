"""What really happened, read from the journal after the soak: every event once, in order, with the state behind it.

The journal is folded anew; nothing here comes from the streams that are judged.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from monitor.access.teams import team_rule
from monitor.events.codec import decode
from monitor.events.position import Position
from monitor.events.types import DERIVED, TYPES, Class
from monitor.journal.base import Journal
from monitor.projections.execution import Execution
from monitor.projections.fold import ExecutionId, Release, fold
from monitor.projections.status import IN_FLIGHT
from tests.support.soak.telling import Told, numbered
from tests.support.soak.wanted import Wanted

_PAGE: Final = 2000
"""Records that are folded in one go."""


class Fact(NamedTuple):
    """An event, and its execution behind it."""

    execution_id: str
    workflow: str
    type: str
    partition: int
    offset: int
    status: str
    version: int
    # What of several reports outdo each other.
    node_id: str | None
    # Its number; None = the service concluded it.
    number: int | None
    id: str

    @property
    def stream_class(self) -> Class:
        """How streams may treat it."""
        return TYPES[self.type].stream_class


class Truth:
    """Everything that the journal holds."""

    def __init__(self, facts: Iterable[Fact], told: Told) -> None:
        self.facts: dict[int, Fact] = {}
        """By number."""
        self.derived: dict[str, Fact] = {}
        """By id."""
        self._told = told
        self._of_execution: dict[str, list[Fact]] = defaultdict(list)
        self._of_workflow: dict[tuple[str, int], list[Fact]] = defaultdict(list)
        for fact in facts:
            self._add(fact)

    @property
    def never_stored(self) -> list[str]:
        """Events that were acknowledged, and are not in the journal."""
        return [event_id for event_id, number in self._told.numbers.items() if number not in self.facts]

    def between(self, workflow: str, begin: Position, end: Position) -> Iterator[Fact]:
        """The facts of a workflow in the records that `end` covers and `begin` does not, in order."""
        for partition, (first, next_) in enumerate(zip(begin.offsets, end.offsets, strict=True)):
            facts = self._of_workflow[workflow, partition]
            yield from facts[bisect_left(facts, first, key=_offset) : bisect_left(facts, next_, key=_offset)]

    def lines_of(self, fact: Fact) -> Iterator[int]:
        """The numbers of its log lines."""
        if fact.stream_class == "log" and fact.number is not None:
            yield from (numbered(fact.number, place) for place in range(self._told.lines[fact.number]))

    def at(self, execution_id: str, position: Position) -> Fact | None:
        """The last fact of an execution that `position` covers."""
        facts = self._of_execution.get(execution_id, [])
        before = bisect_left(facts, position.offsets[facts[0].partition], key=_offset) if facts else 0
        return facts[before - 1] if before else None

    def latest(self, execution_id: str, wanted: Wanted) -> Fact | None:
        """The last fact of an execution that is wanted."""
        facts = self._of_execution.get(execution_id, [])
        return next((fact for fact in reversed(facts) if wanted.takes(fact.type, fact.status)), None)

    def in_flight(self, workflow: str, position: Position) -> set[str]:
        """The executions of a workflow that are not over at `position`."""
        ids = {fact.execution_id for fact in self.between(workflow, _nothing(position), position)}
        return {name for name in ids if (last := self.at(name, position)) is not None and last.status in IN_FLIGHT}

    def end_of(self, told: int, incarnation: str, partitions: int) -> Position:
        """The position that covers the first `told` events, as far as they are there."""
        offsets = [0] * partitions
        for fact in (self.facts[number] for number in range(told) if number in self.facts):
            offsets[fact.partition] = max(offsets[fact.partition], fact.offset + 1)
        return Position(incarnation, tuple(offsets))

    def _add(self, fact: Fact) -> None:
        if fact.number is None:
            self.derived[fact.id] = fact
        else:
            self.facts[fact.number] = fact
        self._of_execution[fact.execution_id].append(fact)
        self._of_workflow[fact.workflow, fact.partition].append(fact)


async def read_truth(journal: Journal, told: Told) -> Truth:
    """Fold the journal from its beginning."""
    team_of, executions = team_rule(exclusive=journal.exclusive, trust_body=False), _Executions()
    facts: list[Fact] = []
    for partition, held in (await journal.bounds()).items():
        offset = held.start
        while offset < held.end:
            records = await journal.read(partition, offset, held.end, _PAGE)
            events = [decode(record, team_of) for record in records]
            facts += [_fact(release, told) for release in fold(events, executions).releases]
            offset = records[-1].offset + 1
    return Truth(facts, told)


class _Executions(dict[ExecutionId, Execution]):
    """Each as nothing is known of it, before the first event names it."""

    def __missing__(self, id_: ExecutionId) -> Execution:
        self[id_] = Execution(*id_)
        return self[id_]


def _fact(release: Release, told: Told) -> Fact:
    event, record = release.event, release.event.record
    number = None if event.type in DERIVED else told.numbers[event.id]
    return Fact(
        event.execution_id,
        release.workflow_id,
        event.type,
        record.partition,
        record.offset,
        release.status,
        release.version,
        event.data.get("nodeId"),
        number,
        event.id,
    )


def _offset(fact: Fact) -> int:
    return fact.offset


def _nothing(position: Position) -> Position:
    return Position(position.incarnation, (0,) * len(position.offsets))
