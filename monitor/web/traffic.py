"""Counts answered HTTP requests by method and status: plain ASGI around the application, transparent to streams."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.telemetry.metrics import Metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Any other word is a stranger's invention and counts as one."""


class CountRequests:
    """Wraps the application; a request counts when its answer begins."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.requests.labels(method=method, status=str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counting)
