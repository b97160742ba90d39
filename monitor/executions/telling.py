"""Telling: what people decide about executions becomes events of the service's own, through the one door.

A decision is durable when `tell` returns, and visible once `shown` is true. Used by the desk.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.engines.base import Command
from monitor.errors import InvalidEvent
from monitor.events.codec import decode, format_time
from monitor.events.model import DEFAULT_TEAM, Poison, Record
from monitor.events.position import Position
from monitor.events.types import MONITOR_SOURCE
from monitor.fanout.hub import Hub
from monitor.intake import Intake

COMMIT_WAIT_S: Final = 5.0
"""How long an answer waits for its own events to be folded: longer than any healthy commit takes."""

WireEvent = dict[str, Any]


class Telling:
    """Appends events of the monitor's own."""

    def __init__(self, intake: Intake, hub: Hub, clock: Clock) -> None:
        self._intake, self._hub, self._clock = intake, hub, clock

    async def tell(self, team: str, *events: WireEvent) -> Position:
        """Append; returns where they stand. Raises JournalUnavailable and, for what is no event, InvalidEvent."""
        # On a shared journal the body is all that can name the team.
        own = [{**event, "teamId": team} for event in events]
        return (await self._intake.publish(own, team=team)).position

    def check(self, kind: str, data: Mapping[str, Any]) -> None:
        """Raise InvalidEvent unless an event can carry `data`: what an engine is given, it tells again."""
        try:
            json.dumps(data, allow_nan=False)
        except ValueError:
            raise InvalidEvent("holds a number that is none") from None
        value = msgspec.json.encode(self.event(kind, "any", "any", data))
        found = decode(Record(0, 0, None, value, (), 0), lambda _record, _team: DEFAULT_TEAM)
        if isinstance(found, Poison):
            raise InvalidEvent(found.message, field=found.field)

    async def shown(self, position: Position) -> bool:
        """Whether everything up to `position` is visible, now or within moments."""
        return await self._hub.reached(position, COMMIT_WAIT_S)

    def event(self, kind: str, execution_id: str, workflow_id: str, data: Mapping[str, Any]) -> WireEvent:
        """An event that happens now. Of the monitor's own no two are alike: their ids follow from their bytes."""
        return {
            "type": kind,
            "executionId": execution_id,
            **({"workflowId": workflow_id} if workflow_id else {}),
            "timestamp": format_time(self._clock.now_us()),
            "source": MONITOR_SOURCE,
            "data": data,
        }

    def of_command(self, phase: str, command: Command, who: Principal, **said: Any) -> WireEvent:
        """What is told of a command: `phase` is requested, accepted, refused, completed or failed."""
        data = {"commandId": command.command_id, "kind": command.kind, "actor": who.name, **said}
        return self.event(f"command.{phase}", command.execution_id, command.workflow_id, data)
