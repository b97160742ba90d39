"""The judge of the soak: it finds nothing in what a faultless service says, and something in every fault."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from monitor.clock import SystemClock
from monitor.events.position import Position, beginning
from monitor.journal import MemoryJournal
from tests.support.soak.client import Client, Seen
from tests.support.soak.diary import Shown, Stretch
from tests.support.soak.judgement import Judge
from tests.support.soak.telling import WORKFLOWS, Told, batches
from tests.support.soak.truth import Fact, Truth, read_truth
from tests.support.soak.wanted import Wanted

EVENTS = 8000
"""Enough that some executions end in two ways, of which the service draws its conclusions."""
HREF = "/v1/executions/some/logs"


class Case(NamedTuple):
    """A client that got everything, in three stretches; before the last a loss was announced and a snapshot shown."""

    client: Client
    truth: Truth
    lines_at: dict[str, set[int]]
    answers: dict[str, dict[str, Any]]

    def complaints(self, told: Told, end: Position) -> list[str]:
        judge = Judge(self.truth, _position_in, lines_at=self.lines_at, answers=self.answers, end=end)
        return judge.judge(self.client).complaints

    @property
    def stretches(self) -> list[Stretch]:
        return self.client.diary.stretches


World = tuple[Told, Truth, Position]


@pytest.fixture(scope="module")
def world() -> World:
    """What was told, what is true, and where the journal of two partitions ends."""
    return asyncio.run(_told_and_true())


async def _told_and_true() -> World:
    told, journal = Told(), MemoryJournal(2, clock=SystemClock())
    for batch in batches(1, told, EVENTS):
        await journal.append(batch)
    truth = await read_truth(journal, told)
    return told, truth, truth.end_of(told.count, journal.incarnation, 2)


@pytest.mark.parametrize("events", [("*",), None])
def test_faultless_service_is_not_complained_of(world: World, events: tuple[str, ...] | None) -> None:
    """Everything came that was due, or was announced to be left out."""
    told, truth, end = world
    assert _faultless(*world, events=events).complaints(told, end) == []
    assert truth.never_stored == []


def test_reader_of_some_types_is_judged_by_those(world: World) -> None:
    """It cannot know of what it does not want, but of everything else."""
    told, _, end = world
    case = _faultless(*world, events=None)
    _show_another_state(case)
    assert len(case.complaints(told, end)) == 1


def _lose_an_event(case: Case) -> None:
    _remove(case.stretches[0], _number_of(case, 0, "lifecycle"))


def _lose_an_event_between_stretches(case: Case) -> None:
    middle = case.stretches[1]
    begin = _position_in(middle.begins)
    case.stretches[1] = replace(middle, begins=_token(begin._replace(offsets=tuple(n + 1 for n in begin.offsets))))


def _repeat_an_event(case: Case) -> None:
    first = case.stretches[0]
    first.events.append(first.events[0])
    first.versions.append(first.versions[0])


def _repeat_an_event_in_the_next_stretch(case: Case) -> None:
    first, second = case.stretches[:2]
    second.events.insert(0, first.events[-1])
    second.versions.insert(0, first.versions[-1])


def _swap_two_events(case: Case) -> None:
    numbers = [number for number in case.stretches[0].events if case.truth.facts[number].partition == 0]
    one, other = (case.stretches[0].events.index(number) for number in numbers[:2])
    for kept in (case.stretches[0].events, case.stretches[0].versions):
        kept[one], kept[other] = kept[other], kept[one]


def _tell_another_version(case: Case) -> None:
    case.stretches[0].versions[3] += 1


def _send_what_nobody_wants(case: Case) -> None:
    stranger = next(n for n, fact in case.truth.facts.items() if fact.workflow not in case.client.wanted.workflows)
    case.stretches[0].events.append(stranger)
    case.stretches[0].versions.append(1)


def _go_back(case: Case) -> None:
    case.stretches[1].loss = "stream.reset"
    case.stretches[1].begins = case.stretches[0].begins


def _claim_the_future(case: Case) -> None:
    case.stretches[2].told = 0


def _lose_the_latest_progress(case: Case) -> None:
    _remove(case.stretches[2], max(n for n in case.stretches[2].events if _class_of(case, n) == "progress"))


def _lose_a_conclusion(case: Case) -> None:
    next(stretch for stretch in case.stretches if stretch.derived).derived.pop()


def _repeat_a_conclusion(case: Case) -> None:
    stretch = next(stretch for stretch in case.stretches if stretch.derived)
    stretch.derived.append(stretch.derived[0])


def _lose_a_line(case: Case) -> None:
    case.stretches[0].lines.pop()


def _repeat_a_line(case: Case) -> None:
    case.stretches[0].lines.append(case.stretches[0].lines[-1])


def _answer_without_a_line(case: Case) -> None:
    case.lines_at[HREF].pop()


def _announce_too_few_lines(case: Case) -> None:
    case.client.diary.gaps[HREF] -= 1


def _show_an_old_row(case: Case) -> None:
    shown = case.stretches[2].shown
    assert shown is not None
    name, version = next(iter(shown.rows.items()))
    case.stretches[2].shown = shown._replace(rows={**shown.rows, name: version - 1})


def _show_a_row_too_few(case: Case) -> None:
    shown = case.stretches[2].shown
    assert shown is not None
    case.stretches[2].shown = shown._replace(rows=dict(list(shown.rows.items())[1:]))


def _stop_early(case: Case) -> None:
    case.stretches.pop()


def _show_another_state(case: Case) -> None:
    name, seen = next(iter(case.client.view.items()))
    case.client.view[name] = seen._replace(state={**seen.state, "status": "unheard of"})


def _complain_itself(case: Case) -> None:
    case.client.diary.complaints.append("a frame that nobody knows")


FAULTS: tuple[Callable[[Case], None], ...] = (
    *(_lose_an_event, _lose_an_event_between_stretches, _repeat_an_event, _repeat_an_event_in_the_next_stretch),
    *(_swap_two_events, _tell_another_version, _send_what_nobody_wants, _go_back, _claim_the_future),
    *(_lose_the_latest_progress, _lose_a_conclusion, _repeat_a_conclusion, _lose_a_line, _repeat_a_line),
    *(_answer_without_a_line, _announce_too_few_lines, _show_an_old_row, _show_a_row_too_few, _stop_early),
    *(_show_another_state, _complain_itself),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_every_fault_is_complained_of(world: World, fault: Callable[[Case], None]) -> None:
    """One thing is wrong in what a client was told, and the judge says so."""
    told, _, end = world
    case = _faultless(*world)
    fault(case)
    assert case.complaints(told, end) != []


# --- what a faultless service says -----------------------------------------------------------------------------------


def _faultless(told: Told, truth: Truth, end: Position, events: tuple[str, ...] | None = ("*",)) -> Case:
    """A client that wants everything of some workflows, or some types, and gets it."""
    wanted = Wanted(frozenset(WORKFLOWS[:60]), events)
    client = Client("reader", _unreachable, wanted, None, told=told, chance=None)  # type: ignore[arg-type]
    start = beginning(end.incarnation, len(end.offsets))
    marks = [start, *(Position(end.incarnation, tuple(n * tenths // 10 for n in end.offsets)) for tenths in (3, 6, 7))]
    left_out: set[int] = set()
    for begin, stop, loss in ((marks[0], marks[1], None), (marks[1], marks[2], None), (marks[3], end, "stream.gap")):
        stretch = Stretch(wanted, _token(begin), told.count, loss, ends=_token(stop))
        due = [fact for workflow in wanted.workflows for fact in truth.between(workflow, begin, stop)]
        for fact in sorted(due, key=lambda fact: fact.offset):
            if wanted.takes(fact.type, fact.status):
                _tell(stretch, fact, truth, left_out)
        client.diary.stretches.append(stretch)
    client.diary.stretches[2].shown = _snapshot(truth, wanted, marks[3])
    client.diary.gaps[HREF] = len(left_out)
    answers = _answered(truth, wanted, end)
    for name, answer in answers.items():
        state = {"status": answer["status"], "progress": answer["progress"]}
        client.view[name] = Seen(answer["version"], "wf_1", state)
    return Case(client, truth, {HREF: left_out}, answers)


def _tell(stretch: Stretch, fact: Fact, truth: Truth, left_out: set[int]) -> None:
    """All but the lines of every other log event."""
    if fact.number is None:
        stretch.derived.append(fact.id)
        return
    if fact.stream_class == "log" and fact.offset % 2:
        left_out |= set(truth.lines_of(fact))
        return
    stretch.lines.extend(truth.lines_of(fact))
    stretch.events.append(fact.number)
    stretch.versions.append(fact.version)


def _snapshot(truth: Truth, wanted: Wanted, at: Position) -> Shown:
    names = {name for workflow in wanted.workflows for name in truth.in_flight(workflow, at)}
    rows = {name: fact.version for name in sorted(names) if (fact := truth.at(name, at)) is not None}
    return Shown(rows, is_cut=True, is_active=True)


def _answered(truth: Truth, wanted: Wanted, end: Position) -> dict[str, dict[str, Any]]:
    latest = {fact.execution_id: fact for fact in truth.facts.values() if fact.workflow in wanted.workflows}
    return {
        name: {"status": fact.status, "progress": {}, "version": fact.version}
        for name in latest
        if (fact := truth.at(name, end)) is not None
    }


def _token(position: Position) -> str:
    return ".".join((position.incarnation, *map(str, position.offsets)))


def _position_in(said: str) -> Position:
    incarnation, *offsets = said.split(".")
    return Position(incarnation, tuple(map(int, offsets)))


def _class_of(case: Case, number: int) -> str:
    return case.truth.facts[number].stream_class


def _number_of(case: Case, stretch: int, stream_class: str) -> int:
    return next(number for number in case.stretches[stretch].events if _class_of(case, number) == stream_class)


def _remove(stretch: Stretch, number: int) -> None:
    at = stretch.events.index(number)
    del stretch.events[at], stretch.versions[at]


async def _unreachable(client: Client) -> None:
    raise OSError
