"""Verdicts: what the monitor concludes about an execution that should have been heard of, or should have ended. Pure.

An engine that declares a heartbeat promises a sign of life (any event) as often while the execution runs. Two
heartbeats of silence make it `stalled`, three presume it crashed: provisionally, until something is heard. Past its
`deadlineAt` it is `late`. Silence is measured from when the service took a sign in, by its own clock, and from when it
last listened without a pause; what a verdict rests on (`asOf`) is the latest time that was reported, by whoever did.
Executions that declare nothing, and those known from imported history alone, are never judged.

`arm` runs with every commit and says when to look at an execution; `judge` says what is found then.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from monitor.events.codec import LATEST_US, derived_id, format_time_us
from monitor.events.types import MONITOR_SOURCE
from monitor.projections.changes import Changes
from monitor.projections.commands import Command
from monitor.projections.execution import Execution, Registers, is_late, is_stalled, member_of
from monitor.projections.status import IN_FLIGHT

STALLED_AFTER: Final = 2
CRASHED_AFTER: Final = 3
"""Heartbeats of silence: one may be lost on the way, and two in a row hardly are."""

SHORTEST_HEARTBEAT_US: Final = 1_000_000
"""A heartbeat that is declared shorter counts as this: nobody looks more often."""

ANSWER_WITHIN_US: Final = 30_000_000
"""Engines answer a command within this, or it is told as failed."""

_TYPES: Final = {"late": "execution.late", "stalled": "execution.stalled", "crashed": "execution.failed"}


class Verdict(NamedTuple):
    """What is concluded, and from what."""

    kind: Literal["late", "stalled", "crashed"]
    # The latest evidence that it rests on; of `late` the deadline.
    as_of_us: int
    # As declared, at least the shortest; None where it plays no part.
    heartbeat_us: int | None = None


class Judgement(NamedTuple):
    """What a look at an execution finds."""

    verdicts: list[Verdict]
    # When to look again, as things stand; None = not before it changes.
    look_us: int | None


def arm(changes: Changes, now_us: int) -> None:
    """Note when each execution was heard of, and when somebody has to look at it.

    A heartbeat moves nothing: whoever looks finds it and looks again later. Whoever looks touches only what is due, so
    what was asked for and is not due yet still stands.
    """
    for touched in changes.touched.values():
        execution = touched.execution
        if touched.heard:
            execution.heard_us = now_us
        if not touched.restated:
            continue
        look_us, watched_us = _next_look_us(execution), execution.watched_us
        if look_us is not None and (watched_us is None or not now_us < watched_us <= look_us):
            touched.look_us = execution.watched_us = look_us


def judge(execution: Execution, now_us: int, since_us: Callable[[int], int]) -> Judgement:
    """What `now_us` says about an execution. `since_us`: from when on the service has listened without a pause that
    matters for a heartbeat of so many microseconds.
    """
    if not _is_watched(execution):
        return Judgement([], None)
    registers, verdicts, looks = execution.registers, [], []
    deadline_us = _open_deadline_us(registers)
    if deadline_us is not None:
        if deadline_us <= now_us:
            verdicts.append(Verdict("late", deadline_us))
        else:
            looks.append(deadline_us)
    heartbeat_us = _heartbeat_us(execution)
    if heartbeat_us is not None:
        quiet_us = max(execution.heard_us, since_us(heartbeat_us))
        is_told = is_stalled(registers)
        end_us = quiet_us + heartbeat_us * (CRASHED_AFTER if is_told else STALLED_AFTER)
        if end_us <= now_us:
            kind: Literal["crashed", "stalled"] = "crashed" if is_told else "stalled"
            verdicts.append(Verdict(kind, registers.evidence_us, heartbeat_us))
            end_us = max(quiet_us + heartbeat_us * CRASHED_AFTER, now_us + heartbeat_us)
        looks.append(end_us)
    return Judgement(verdicts, min(looks, default=None))


def event_of(execution: Execution, verdict: Verdict) -> Mapping[str, Any]:
    """The verdict as a canonical event. Equal verdicts give equal bytes and so one event, whoever says them."""
    epoch, as_of = execution.registers.epoch, format_time_us(verdict.as_of_us)
    basis = f"{execution.id}\0{epoch}\0{verdict.as_of_us}\0{verdict.heartbeat_us}"
    return {
        "type": _TYPES[verdict.kind],
        "executionId": execution.id,
        "teamId": execution.team,
        "timestamp": format_time_us(min(_due_us(verdict), LATEST_US - 1)),
        "id": derived_id(f"verdict:{verdict.kind}", basis.encode()),
        "source": MONITOR_SOURCE,
        "epoch": epoch,
        "data": {"asOf": as_of, **_said(verdict, as_of)},
    }


def no_answer(execution_id: str, team: str, command: Command) -> Mapping[str, Any]:
    """The word that no engine has answered a command in time; equal whoever says it, as verdicts are."""
    message = f"no engine has answered within {ANSWER_WITHIN_US // 1_000_000} s"
    told = {name: command.told(name) for name in ("kind", "actor")}
    return {
        "type": "command.failed",
        "executionId": execution_id,
        "teamId": team,
        "timestamp": format_time_us(min(command.since_us + ANSWER_WITHIN_US, LATEST_US - 1)),
        "id": derived_id("verdict:no_answer", f"{execution_id}\0{command.id}".encode()),
        "source": MONITOR_SOURCE,
        "data": {
            "commandId": command.id,
            **{name: said for name, said in told.items() if said is not None},
            "reason": "no_answer",
            "error": {"type": "no_answer", "message": message},
        },
    }


def _said(verdict: Verdict, as_of: str) -> dict[str, Any]:
    if verdict.heartbeat_us is None:
        return {"reason": "deadline_missed", "deadlineAt": as_of}
    heartbeat_s = verdict.heartbeat_us / 1_000_000
    said = {"reason": "no_heartbeat", "heartbeat": heartbeat_s}
    if verdict.kind == "stalled":
        return said
    message = f"presumed crashed: no sign of life since {as_of} for {CRASHED_AFTER} heartbeats of {heartbeat_s:g} s"
    return {**said, "status": "crashed", "provisional": True, "error": {"type": "NoHeartbeat", "message": message}}


def _due_us(verdict: Verdict) -> int:
    """When it became true, by the clock of the evidence."""
    beats = {"late": 0, "stalled": STALLED_AFTER, "crashed": CRASHED_AFTER}[verdict.kind]
    return verdict.as_of_us + beats * (verdict.heartbeat_us or 0)


def _is_watched(execution: Execution) -> bool:
    return execution.heard_us > 0 and execution.status in IN_FLIGHT and not execution.registers.deleted


def _next_look_us(execution: Execution) -> int | None:
    members = execution.registers.members
    if ("heartbeat" not in members and "deadlineAt" not in members) or not _is_watched(execution):
        return None
    heartbeat_us, deadline_us = _heartbeat_us(execution), _open_deadline_us(execution.registers)
    if heartbeat_us is None:
        return deadline_us
    look_us = execution.heard_us + STALLED_AFTER * heartbeat_us
    return look_us if deadline_us is None else min(look_us, deadline_us)


def _heartbeat_us(execution: Execution) -> int | None:
    """How often it is to be heard of; None while nobody works on it, or where nobody promised."""
    declared_us: int | None = member_of(execution.registers, "heartbeat")
    if not declared_us or execution.status != "running":
        return None
    return max(declared_us, SHORTEST_HEARTBEAT_US)


def _open_deadline_us(registers: Registers) -> int | None:
    """The deadline, unless it was said that it was missed."""
    deadline_us: int | None = member_of(registers, "deadlineAt")
    return None if is_late(registers) else deadline_us
