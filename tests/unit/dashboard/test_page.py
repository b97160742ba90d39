"""The live page's files: who gets them, under which policy, and that they agree with the service's own words."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from html.parser import HTMLParser

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from monitor.dashboard import page
from monitor.events.types import TYPES
from monitor.projections.status import IN_FLIGHT, STATUSES

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
MODULE = "/static/page.js"
STYLE = "/static/page.css"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the page, with the doors in words behind it as the application has them."""

    async def doors(_: Request) -> PlainTextResponse:
        return PlainTextResponse("doors")

    application = Starlette(routes=[*page.routes(), Route("/", doors)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://monitor") as client:
        yield client


async def test_a_browser_gets_the_page_and_others_the_doors(client: httpx.AsyncClient) -> None:
    """Who accepts HTML is shown the page; whoever says nothing, or anything else, reads plain text."""
    shown = await client.get("/", headers=BROWSER)
    assert (shown.headers["content-type"], shown.headers["vary"]) == ("text/html; charset=utf-8", "accept")
    assert [(await client.get("/", headers={"accept": accept})).text for accept in ("*/*", "text/plain", "")] == [
        "doors",
        "doors",
        "doors",
    ]


@pytest.mark.parametrize(("path", "media_type"), [("/", "text/html"), (MODULE, "text/javascript"), (STYLE, "text/css")])
async def test_nothing_foreign_may_run(client: httpx.AsyncClient, path: str, media_type: str) -> None:
    """Each file says what it is, that it is nothing else, and that only this origin's files and answers are welcome."""
    headers = (await client.get(path, headers=BROWSER)).headers
    policy = headers["content-security-policy"].split("; ")
    assert headers["content-type"] == f"{media_type}; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} < set(policy)
    assert "require-trusted-types-for 'script'" in policy
    assert not [rule for rule in policy if "unsafe" in rule or "*" in rule]


@pytest.mark.parametrize("path", ["/", MODULE, STYLE])
async def test_who_has_a_file_is_not_sent_it_again(client: httpx.AsyncClient, path: str) -> None:
    """A browser asks each time, and 304 is the answer until the content changes."""
    first = await client.get(path, headers=BROWSER)
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={**BROWSER, "if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await client.get(path, headers={**BROWSER, "if-none-match": '"1"'})).content == first.content


class _Links(HTMLParser):
    """Notes what a document loads, and the attributes that its policy would refuse."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.refused: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if tag in ("script", "link", "img") and name in ("src", "href") and value:
                self.loads.append(value)
            if name == "style" or name.startswith("on"):
                self.refused.append(f"{tag} {name}")


async def test_the_page_loads_its_own_files_only(client: httpx.AsyncClient) -> None:
    """A module, a style sheet and an icon inside the page; nothing that the policy would refuse."""
    links = _Links((await client.get("/", headers=BROWSER)).text)
    assert links.refused == []
    assert [link for link in links.loads if not link.startswith("data:image/")] == [STYLE, MODULE]
    for path in (STYLE, MODULE):
        assert (await client.get(path)).status_code == 200


async def test_the_page_knows_the_words_of_the_service(client: httpx.AsyncClient) -> None:
    """Statuses, ends and what node events say are those of the catalogue."""
    module = (await client.get(MODULE)).text
    assert _words_of(module, "STATUSES") == list(STATUSES)
    assert _words_of(module, "IN_FLIGHT") == [word for word in STATUSES if word in IN_FLIGHT]
    assert _words_of(module, "ENDS") == [
        name for name, kind in TYPES.items() if kind.final and _is_of(name, "execution")
    ]
    assert dict(_pairs_of(module, "NODE_STATUSES")) == {
        name: kind.status for name, kind in TYPES.items() if kind.status and _is_of(name, "node")
    }


def _is_of(name: str, family: str) -> bool:
    return name.startswith(f"{family}.")


def _words_of(module: str, constant: str) -> list[str]:
    return re.findall(r'"([^"]+)"', _value_of(module, constant))


def _pairs_of(module: str, constant: str) -> list[list[str]]:
    return [json.loads(pair) for pair in re.findall(r'\["[^]]+\]', _value_of(module, constant))]


def _value_of(module: str, constant: str) -> str:
    found = re.search(rf"^const {constant} = (.*?);$", module, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]
