"""A real Chromium for tests: found, or installed from Debian's packages, and driven by playwright.

The fixture `browser` gives one. Whatever a page of it complains about on its console fails the test, unless the test
names it in `expected`. `python -m tests.support.browser` installs the browser before any test counts its time.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

from playwright.async_api import Browser as Chromium
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PACKAGES: Final = ("chromium", "fonts-inter")
"""The font makes pictures look as they do on a desktop; what a bare machine has is made for terminals."""

INSTALL_LIMIT_S: Final = 600
EXPECTED_WITHIN_MS: Final = 60_000
"""An EventSource alone waits up to 3 s before it comes back; the rest is for a machine with other work."""

SWITCHES: Final = (
    "--no-sandbox",  # root may not have one, and tests in containers are root
    "--disable-dev-shm-usage",  # containers keep it at 64 MB
    "--disable-gpu",
    "--disable-quic",
    # It is to talk to nobody but the service under test.
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class BrowserUnavailable(Exception):
    """No Chromium can be had; the message says why and what would help."""


class Browser:
    """A Chromium that runs. Every page has a context of its own: cookies, storage and connections are not shared."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self.complaints: list[str] = []
        # What the pages are to complain about in this test: whatever this finds is not noted.
        self.expected: re.Pattern[str] | None = None

    async def open(self, url: str, **context: Any) -> Page:
        """A page that shows `url`; `context` are further arguments of playwright's `new_context`."""
        page = await (await self._chromium.new_context(**context)).new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._note(f"{error}\n{error.stack}"))
        page.on("crash", lambda _: self._note("the page crashed"))
        await page.goto(url)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"{message.type}: {message.text} at {message.location.get('url')}")

    def _note(self, complaint: str) -> None:
        if self.expected is None or not self.expected.search(complaint):
            self.complaints.append(complaint)


@asynccontextmanager
async def running_browser(executable: str) -> AsyncIterator[Browser]:
    """The Chromium at this path while the block runs. Raises AssertionError when a page complained."""
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=executable, args=list(SWITCHES)) as chromium,
    ):
        browser = Browser(chromium)
        expect.set_options(timeout=EXPECTED_WITHIN_MS)
        yield browser
    assert not browser.complaints, "\n".join(browser.complaints)


def prepare_browser() -> str:
    """The path of a Chromium; installs Debian's where there is none and that can be done. Raises BrowserUnavailable."""
    asked_for = os.environ.get("MONITOR_TEST_BROWSER", "")
    if asked_for == "off":
        raise BrowserUnavailable("MONITOR_TEST_BROWSER=off")
    if asked_for:
        return asked_for
    if not _found():
        _install()
    return _found() or _give_up("Debian's package brought no chromium")


def _found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _give_up(f"none of {', '.join(NAMES)} is on the path, and only root can install it by apt-get")
    # Another run may be installing as well.
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    for step in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        try:
            subprocess.run(
                [*apt, *step],
                check=True,
                timeout=INSTALL_LIMIT_S,
                capture_output=True,
                text=True,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = str(error.stderr or error).strip().rpartition("\n")[2]
            raise BrowserUnavailable(f"apt-get {step[0]} failed: {said}") from error


def _give_up(reason: str) -> NoReturn:
    raise BrowserUnavailable(f"{reason}; install Chromium, or name one with MONITOR_TEST_BROWSER=/path/to/it")


if __name__ == "__main__":
    try:
        prepare_browser()
    except BrowserUnavailable as unavailable:
        sys.exit(f"No browser: {unavailable}")
