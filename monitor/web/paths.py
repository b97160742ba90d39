"""Routes over paths as they were sent: `%2F` inside an id stays part of it instead of becoming a separator.

Servers decode a path before the router sees it, so `/v1/executions/a%2Fb/logs` would name another execution.
Identifiers are strangers' words (n8n's hold a colon, others slashes): every route with one in its path is an `IdRoute`.
"""

from urllib.parse import quote, unquote

from starlette.routing import Match, Route
from starlette.types import Scope


class IdRoute(Route):
    """A Route whose path parameters are cut from the raw path and decoded one by one."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        match, child = super().matches({**scope, "path": sent_path(scope), "path_params": {}})
        if match is not Match.NONE:
            child["path_params"] = {name: unquote(value) for name, value in child["path_params"].items()}
        return match, child


def quoted(id_: str) -> str:
    """An id as one segment of a path."""
    return quote(id_, safe=":@!$&'()*+,;=~")


def sent_path(scope: Scope) -> str:
    """The path as it was sent. ASGI makes it optional (2.1): without it, a slash in an id is taken for a separator."""
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else quote(scope["path"])
