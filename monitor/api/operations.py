"""For those who run the service: `/livez`, `/readyz` with reasons, `/metrics`, and at `/` the names of the doors.

These answer without credentials: they tell about the service, never about an execution.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from typing_extensions import TypedDict

from monitor.errors import Unavailable
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import CONTENT_TYPE, Metrics
from monitor.web.operations import Answer, Open
from monitor.web.replies import json_reply

_DOORS: Final = """\
Execution monitor: the live state of workflow executions. A browser shows it here.

  GET  /v1/executions              lists: filter[status]=failed, sort, include, cursor, limit
  GET  /v1/executions/{id}         one execution; also /data, /nodes/{nodeId}/data, /logs
  GET  /v1/executions/stream       live events: server-sent events (curl -N), NDJSON by Accept, or WebSocket;
                                   channels, events, filter[...], snapshot=active, position, logs=1, named=1
  GET  /v1/executions/{id}/stream  those of one execution, until it has ended
  GET  /v1/streams                 who is connected, how far behind
  POST /v1/events                  events in: JSON, NDJSON or CloudEvents
  POST /v1/webhooks                be called back; GET lists, DELETE /v1/webhooks/{id} removes
  GET  /docs                       the contract, for people; for programs /openapi.json and /asyncapi.json
  GET  /livez  /readyz  /metrics   how the service is
"""


class Alive(TypedDict):
    """The process answers."""

    status: Literal["alive"]


class Reason(TypedDict):
    """One thing that is not as it should be."""

    code: str
    message: str


class Readiness(TypedDict):
    """Whether work may be sent here."""

    status: Literal["ready", "not ready"]
    reasons: list[Reason]


def addresses(*, health: Callable[[], Health], observe: Callable[[], Awaitable[None]], metrics: Metrics) -> list[Open]:
    """The addresses of this file. `observe` brings what is measured by looking, such as the lag, up to date."""
    face = _Face(health, observe, metrics)
    return [
        Open("/", face.doors, answers=(Answer(media_types=("text/plain",)),), name="getDoors"),
        Open("/livez", face.livez, answers=(Answer(Alive),)),
        Open("/readyz", face.readyz, answers=(Answer(Readiness), Answer(Readiness, 503))),
        Open("/metrics", face.exposition, answers=(Answer(media_types=("text/plain",)),)),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    health: Callable[[], Health]
    observe: Callable[[], Awaitable[None]]
    metrics: Metrics

    async def doors(self, _: Request) -> Response:
        """Where to go from here."""
        return PlainTextResponse(_DOORS, headers={"vary": "accept"})

    async def livez(self, _: Request) -> Response:
        """The process answers; whether it should be sent work is another question."""
        alive: Alive = {"status": "alive"}
        return json_reply(alive, headers=_FRESH)

    async def readyz(self, _: Request) -> Response:
        """200 when work may be sent here, else 503; in words why."""
        health = self.health()
        document: Readiness = {
            "status": "ready" if health.ready else "not ready",
            "reasons": [{"code": concern.code, "message": concern.message} for concern in health.against],
        }
        return json_reply(document, 200 if health.ready else 503, _FRESH)

    async def exposition(self, _: Request) -> Response:
        """Everything that is measured, in the Prometheus text format; what cannot be looked at now stays as it was."""
        with suppress(Unavailable):
            await self.observe()
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})


_FRESH: Final = {"cache-control": "no-store"}
