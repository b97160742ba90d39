"""What a subscriber names and what it gets: channels, subscriptions, and the selection that one connection adds up to.

A channel is `executions` (every execution of the team), `workflow:ID` or `execution:ID`. Selections are values: equal
ones share a group in the hub, which evaluates them once for all of their subscribers.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from monitor.errors import InvalidRequest
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.events.types import TYPES
from monitor.projections.filter import Filter, matches
from monitor.projections.fold import Release

Dimension = Literal["execution", "workflow", "workflowName", "tag", "type", "status", "mode", "all"]
"""By what the hub looks up who may want a release; those that tell releases apart best come first."""

Key = tuple[Dimension, str]

VALUES_OF: Final[Mapping[Dimension, Callable[[Release], Sequence[str | None]]]] = {
    "execution": lambda release: (release.event.execution_id,),
    "workflow": lambda release: (release.workflow_id,),
    "workflowName": lambda release: (release.workflow_name,),
    "tag": lambda release: release.tags,
    "type": lambda release: (release.event.type,),
    "status": lambda release: (release.status,),
    "mode": lambda release: (release.mode,),
    "all": lambda _: ("",),
}
"""Where a release is found, in order of selectivity."""

_EVERY_RELEASE: Final[frozenset[Key]] = frozenset({("all", "")})

_DIMENSION_OF: Final[Mapping[str, Dimension]] = {
    # Fields of the filter grammar whose equality narrows a dimension.
    "id": "execution",
    "workflowId": "workflow",
    "workflowName": "workflowName",
    "tag": "tag",
    "status": "status",
    "mode": "mode",
}

_LOG_TYPES: Final = frozenset(name for name, kind in TYPES.items() if kind.stream_class == "log")

ALL: Final = "executions"
EVERYTHING: Final = Filter()

MAX_ROWS: Final = 2000
"""Of a snapshot; a list says the rest."""


class SnapshotWish(NamedTuple):
    """Which executions to show before the live stream: all that are in flight, or the newest whatever their status."""

    kind: Literal["active", "recent"]
    # At most so many rows.
    limit: int = MAX_ROWS


ACTIVE: Final = SnapshotWish("active")
_PREFIXES: Final = ("workflow:", "execution:")
_PATTERN: Final = re.compile(r"\*|[\w-]+(\.[\w-]+)*(\.\*)?")


def channel(said: object) -> str:
    """`said` if it is a channel. Raises InvalidRequest."""
    if isinstance(said, str):
        prefix, colon, name = said.partition(":")
        if said == ALL or (prefix + colon in _PREFIXES and 0 < len(name) <= MAX_ID_CHARACTERS and name.isprintable()):
            return said
    raise InvalidRequest(
        f"unknown channel {_shown(said)}; channels are 'executions', 'workflow:ID' and 'execution:ID'", field="channels"
    )


def event_pattern(said: object) -> str:
    """`said` if it is an event type, `family.*` or `*`. Raises InvalidRequest."""
    if isinstance(said, str) and len(said) <= MAX_ID_CHARACTERS and _PATTERN.fullmatch(said):
        return said
    raise InvalidRequest(f"{_shown(said)} is no event type; write node.completed, execution.* or *", field="events")


def _shown(said: object) -> str:
    text = repr(said)
    return text if len(text) <= 80 else f"{text[:80]}..."


def channels_of(release: Release) -> tuple[str, str, str]:
    """Every channel that a release belongs to."""
    return (ALL, f"workflow:{release.workflow_id}", f"execution:{release.event.execution_id}")


@dataclass(frozen=True, slots=True)
class Subscription:
    """Some channels, and which of their events pass."""

    channels: frozenset[str]
    # Types and patterns; None = lifecycle: no progress, no heartbeats, no logs. Unknown types count as lifecycle.
    events: frozenset[str] | None = None
    filter: Filter = EVERYTHING
    # Log lines as well.
    logs: bool = False

    def wants(self, release: Release) -> bool:
        """Whether a release of one of the channels passes."""
        return self._wants_type(release.event.type) and matches(self.filter, release)

    @property
    def keys(self) -> frozenset[Key]:
        """Every release that it wants has one of these: of all ways to look it up, the one with the fewest others."""
        return min(self._ways(), key=_breadth)

    def _ways(self) -> Iterable[frozenset[Key]]:
        yield _EVERY_RELEASE
        if ALL not in self.channels:
            yield frozenset(_channel_key(name) for name in self.channels)
        for test in self.filter.tests:
            if test.op == "eq" and test.field in _DIMENSION_OF:
                yield frozenset((_DIMENSION_OF[test.field], str(value)) for value in test.values)
        if self.events is not None and not any(pattern.endswith("*") for pattern in self.events):
            yield frozenset(("type", name) for name in self.events | (_LOG_TYPES if self.logs else frozenset()))

    def _wants_type(self, name: str) -> bool:
        kind = TYPES.get(name)
        treated_as = kind.stream_class if kind else "lifecycle"
        if treated_as == "log" and self.logs:
            return True
        if self.events is None:
            return treated_as == "lifecycle"
        return not self.events.isdisjoint(_spellings(name))


def _channel_key(name: str) -> Key:
    prefix, _, id_ = name.partition(":")
    return ("execution" if prefix == "execution" else "workflow", id_)


def _breadth(keys: frozenset[Key]) -> int:
    """The least selective dimension decides."""
    return max(_RANKS[dimension] for dimension, _ in keys)


_RANKS: Final = {dimension: rank for rank, dimension in enumerate(VALUES_OF)}


def _spellings(name: str) -> Iterable[str]:
    """The patterns that fit a type: `a.b.c` is asked for by itself, `a.b.*`, `a.*` and `*`."""
    yield name
    while "." in name:
        name = name.rpartition(".")[0]
        yield f"{name}.*"
    yield "*"


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything that one connection gets: releases of its team that any of its subscriptions wants."""

    team: str
    subscriptions: frozenset[Subscription] = frozenset()
    # Imported history as well: only for who asked for everything there is.
    backfill: bool = False

    @property
    def keys(self) -> frozenset[Key]:
        """Where the hub has to look for it."""
        return frozenset(key for subscription in self.subscriptions for key in subscription.keys)

    @property
    def channels(self) -> frozenset[str]:
        """Every channel of its subscriptions."""
        return frozenset(name for subscription in self.subscriptions for name in subscription.channels)

    def matches(self, release: Release) -> bool:
        """Whether the connection gets this release."""
        event = release.event
        if event.team != self.team or (event.backfill and not self.backfill):
            return False
        names = channels_of(release)
        return any(
            not subscription.channels.isdisjoint(names) and subscription.wants(release)
            for subscription in self.subscriptions
        )
