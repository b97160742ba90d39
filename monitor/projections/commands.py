"""Commands: what somebody asked an engine for and what became of it, folded from `command.*` events. Pure.

A command keeps one fact of each phase, the earliest by (time, tie), and its state follows from which phases there are:
facts may arrive in any order, and any number of times, and leave the same command.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from monitor.events.model import Event
from monitor.events.types import MONITOR_SOURCE
from monitor.projections.members import error, mapping, text

State = Literal["requested", "accepted", "refused", "completed", "failed"]

STARTING: Final = frozenset({"execute", "retry"})
"""Kinds of commands that are to make an execution."""

_UNANSWERED: Final = "unanswered"
"""Phase of `command.failed` by the monitor itself: nobody answered in time, which any answer revokes."""

_STATES: Final[Mapping[str, State]] = {
    "completed": "completed",
    "failed": "failed",
    "refused": "refused",
    "accepted": "accepted",
    _UNANSWERED: "failed",
    "requested": "requested",
}
"""The state by the strongest phase: what took effect did so, whatever else was said."""


class Fact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the earliest event of a phase said."""

    time_us: int
    tie: int
    # Members of the event's data: kind, actor, reason, args, error, executionId.
    said: dict[str, Any]


class Command(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A command and its facts by phase; at least one."""

    id: str
    facts: dict[str, Fact]

    @property
    def state(self) -> State:
        """What became of it."""
        return next(state for phase, state in _STATES.items() if phase in self.facts)

    @property
    def is_open(self) -> bool:
        """Whether nobody has answered yet."""
        return self.state == "requested"

    @property
    def is_answered(self) -> bool:
        """Whether an engine has said anything about it."""
        return not self.facts.keys() <= {"requested", _UNANSWERED}

    @property
    def since_us(self) -> int:
        """When it was asked for; where nobody told, the first that was heard of it."""
        asked = self.facts.get("requested")
        return asked.time_us if asked else min(fact.time_us for fact in self.facts.values())

    @property
    def answered_us(self) -> int | None:
        """When an engine took or refused it; None while it has not."""
        answers = (self.facts.get(phase) for phase in ("accepted", "refused"))
        return min((fact.time_us for fact in answers if fact), default=None)

    @property
    def ended_us(self) -> int | None:
        """When it came to an end: took effect, was refused, or failed."""
        decisive = next(phase for phase in _STATES if phase in self.facts)
        return None if decisive in ("accepted", "requested") else self.facts[decisive].time_us

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it was refused or failed."""
        decisive = next(phase for phase in _STATES if phase in self.facts)
        return self.facts[decisive].said.get("error") if decisive in ("failed", "refused", _UNANSWERED) else None

    def told(self, name: str) -> Any:
        """A member that its events told, the request first: kind, actor, reason, args, executionId."""
        for phase in ("requested", *_STATES):
            if phase in self.facts and name in self.facts[phase].said:
                return self.facts[phase].said[name]
        return None


def read_command(event: Event, tie: int) -> Command:
    """What one `command.*` event says; `tie` is its part of the order."""
    phase, data = event.type.removeprefix("command."), event.data
    if phase == "failed" and event.source == MONITOR_SOURCE:
        phase = _UNANSWERED
    said = {
        "kind": text(data.get("kind")),
        "actor": text(data.get("actor")),
        "reason": text(data.get("reason")),
        "args": mapping(data.get("args")),
        "error": error(data.get("error")),
        "executionId": text(data.get("executionId")),
    }
    fact = Fact(event.time_us, tie, {name: value for name, value in said.items() if value is not None})
    return Command(data["commandId"], {phase: fact})


def merged(one: Command | None, other: Command) -> Command:
    """Both together: of each phase the earliest fact. Associative, commutative, idempotent."""
    if one is None:
        return other
    facts = dict(one.facts)
    for phase, fact in other.facts.items():
        held = facts.get(phase)
        if held is None or (fact.time_us, fact.tie) < (held.time_us, held.tie):
            facts[phase] = fact
    return Command(one.id, facts)


def keeps_from_starting(event: Event) -> bool:
    """Whether the event says that the execution was asked for in vain: it will not come, unless it tells of itself."""
    return event.type in ("command.refused", "command.failed") and text(event.data.get("kind")) in STARTING
