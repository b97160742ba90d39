"""The contract's page in a real Chromium on a real service: all of it is there, is found, and can be copied."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.support.browser import Browser
from tests.support.service import Service

PHONE: Final = {"viewport": {"width": 360, "height": 740}}

SHOWN: Final = """[...document.querySelectorAll(".entry")]
  .filter((it) => it.checkVisibility()).map((it) => it.id)"""
"""Ids of the entries that can be seen."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the tests share: they only read."""
    service = Service(tmp_path_factory.mktemp("docs") / "data")
    service.launch()
    try:
        asyncio.run(service.ready())
        yield service
    finally:
        service.close()


async def contract_of(service: Service) -> dict[str, Any]:
    """What programs are told."""
    async with service.client() as client:
        contract: dict[str, Any] = (await client.get("/openapi.json")).json()
    return contract


async def shown(page: Page) -> set[str]:
    """What can be seen now."""
    return set(await page.evaluate(SHOWN))


async def test_every_operation_is_on_the_page(service: Service, browser: Browser) -> None:
    """As programs are told them; and the page asks nobody but this service for anything."""
    page = await browser.open(f"{service.url}/docs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.reload()
    contract = await contract_of(service)
    names = {it["operationId"] for methods in contract["paths"].values() for it in methods.values()}
    assert names <= await shown(page)
    assert len(asked) >= 3
    assert [url for url in asked if httpx.URL(url).scheme != "data" and not url.startswith(service.url)] == []


async def test_a_search_narrows_the_page(service: Service, browser: Browser) -> None:
    """To the entries with every word, by keyboard; an address leads to an entry that the search hides."""
    page = await browser.open(f"{service.url}/docs")
    everything = await shown(page)
    await page.keyboard.press("/")
    await page.keyboard.type("cancelExecution force")
    await expect(page.locator("#found")).to_contain_text(f"of {len(everything)}")
    assert "cancelExecution" in await shown(page)
    assert len(await shown(page)) < 10
    await page.evaluate("location.hash = '#listTokens'")
    await expect(page.locator("#listTokens details")).to_have_attribute("open", "")
    assert await shown(page) == everything


async def test_an_example_is_copied_as_it_works_here(service: Service, browser: Browser) -> None:
    """With the address of this service; the entry opens by keyboard."""
    page = await browser.open(f"{service.url}/docs", permissions=["clipboard-read", "clipboard-write"])
    await page.locator("#getReadyz summary").focus()
    await page.keyboard.press("Enter")
    await page.locator("#getReadyz .copy").click()
    await expect(page.locator("#getReadyz .copy")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == f'curl "{service.url}/readyz"'


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_the_page_without_scrolling_sideways(
    service: Service, browser: Browser, scheme: str
) -> None:
    """With every entry open, in both colour schemes, which differ."""
    page = await browser.open(f"{service.url}/docs", color_scheme=scheme, **PHONE)
    await page.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    paper = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == {"light": "rgb(246, 247, 249)", "dark": "rgb(16, 19, 24)"}[scheme]
