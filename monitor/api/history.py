"""`GET /v1/executions/{id}/events`: the raw history of an execution, as its producers told it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import ExecutionNotFound, InvalidCursor
from monitor.events.codec import format_time
from monitor.events.model import Place
from monitor.events.payloads import without_payloads
from monitor.executions.history import History, Past
from monitor.executions.reveals import Reveals
from monitor.web.cursors import TwoWayPagination, open_turn, turn_token
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, MIN_POSITION, REVEAL, Limit, Phrase
from monitor.web.replies import Timestamp, read_reply
from monitor.web.revealing import reveals_refused

_LIMIT: Final = Limit(default=100, most=1000)
_TYPE: Final = Phrase("type", "Events of these types alone, separated by commas.")


class PastEvent(TypedDict):
    """An event as it came, with the members that stream frames have."""

    type: str
    executionId: str
    workflowId: NotRequired[str]
    timestamp: Timestamp
    id: str
    source: NotRequired[str]
    sequence: NotRequired[int]
    epoch: int
    data: dict[str, Any]
    traceparent: NotRequired[str]
    storedAt: Timestamp
    """When the monitor took it."""
    position: str
    """Behind it: fit for `asOf`, which then shows the execution with this event as its latest."""


class EventHistory(TypedDict):
    """A page of events, in order of arrival."""

    executionId: str
    events: list[PastEvent]
    removedEvents: int
    """How many of the execution's events the journal's retention has removed: the oldest ones."""
    pagination: TwoWayPagination


def operations(*, history: History, reveals: Reveals, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(history, reveals, sealer)
    return [
        Operation(
            "GET",
            "/v1/executions/{id}/events",
            face.events,
            "executions:read",
            query=(_TYPE, _LIMIT, CURSOR, MIN_POSITION, REVEAL),
            answers=(Answer(EventHistory),),
            errors=(ExecutionNotFound, InvalidCursor),
            on_refused=reveals_refused(reveals, "events"),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    history: History
    reveals: Reveals
    sealer: Sealer

    async def events(self, request: Request, who: Principal) -> Response:
        """The events of one execution in order of arrival, as their producers wrote them; repeats are left out.

        Secrets are masked, unless `reveal` asks for them.

        Payloads (`inputData`, `outputData`, the trigger's `payload`) are there for those who may see them.
        """
        query, execution_id = request.query_params, request.path_params["id"]
        limit, types = _LIMIT.take(query), _TYPE.take(query)
        question = ("events", who.team, execution_id, types or "")
        cursor = CURSOR.take(query)
        start, backwards = None, False
        if cursor is not None:
            (partition, offset), backwards = open_turn(self.sealer, question, cursor)
            start = Place(partition or 0, offset)
        reveal = REVEAL.take(query)
        passage, position = await (self.reveals if reveal else self.history).events(
            who,
            execution_id,
            MIN_POSITION.take(query, self.sealer),
            types=frozenset(types.split(",")) if types else None,
            start=start,
            backwards=backwards,
            limit=limit,
        )
        may_see = who.may("executions:data")
        document: EventHistory = {
            "executionId": execution_id,
            "events": [self._event(past, may_see) for past in passage.events],
            "removedEvents": passage.removed,
            "pagination": {
                "limit": limit,
                "hasMore": passage.after is not None,
                "nextCursor": self._turn(question, passage.after, backwards=False),
                "previousCursor": self._turn(question, passage.before, backwards=True),
            },
        }
        return read_reply(document, position_token(self.sealer, position), secret=reveal)

    def _event(self, past: Past, may_see: bool) -> PastEvent:
        event = past.event
        document: PastEvent = {
            "type": event.type,
            "executionId": event.execution_id,
            "timestamp": event.timestamp,
            "id": event.id,
            "epoch": event.epoch,
            "data": dict(event.data if may_see else without_payloads(event.data)),
            "storedAt": format_time(event.record.stored_us),
            "position": position_token(self.sealer, past.position),
        }
        if event.workflow_id is not None:
            document["workflowId"] = event.workflow_id
        if event.source:
            document["source"] = event.source
        if event.sequence:
            document["sequence"] = event.sequence
        if event.traceparent:
            document["traceparent"] = event.traceparent
        return document

    def _turn(self, question: Sequence[str], place: Place | None, *, backwards: bool) -> str | None:
        return None if place is None else turn_token(self.sealer, question, place, backwards=backwards)
