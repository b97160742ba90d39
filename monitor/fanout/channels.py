"""What a subscriber names and what it gets: channels, subscriptions, and the selection that one connection adds up to.

A channel is `executions` (every execution of the team), `workflow:ID` or `execution:ID`. Selections are values: equal
ones share a group in the hub, which evaluates them once for all of their subscribers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from monitor.errors import InvalidRequest
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.events.types import TYPES
from monitor.projections.filter import Filter, matches
from monitor.projections.fold import Release

Key = tuple[str, str]
"""(team, channel): where the hub looks up who may want a release."""

ALL: Final = "executions"
EVERYTHING: Final = Filter()
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

    def _wants_type(self, name: str) -> bool:
        kind = TYPES.get(name)
        stream_class = kind.stream_class if kind else "lifecycle"
        if stream_class == "log" and self.logs:
            return True
        if self.events is None:
            return stream_class == "lifecycle"
        return not self.events.isdisjoint(_spellings(name))


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
        return frozenset((self.team, name) for name in self.channels)

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
