"""For those who run the service: `/livez`, `/readyz` with reasons, `/metrics`, and at `/` the names of the doors.

These answer without credentials: they tell about the service, never about an execution.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.errors import Unavailable
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import CONTENT_TYPE, Metrics
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
  GET  /livez  /readyz  /metrics   how the service is
"""


def routes(*, health: Callable[[], Health], observe: Callable[[], Awaitable[None]], metrics: Metrics) -> list[Route]:
    """The routes of this file. `observe` brings what is measured by looking, such as the lag, up to date."""
    face = _Face(health, observe, metrics)
    return [
        Route("/", face.doors),
        Route("/livez", face.livez),
        Route("/readyz", face.readyz),
        Route("/metrics", face.exposition),
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
        return json_reply({"status": "alive"}, headers=_FRESH)

    async def readyz(self, _: Request) -> Response:
        """200 when work may be sent here, else 503; in words why."""
        health = self.health()
        reasons = [concern._asdict() for concern in health.against]
        document = {"status": "ready" if health.ready else "not ready", "reasons": reasons}
        return json_reply(document, 200 if health.ready else 503, _FRESH)

    async def exposition(self, _: Request) -> Response:
        """Everything that is measured, in the Prometheus text format; what cannot be looked at now stays as it was."""
        with suppress(Unavailable):
            await self.observe()
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})


_FRESH: Final = {"cache-control": "no-store"}
