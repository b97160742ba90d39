"""The live page's three files, read once at the start.

Plain files without a build. They tell nothing of any execution: what the page shows, it reads from the API as everybody
does. `app` puts these routes before the doors in words, which everybody but a browser gets at `/`.
"""

from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import Scope

from monitor.dashboard.files import File


def routes() -> list[Route]:
    """The page for browsers, and what it loads."""
    return [
        _ForBrowsers("/", File.read("page.html", "text/html").reply),
        Route("/static/page.js", File.read("page.js", "text/javascript").reply),
        Route("/static/page.css", File.read("page.css", "text/css").reply),
    ]


class _ForBrowsers(Route):
    """A route for who says that HTML is welcome; `curl` and other programs go on to the next one."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            return Match.NONE, {}
        return super().matches(scope)
