"""The stream addresses as the OpenAPI document shows them; their frames are in the AsyncAPI document."""

from collections.abc import Sequence
from typing import Final

from monitor.errors import InvalidFilter, InvalidPosition, NotAcceptable, Shed
from monitor.streams.addresses import PARAMETERS
from monitor.web.contract import Described
from monitor.web.operations import Answer

_FORMS: Final = (Answer(media_types=("text/event-stream", "application/x-ndjson")), Answer(status=204))

_ERRORS: Final = (InvalidFilter, InvalidPosition, NotAcceptable, Shed)


def described_streams() -> Sequence[Described]:
    """Both addresses; an upgrade to a WebSocket begins with the same request."""
    return [
        Described(
            method="GET",
            path="/v1/executions/stream",
            doc="Live events, as server-sent events or lines of JSON by `Accept`, or by WebSocket.\n\n"
            "Goes on until one side ends it. `Last-Event-ID` resumes where a connection broke.",
            room="monitor.api.streams",
            scope="executions:read",
            query=PARAMETERS,
            answers=_FORMS,
            errors=_ERRORS,
            name="streamExecutions",
        ),
        Described(
            method="GET",
            path="/v1/executions/{id}/stream",
            doc="Live events of one execution, begun with how it stands.\n\n"
            "Ends by itself once the execution has ended and its log is closed; 204 for who comes back after that.",
            room="monitor.api.streams",
            scope="executions:read",
            query=[it for it in PARAMETERS if it.name != "channels"],
            answers=_FORMS,
            errors=_ERRORS,
            name="streamExecution",
        ),
    ]
