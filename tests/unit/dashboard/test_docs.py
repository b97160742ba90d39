"""The contract's page: all of the contract, sound as a document, and nothing foreign or inline in it."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema
import pytest
from starlette.applications import Starlette

from monitor.dashboard import docs
from monitor.dashboard.curl import curl
from monitor.dashboard.markup import prose, tag
from monitor.web.catalogues import catalogues
from monitor.web.cures import CURES
from tests.support.schemas import FOLDER

CONTRACT: dict[str, Any] = json.loads((FOLDER / "openapi.json").read_bytes())
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in CONTRACT["paths"].items()
    for method, operation in methods.items()
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the page."""
    application = Starlette(routes=docs.routes(lambda: CONTRACT))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://monitor") as client:
        yield client


class Read(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of it."""
        if tag not in ("br", "input", "link", "meta"):
            self.open.append(tag)
        said = {name: value or "" for name, value in attrs}
        self.attributes |= {(tag, name) for name in said}
        self.ids.update([said["id"]] if "id" in said else [])
        self.links |= {said[name] for name in ("href", "src") if name in said}

    def handle_endtag(self, tag: str) -> None:
        """Nothing is closed that is not open."""
        assert self.open.pop() == tag


async def test_everything_in_the_contract_is_on_the_page(client: httpx.AsyncClient) -> None:
    """Operations, shapes, errors, events and metrics; each once, and every link within the page leads somewhere."""
    page = Read((await client.get("/docs")).text)
    listed = catalogues()
    assert set(OPERATIONS) <= set(page.ids)
    assert {f"shape-{name}" for name in SCHEMAS} <= set(page.ids)
    assert {f"error-{it['code']}" for it in listed.errors} <= set(page.ids)
    assert {f"event-{it.name}" for it in listed.events} <= set(page.ids)
    assert {f"metric-{it['name']}" for it in listed.metrics} <= set(page.ids)
    assert [name for name, times in page.ids.items() if times > 1] == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert page.open == []


async def test_nothing_foreign_or_inline_is_on_the_page(client: httpx.AsyncClient) -> None:
    """Its policy would keep it from working, and the page says the same without a script."""
    answer = await client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    page = Read(answer.text)
    assert [name for _, name in page.attributes if name == "style" or name.startswith("on")] == []
    assert [link for link in page.links if not link.startswith(("#", "/", "data:,"))] == []
    assert {link for link in page.links if link.startswith("/static/")} == {"/static/docs.css", "/static/docs.js"}


async def test_who_has_the_page_is_not_sent_it_again(client: httpx.AsyncClient) -> None:
    """By its ETag."""
    etag = (await client.get("/docs")).headers["etag"]
    again = await client.get("/docs", headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")


def bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Of every example that has one: the operation, the body and its schema."""
    for name, (method, path, operation) in OPERATIONS.items():
        content = operation.get("requestBody", {}).get("content", {})
        if content:
            said = curl(method, path, operation, SCHEMAS).partition("-d '")[2].removesuffix("'")
            yield name, said, next(iter(content.values()))["schema"]


@pytest.mark.parametrize(("name", "said", "schema"), [pytest.param(*it, id=it[0]) for it in bodies()])
def test_examples_fit_the_contract(name: str, said: str, schema: dict[str, Any]) -> None:
    """What is copied is taken, but for ids that are not there."""
    assert "'" not in said, name
    jsonschema.Draft202012Validator({**schema, "components": CONTRACT["components"]}).validate(json.loads(said))


def test_an_example_says_what_is_needed() -> None:
    """The method, where that is not GET; a token; and no more."""
    assert curl("get", "/livez", OPERATIONS["getLivez"][2], SCHEMAS) == 'curl "http://127.0.0.1:8080/livez"'
    lines = curl(*OPERATIONS["cancelExecution"], SCHEMAS).split(" \\\n  ")
    assert lines[:2] == [
        'curl -X POST "http://127.0.0.1:8080/v1/executions/exec_42/cancel"',
        '-H "Authorization: Bearer $MONITOR_TOKEN"',
    ]
    assert curl(*OPERATIONS["streamExecutions"], SCHEMAS).startswith("curl -N ")


def test_text_is_never_markup() -> None:
    """Whatever a docstring or a name holds."""
    assert tag("p", "<b>&", class_='"x"', hidden=True) == '<p class="&quot;x&quot;" hidden>&lt;b&gt;&amp;</p>'
    assert prose("a `<b>` c\n\nd") == "<p>a <code>&lt;b&gt;</code> c</p><p>d</p>"


def test_cures_are_for_errors_that_somebody_meets() -> None:
    """Each error has one."""
    rows = catalogues().errors
    assert set(CURES) <= {row["code"] for row in rows}
    assert [row["code"] for row in rows if not row["cure"]] == []
