"""Holds what a client was told against what happened: each event is counted, and what is wrong is complained of.

Pure. Positions are opened, so that a promise is taken by its word: everything wanted in the records between where a
stretch began and where it ended must have come, in order and once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Self

from monitor.events.position import Position
from tests.support.soak.client import Client, Seen
from tests.support.soak.diary import Shown, Stretch
from tests.support.soak.telling import event_of
from tests.support.soak.truth import Fact, Truth
from tests.support.soak.wanted import Wanted

Open = Callable[[str], Position]

Read = tuple[Stretch, Sequence[Fact]]
"""A stretch, and what was due in it."""

_LOOKED_AT: Final = 20
"""Of the events that were told after a stretch began: enough to meet every partition."""


@dataclass(slots=True)
class Verdict:
    """What was counted, and what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Verdict") -> Self:
        self.counts.update(other.counts)
        self.complaints += other.complaints
        return self


class Judge:
    """Judges clients by one truth."""

    def __init__(
        self,
        truth: Truth,
        open_position: Open,
        *,
        lines_at: Mapping[str, Collection[int]],
        answers: Mapping[str, Mapping[str, Any]],
        end: Position,
    ) -> None:
        """`lines_at`: what each address of a log gap returns; `answers`: what REST says of each execution now; `end`:
        what everybody has to have reached.
        """
        self._truth, self._open, self._end = truth, open_position, end
        self._lines_at, self._answers = lines_at, answers

    def judge(self, client: Client) -> Verdict:
        """Everything about one client."""
        diary, verdict = client.diary, Verdict()
        verdict.counts.update(diary.counts)
        faults = [*diary.complaints]
        read = [(stretch, self._facts(stretch)) for stretch in diary.stretches]
        for stretch, facts in read:
            faults += self._faults_of_beginning(stretch)
            faults += self._faults_of_events(stretch, facts, verdict.counts)
            faults += self._faults_of_derived(stretch, facts, verdict.counts)
        for before, after in pairwise(diary.stretches):
            faults += self._faults_between(before, after, verdict.counts)
        faults += self._faults_of_progress(read, verdict.counts)
        faults += self._faults_of_lines(read, diary.gaps, verdict.counts)
        faults += self._faults_of_end(client, verdict.counts)
        verdict.complaints += [f"{client.name}: {fault}" for fault in faults]
        verdict.counts["stretches"] += len(diary.stretches)
        return verdict

    # --- where stretches begin and end -------------------------------------------------------------------------------

    def _faults_between(self, before: Stretch, after: Stretch, counts: Counter[str]) -> Iterator[str]:
        """Where the one ends the other begins, unless a loss was announced."""
        end, begin = self._open(before.ends), self._open(after.begins)
        if after.loss is None and begin != end:
            yield f"went on at {begin.offsets} instead of {end.offsets}, and nobody said so"
        if not begin.includes(end):
            yield f"was put back from {end.offsets} to {begin.offsets}"
        if after.loss is not None:
            lost = [fact for fact in self._wanted(after.wanted, end, begin) if fact.stream_class == "lifecycle"]
            counts["losses announced"] += 1
            counts["lifecycle events lost with announcement"] += len(lost)

    def _faults_of_beginning(self, stretch: Stretch) -> Iterator[str]:
        """Nothing that was told later is claimed to be there already; and a snapshot shows what was then."""
        begin = self._open(stretch.begins)
        for number in range(stretch.told, stretch.told + _LOOKED_AT):
            fact = self._truth.facts.get(number)
            if fact is not None and begin.covers(fact.partition, fact.offset):
                yield f"was told at {begin.offsets} that it has {fact.id}, which nobody had told yet"
        if stretch.shown is not None:
            yield from self._faults_of_snapshot(stretch.wanted, stretch.shown, begin)

    def _faults_of_snapshot(self, wanted: Wanted, shown: Shown, begin: Position) -> Iterator[str]:
        for execution_id, version in shown.rows.items():
            fact = self._truth.at(execution_id, begin)
            then = fact.version if fact is not None else 0
            if version < then or (shown.is_cut and version != then):
                yield f"was shown {execution_id} in version {version}, which was {then} at {begin.offsets}"
        if shown.is_active:
            in_flight = {name for workflow in wanted.workflows for name in self._truth.in_flight(workflow, begin)}
            due = set() if wanted.statuses else in_flight
            if due != shown.rows.keys():
                yield f"was shown {sorted(due ^ shown.rows.keys())} wrongly or not at all"

    # --- what came ---------------------------------------------------------------------------------------------------

    def _wanted(self, wanted: Wanted, begin: Position, end: Position) -> list[Fact]:
        facts = (fact for workflow in sorted(wanted.workflows) for fact in self._truth.between(workflow, begin, end))
        return [fact for fact in facts if wanted.takes(fact.type, fact.status)]

    def _facts(self, stretch: Stretch) -> list[Fact]:
        """What was due."""
        return self._wanted(stretch.wanted, self._open(stretch.begins), self._open(stretch.ends))

    def _faults_of_events(self, stretch: Stretch, facts: Sequence[Fact], counts: Counter[str]) -> Iterator[str]:
        """Each lifecycle event came; nothing came that was not due, out of order or twice."""
        due = {fact.number: fact for fact in facts if fact.number is not None}
        came, latest = set[int](), defaultdict[int, int](lambda: -1)
        for number, version in zip(stretch.events, stretch.versions, strict=True):
            fact = due.get(number)
            if fact is None:
                yield f"got {self._truth.facts[number]}, which was not due between {self._range(stretch)}"
                continue
            if number in came:
                yield f"got {fact.id} twice"
            elif fact.offset < latest[fact.partition]:
                yield f"got {fact.id} out of order"
            if version != fact.version:
                yield f"got {fact.id} as version {version} instead of {fact.version}"
            latest[fact.partition] = fact.offset
            came.add(number)
            counts[f"{fact.stream_class} frames"] += 1
        for number, fact in due.items():
            if fact.stream_class == "lifecycle" and number not in came:
                yield f"missed {fact} between {self._range(stretch)}"

    def _faults_of_derived(self, stretch: Stretch, facts: Sequence[Fact], counts: Counter[str]) -> Iterator[str]:
        """What the service concluded came as well; again only with its cause, if the connection was cut between."""
        due = {fact.id for fact in facts if fact.number is None}
        end = self._open(stretch.ends)
        counts["derived frames"] += len(stretch.derived)
        if missed := due.difference(stretch.derived):
            yield f"missed the conclusions {sorted(missed)}"
        for event_id, times in Counter(stretch.derived).items():
            fact = self._truth.derived[event_id]
            is_cut_off = stretch.is_cut and fact.offset == end.offsets[fact.partition]
            counts["derived frames that will come again"] += is_cut_off
            if times > 1 or not (event_id in due or is_cut_off):
                yield f"got the conclusion {event_id} {times} times, between {self._range(stretch)}"

    def _faults_of_progress(self, read: Sequence[Read], counts: Counter[str]) -> Iterator[str]:
        """Of reports that follow each other the latest came."""
        came = {number for stretch, _ in read for number in stretch.events}
        for facts, is_over in _runs(read):
            latest = _latest_reports(facts, tail=is_over)
            counts["progress reports outdone"] += sum(
                fact.stream_class == "progress" and fact.number not in came for fact in facts
            )
            if missed := [fact.id for fact in latest if fact.number not in came]:
                yield f"missed the latest progress {missed}"

    def _faults_of_lines(self, read: Sequence[Read], gaps: Mapping[str, int], counts: Counter[str]) -> Iterator[str]:
        """Each line came, once and in order, or is found where a gap says."""
        due = {line for _, facts in read for fact in facts for line in self._truth.lines_of(fact)}
        came, latest = set[int](), defaultdict[str, int](lambda: -1)
        for line in (line for stretch, _ in read for line in stretch.lines):
            name = self._truth.facts[event_of(line)].execution_id
            if line in came or line < latest[name]:
                yield f"got line {line} of {name} twice or out of order"
            latest[name] = line
            came.add(line)
        left_out = due - came
        found = {line for href in gaps for line in self._lines_at[href]}
        counts["log lines"] += len(came)
        counts["log lines left out with announcement"] += len(left_out)
        if left_out - found:
            yield f"missed the log lines {sorted(left_out - found)[:5]}"
        if sum(gaps.values()) < len(left_out):
            yield f"{len(left_out)} lines were left out, and {sum(gaps.values())} announced"

    def _faults_of_end(self, client: Client, counts: Counter[str]) -> Iterator[str]:
        """It got to the end, and sees what REST says."""
        last = client.diary.stretches[-1]
        if not self._open(last.ends).includes(self._end):
            yield f"got to {self._open(last.ends).offsets} only"
        if client.wanted.statuses is None:
            counts["executions in view"] += len(client.view)
            for name, seen in client.view.items():
                if not self._agrees(client, name, seen):
                    answer = self._answers[name]
                    yield f"sees {name} as {seen}, and REST says {answer['version']} {answer['status']}"

    def _agrees(self, client: Client, name: str, seen: Seen) -> bool:
        """Whether a client sees what REST says, as far as it wants to know."""
        answer = self._answers[name]
        if client.wanted.is_everything:
            state = {"status": answer["status"], "progress": answer["progress"]}
            # Log lines that were left out raise the version, and nothing else.
            is_latest = seen.version == answer["version"] or bool(client.diary.gaps)
            return seen.state == state and is_latest and seen.version <= answer["version"]
        if seen.state["status"] == answer["status"]:
            return bool(seen.version <= answer["version"])
        # What it does not want may begin a new epoch; the next event that it wants tells.
        latest = self._truth.latest(name, client.wanted)
        return latest is not None and (latest.version, latest.status) == (seen.version, seen.state["status"])

    def _range(self, stretch: Stretch) -> str:
        return f"{self._open(stretch.begins).offsets} and {self._open(stretch.ends).offsets}"


def _runs(read: Sequence[Read]) -> Iterator[tuple[list[Fact], bool]]:
    """The facts of stretches that continue each other under one subscription, and whether the last was read out."""
    run: list[Fact] = []
    for (stretch, facts), after in zip(read, [*(stretch for stretch, _ in read[1:]), None], strict=True):
        run += facts
        if after is None or after.wanted != stretch.wanted or after.loss is not None:
            yield run, after is None or not stretch.is_cut
            run = []


def _latest_reports(facts: Sequence[Fact], *, tail: bool) -> list[Fact]:
    """Progress reports that nothing outdoes: no later one of the same kind before something happens to the execution.

    Without `tail` only those behind which something did happen: a connection that is cut leaves its last reports to the
    next one.
    """
    outdone: dict[str, set[tuple[str, str | None]]] = {}
    found = []
    for fact in reversed(facts):
        if fact.stream_class == "lifecycle":
            outdone[fact.execution_id] = set()
        elif fact.stream_class == "progress" and (tail or fact.execution_id in outdone):
            later = outdone.setdefault(fact.execution_id, set())
            found += [fact] if (fact.type, fact.node_id) not in later else []
            later.add((fact.type, fact.node_id))
    return found
