"""A command is the earliest of what was said of it in each phase, whatever order it came in."""

from itertools import permutations
from typing import Any

import pytest

from monitor.projections.commands import Command, merged
from monitor.projections.fold import Changes
from tests.support.clocks import NOON_US
from tests.support.folding import Run

PHASES = ("requested", "accepted", "refused", "completed", "failed")


def heard(changes: Changes) -> list[Command]:
    """What was heard of commands."""
    return [command for touched in changes.touched.values() for command in touched.commands]


def told(phase: str, second: float, *, source: str = "engine", **data: Any) -> Command:
    """What one event says."""
    [command] = heard(Run().tell(f"command.{phase}", second, source=source, data={"commandId": "cmd_1", **data}))
    return command


@pytest.mark.parametrize(
    ("phases", "state", "ended"),
    [
        (("requested",), "requested", None),
        (("requested", "accepted"), "accepted", None),
        (("requested", "refused"), "refused", 2),
        (("requested", "accepted", "completed"), "completed", 3),
        # What took effect did so, whatever else was said.
        (("requested", "refused", "completed"), "completed", 3),
        (("requested", "accepted", "failed"), "failed", 3),
        # Answers may overtake the request.
        (("accepted",), "accepted", None),
    ],
)
def test_the_state_follows_from_what_was_said(phases: tuple[str, ...], state: str, ended: int | None) -> None:
    """In every order."""
    commands = [told(phase, second) for second, phase in enumerate(phases, 1)]
    for order in permutations(commands):
        found: Command | None = None
        for command in (*order, *order):
            found = merged(found, command)
        assert found is not None
        assert (found.state, found.ended_us) == (state, None if ended is None else NOON_US + ended * 1_000_000)
        assert found.since_us == NOON_US + 1_000_000
        assert found.is_open is (state == "requested")


def test_an_answer_revokes_that_there_was_none() -> None:
    """The monitor gives up waiting; a late answer holds. What an engine itself reports as failed has failed."""
    given_up = merged(told("requested", 1), told("failed", 31, source="monitor", error={"message": "no answer"}))
    assert (given_up.state, given_up.error) == ("failed", {"message": "no answer"})
    late = merged(given_up, told("accepted", 40))
    assert (late.state, late.error, late.answered_us) == ("accepted", None, NOON_US + 40_000_000)
    broken = merged(late, told("failed", 50, error="broken"))
    assert (broken.state, broken.error) == ("failed", {"message": "broken"})


def test_of_each_phase_the_earliest_holds() -> None:
    """Two that ask under one id are one command: the first decides what was asked for."""
    first = told("requested", 1, kind="cancel", actor="ada", args={"reason": "a"})
    second = told("requested", 2, kind="execute", actor="bob", args={"reason": "b"})
    assert merged(first, second) == merged(second, first) == first
    assert (first.told("actor"), first.told("args"), first.told("executionId")) == ("ada", {"reason": "a"}, None)
    assert merged(first, told("accepted", 3, executionId="exec_9")).told("executionId") == "exec_9"


def test_members_of_another_type_say_nothing() -> None:
    """The producer's word is not trusted."""
    command = told("requested", 1, kind=3, actor=[], args="x", error=7)
    assert command.facts["requested"].said == {}


def test_an_execution_that_was_asked_for_in_vain_has_failed() -> None:
    """Provisionally: with the first sign of life it runs, and whoever was told hears so."""
    run = Run()
    run.tell("command.requested", 1, source="monitor", data={"commandId": "c", "kind": "execute"})
    assert run.view.status == "queued"
    said = {"commandId": "c", "kind": "execute", "error": {"type": "CommandRefused", "message": "busy"}}
    run.tell("command.refused", 2, source="monitor", data=said)
    assert (run.view.status, run.view.provisional, run.view.stopped_us) == ("failed", True, NOON_US + 2_000_000)
    assert run.view.error == {"type": "CommandRefused", "message": "busy"}
    changes = run.tell("execution.started", 3)
    assert [release.event.type for release in changes.releases] == ["execution.recovered", "execution.started"]
    assert (run.view.status, run.view.provisional) == ("running", False)
    assert run.view.error is None


def test_a_refused_cancel_says_nothing_about_the_execution() -> None:
    """It goes on waiting."""
    run = Run()
    run.tell("command.refused", 2, data={"commandId": "c", "kind": "cancel"})
    assert (run.view.status, run.view.provisional) == ("queued", False)


def test_a_forced_end_is_an_end() -> None:
    """The monitor's word that a person has decided: nothing revokes it, a differing end is a conflict."""
    run = Run()
    run.tell("execution.started", 1)
    run.tell("execution.cancelled", 5, source="monitor", data={"reason": "nobody knows it"})
    assert (run.view.status, run.view.reason, run.view.provisional) == ("cancelled", "nobody knows it", False)
    assert run.view.stopped_us == NOON_US + 5_000_000
    run.tell("node.started", 6, data={"nodeId": "a"})
    assert run.view.status == "cancelled"
    changes = run.tell("execution.completed", 7)
    assert [release.event.type for release in changes.releases] == ["execution.conflict", "execution.completed"]
    assert run.view.status == "cancelled"


def test_a_deletion_takes_commands_with_it() -> None:
    """Before it and after it, in one batch and in several."""
    run = Run()
    said = {"commandId": "c", "kind": "cancel"}
    requested, deleted = run.event("command.requested", data=said), run.event("execution.deleted")
    assert heard(run.take(requested, deleted)) == []
    assert heard(run.tell("command.accepted", data=said)) == []


def test_who_noted_is_no_note() -> None:
    """The event says who; the annotation says what."""
    run = Run()
    run.tell("execution.annotated", 1, data={"vote": "up", "actor": "ada"})
    assert run.view.annotation == {"vote": "up"}
