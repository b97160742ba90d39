"""What one client of the soak asks for, how it says so on each transport, and whether an event belongs to it.

The rule is written here once more, by hand: the service's own would agree with its own mistakes.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import quote

from monitor.events.types import TYPES
from tests.support.soak.telling import HOT, WORKFLOWS

STREAM: Final = "/v1/executions/stream"

BAD_ENDS: Final = ("cancelled", "crashed", "failed", "timeout")

Snapshot = Literal["none", "active", "recent:50"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription."""

    workflows: frozenset[str]
    # Patterns that end with an asterisk; None = lifecycle.
    events: tuple[str, ...] | None = None
    logs: bool = False
    statuses: tuple[str, ...] | None = None
    # Workflows are named by a filter over all executions instead of by channels.
    by_filter: bool = False

    def takes(self, kind: str, status: str) -> bool:
        """Whether an event of this type that left its execution with this status passes, in one of the workflows."""
        return (self.statuses is None or status in self.statuses) and self.takes_type(kind)

    def takes_type(self, kind: str) -> bool:
        """Whether events of this type pass."""
        treated_as = TYPES[kind].stream_class
        if self.logs and treated_as == "log":
            return True
        if self.events is None:
            return treated_as == "lifecycle"
        return any(
            kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern for pattern in self.events
        )

    @property
    def is_everything(self) -> bool:
        """Whether each change of its executions is told."""
        return self.events == ("*",) and self.statuses is None

    @property
    def channels(self) -> list[str]:
        """As they are named."""
        return ["executions"] if self.by_filter else [f"workflow:{name}" for name in sorted(self.workflows)]

    def members(self) -> dict[str, Any]:
        """Of a message that subscribes or changes."""
        return {
            "channels": self.channels,
            "events": None if self.events is None else list(self.events),
            "filter": {name: list(values) for name, values in self._filter().items()},
            "logs": self.logs,
        }

    def query(self, snapshot: Snapshot | None, position: str | None) -> str:
        """Of an address."""
        said = {
            "channels": ",".join(self.channels),
            "events": ",".join(self.events or ()),
            "logs": "1" if self.logs else "",
            "snapshot": snapshot or "",
            "position": position or "",
            **{f"filter[{name}]": ",".join(values) for name, values in self._filter().items()},
        }
        return "&".join(f"{quote(name)}={quote(value)}" for name, value in said.items() if value)

    def _filter(self) -> Mapping[str, tuple[str, ...]]:
        tests: dict[str, tuple[str, ...]] = {}
        if self.by_filter:
            tests["workflowId"] = tuple(sorted(self.workflows))
        if self.statuses is not None:
            tests["status"] = self.statuses
        return tests


def drawn(chance: random.Random) -> Wanted:
    """A subscription to one or two in a hundred workflows."""
    events, logs = chance.choices(
        [(None, False), (None, True), (("*",), False), (("execution.*",), False)], [60, 14, 18, 8]
    )[0]
    return Wanted(
        workflows(chance, hot=0.06),
        events,
        logs,
        BAD_ENDS if chance.random() < 0.08 else None,
        chance.random() < 0.3,
    )


def workflows(chance: random.Random, hot: float = 0.0) -> frozenset[str]:
    """One or two of them; with the share `hot` the one that is always busy is among them."""
    first = HOT if chance.random() < hot else chance.choice(WORKFLOWS[1:])
    return frozenset({first, *chance.sample(WORKFLOWS[1:], chance.randint(0, 1))})


def changed(wanted: Wanted, chance: random.Random) -> Wanted:
    """Another subscription, made of this one as a person would: other workflows, or another filter."""
    if chance.random() < 0.3:
        return replace(wanted, statuses=None if wanted.statuses else BAD_ENDS)
    kept = chance.sample(sorted(wanted.workflows), chance.randint(0, 1))
    return replace(wanted, workflows=frozenset([*kept, *sorted(workflows(chance))][:2]))
