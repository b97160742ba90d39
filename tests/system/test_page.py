"""The live page in a real Chromium on a real service: what it shows is what the API says, whatever happens in between.

With `--pictures DIR` the demo runs at its own pace, and the picture of the README is written there.
"""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import Locator, Page, Route, expect

from monitor.cli.demo import execute, working_engine
from monitor.engines.demo import DemoEngine
from monitor.engines.demo.workflows import WORKFLOWS
from tests.support.browser import Browser
from tests.support.service import Service, eventually

WIDE: Final = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", "timezone_id": "UTC"}
PHONE: Final = {"viewport": {"width": 360, "height": 740}, "locale": "en-GB", "timezone_id": "UTC"}

AWAY: Final = re.compile(r"net::ERR_\w+ at \S+/v1/executions")
"""What Chromium itself notes on the console when a service is gone."""

ROWS: Final = """[...document.querySelectorAll("#rows li")].map((row) => [row.dataset.id, [
  row.querySelector(".status").textContent,
  Number(row.dataset.version),
  Number(row.querySelector(".bar").style.getPropertyValue("--ratio")),
]])"""
"""Of each row: its execution; status, version and progress."""

NOTE_CHIP: Final = """window.chipSaid = [];
new MutationObserver(() => {
  const text = document.getElementById("chip")?.textContent;
  if (text && text !== window.chipSaid.at(-1)) window.chipSaid.push(text);
}).observe(document, { subtree: true, childList: true, characterData: true });"""

Event = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that most tests share: each looks at a workflow of its own."""
    with running(Service(tmp_path_factory.mktemp("page") / "data")) as service:
        yield service


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own, to be restarted and filled."""
    with running(Service(tmp_path / "data")) as service:
        yield service


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """The service, ready."""
    service.launch()
    try:
        asyncio.run(service.ready())
        yield service
    finally:
        service.close()


# --- the list --------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)  # for a picture, twice what an idle machine takes
async def test_rows_equal_the_api_across_restarts(
    own_service: Service, browser: Browser, pytestconfig: pytest.Config
) -> None:
    """Two thousand events of the demo, with a SIGTERM and a SIGKILL in between: in the end both say the same."""
    browser.expected = AWAY
    folder = pytestconfig.getoption("--pictures")
    # An execution tells 34 events on average. The picture wants one for each of its bars, and durations as they are.
    runs, speed = (50, 1.0) if folder else (24, 20.0)
    page = await browser.open(own_service.url, **WIDE)
    async with working_engine(own_service.url, speed) as engine:
        await run_demo(engine, runs)
        await restart(own_service, page, own_service.stop)
        await run_demo(engine, runs)
        await restart(own_service, page, killed(own_service))
        await run_demo(engine, runs)
        if folder:
            await take_picture(page, Path(folder))
        await eventually(lambda: has_at_most(engine, 0), within_s=60)
    await own_service.caught_up()
    told = await told_by_api(own_service)
    assert max(version for _, version, _ in told.values()) >= 2000  # it counts the records of the journal
    await eventually(lambda: shows(page, told), what=lambda: f"the page shows something else than {told}")


async def test_filters_reach_what_the_page_does_not_hold(own_service: Service, browser: Browser) -> None:
    """A status is asked of the service, so that old ones are found; a workflow has a stream of its own."""
    await tell(own_service, *runs_of("old", 30, "execution.failed", ago_s=9000))
    await tell(own_service, *runs_of("elder", 1, "execution.waiting", ago_s=9000))
    await tell(own_service, *runs_of("new", 600, "execution.completed", ago_s=6000))
    page = await browser.open(own_service.url, **WIDE)
    await expect(rows(page)).to_have_count(200)
    await expect(page.locator("#summary")).to_have_text("Newest 200 shown · counts are of the newest 500")
    await choose(page, "failed")
    await expect(rows(page)).to_have_count(30)
    assert set(dict(await page.evaluate(ROWS))) == {f"old-{number}" for number in range(30)}
    await page.reload()
    await expect(rows(page)).to_have_count(30)
    # One that began before all that the page holds, and goes on, gets its name from the API.
    await choose(page, "running")
    await tell(own_service, event("execution.resumed", "elder-0"))
    await expect(row(page, "elder-0").locator(".name")).to_have_text("Workflow elder")
    await page.select_option("#workflows", label="Workflow old")
    await choose(page, "all")
    await expect(rows(page)).to_have_count(30)
    await tell(own_service, event("execution.started", "old-30"), event("execution.started", "new-600"))
    await expect(rows(page)).to_have_count(31)
    await expect(row(page, "old-30")).to_be_visible()


async def test_rows_come_and_go_with_their_status(service: Service, browser: Browser) -> None:
    """Under a filter, what begins comes and what ends goes, as it happens; what is deleted is gone."""
    page = await browser.open(f"{service.url}/?status=running&workflow=run", **WIDE)
    await expect(page.locator("#summary")).to_contain_text("No executions yet")
    await tell(service, event("execution.started", "run-1"), event("execution.started", "run-2"))
    await expect(rows(page)).to_have_count(2)
    await tell(service, event("execution.completed", "run-1"))
    await expect(rows(page)).to_have_count(1)
    await expect(row(page, "run-2").locator(".status")).to_have_text("running")
    await tell(service, event("execution.deleted", "run-2"))
    await expect(rows(page)).to_have_count(0)


async def test_pause_keeps_rows_where_they_are(service: Service, browser: Browser) -> None:
    """While it is on, rows still tell what happens to them, and new ones wait."""
    await tell(service, event("execution.started", "pause-1"))
    page = await browser.open(f"{service.url}/?workflow=pause", **WIDE)
    await expect(rows(page)).to_have_count(1)
    await page.get_by_role("button", name="Pause").click()
    await tell(service, event("execution.started", "pause-2"), event("execution.completed", "pause-1"))
    await expect(page.locator("#summary")).to_have_text("2 shown · paused, 1 more")
    await expect(row(page, "pause-1").locator(".status")).to_have_text("success")
    await expect(rows(page)).to_have_count(1)
    await page.get_by_role("button", name="Pause").click()
    await expect(rows(page)).to_have_count(2)


async def test_a_snapshot_replaces_and_old_news_is_ignored(service: Service, browser: Browser) -> None:
    """After a loss the page has what the new snapshot has; nothing takes a row back to an older version.

    The chip tells each state that the stream is in.
    """
    browser.expected = AWAY
    await tell(service, event("execution.started", "loss-kept"), event("execution.started", "loss-lost"))
    async with service.client() as client:
        kept, lost = [(await client.get(f"/v1/executions/{name}")).json() for name in ("loss-kept", "loss-lost")]
    progress = kept["progress"]
    body = stream(
        ("stream.hello", {"heartbeat_ms": 15_000}),
        ("stream.subscribed", {}),
        *(("stream.snapshot", {"execution": execution}) for execution in (kept, lost)),
        ("stream.snapshot-end", {"count": 2}),
        ("stream.stale", {"since": "2026-01-05T10:30:00.000Z", "lag": 7}),
        ("stream.fresh", {}),
        ("stream.gap", {"reason": "budget"}),
        ("stream.snapshot", {"execution": kept}),
        ("stream.snapshot-end", {"count": 1}),
        (
            "",
            {
                **event("execution.failed", "loss-kept"),
                "version": 9,
                "state": {"status": "failed", "progress": progress},
            },
        ),
        (
            "",
            {
                **event("execution.started", "loss-kept"),
                "version": 8,
                "state": {"status": "running", "progress": progress},
            },
        ),
        ("stream.drain", {"retryMs": 1000}),
    )
    page = await browser.open("about:blank", **WIDE)
    await page.add_init_script(NOTE_CHIP)
    await page.route("**/v1/executions/stream?*", once(body))
    await page.goto(service.url)
    await expect(row(page, "loss-kept").locator(".status")).to_have_text("failed")
    await expect(rows(page)).to_have_count(1)
    said = [re.sub(r"as of [\d:]+$", "as of TIME", text) for text in await page.evaluate("window.chipSaid")]
    assert said == [
        *("Connecting", "Catching up", "Live", "Stale since 5 Jan 10:30:00", "Live", "Catching up", "Live"),
        "Reconnecting, as of TIME",
    ]


# --- one execution ---------------------------------------------------------------------------------------------------


async def test_one_execution_opens_with_its_nodes_and_log(service: Service, browser: Browser) -> None:
    """By keyboard: its nodes as a timeline, its log and its error, live; Escape leads back to its row."""
    await tell(
        service,
        event("execution.started", "one-2", ago_s=60),
        event("execution.started", "one-1", ago_s=30, nodeCount=3, mode="webhook"),
        event("node.started", "one-1", ago_s=30, nodeId="a", nodeName="Fetch"),
        event("node.completed", "one-1", ago_s=20, nodeId="a", nodeName="Fetch", duration=10.0),
        event("log.appended", "one-1", ago_s=20, lines=[{"level": "info", "message": "Fetched"}]),
        event("node.started", "one-1", ago_s=10, nodeId="b", nodeName="Send", iteration=1, attempt=2),
    )
    page = await browser.open(f"{service.url}/?workflow=one", **WIDE)

    async def log_first(route: Route) -> None:
        """Something is told after the execution was read, and before its stream begins."""
        await tell(service, event("log.appended", "one-1", lines=[{"level": "warn", "message": "Slow"}]))
        await route.continue_()

    await page.route("**/one-1/stream?*", log_first)
    await row(page, "one-1").locator("a").focus()
    await page.keyboard.press("Enter")
    detail = page.locator("#detail")
    await expect(detail).to_be_focused()
    await expect(detail.locator(".nodes li")).to_have_text(
        [re.compile(r"Fetch\s+success 10.0 s"), re.compile(r"Send · round 2 · attempt 2\s+running")]
    )
    await expect(detail.locator(".log li")).to_have_text([re.compile("info.*Fetched"), re.compile("warn.*Slow")])
    await tell(
        service,
        event("node.failed", "one-1", nodeId="b", nodeName="Send", iteration=1, attempt=2, duration=9.0),
        *(event("node.started", "one-1", ago_s=11, nodeId="b", iteration=1, attempt=late) for late in (1, 2)),
        event("log.appended", "one-1", lines=[{"level": "error", "message": "Not sent"}], final=True),
        event("execution.failed", "one-1", duration=30.0, error={"message": "The mail server is away"}),
    )
    await expect(detail.locator(".error")).to_have_text("The mail server is away")
    await expect(detail.locator(".log li").last).to_have_text(re.compile("error.*Not sent"))
    assert await detail.locator(".nodes li").evaluate_all("runs => runs.map((run) => run.dataset.status)") == [
        "success",
        "failed",
    ]
    assert await places(detail) == [(0.0, 0.33), (0.67, 0.3)]
    await page.keyboard.press("Escape")
    await expect(detail).to_be_hidden()
    await expect(row(page, "one-1").locator("a")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(row(page, "one-2").locator("a")).to_be_focused()


async def test_an_address_opens_an_execution(service: Service, browser: Browser) -> None:
    """A link leads to one execution, also to one that is not there, and back leads away again."""
    browser.expected = re.compile(r"404 \(Not Found\)")
    await tell(service, *runs_of("linked", 1, "execution.failed", ago_s=9000))
    page = await browser.open(f"{service.url}/#id=nobody", **WIDE)
    await expect(page.locator("#detail .error")).to_have_text("Execution with ID 'nobody' not found")
    await page.goto(f"{service.url}/#id=linked-0")
    await expect(page.locator("#detail h2")).to_have_text("Workflow linked")
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator("#detail")).to_be_hidden()
    await page.go_back()
    await expect(page.locator("#detail .id")).to_have_text("linked-0")


# --- strangers' text, small windows ----------------------------------------------------------------------------------

MARKUP: Final = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script><b>bold</b>"
FOREIGN: Final = (
    *("__proto__", "constructor", "a,b", "a/b?c=d#e&f", "%2F%00", "\"'`", "שלום עולם"),
    *(MARKUP, "x" * 256),
)


async def test_strangers_text_is_text(service: Service, browser: Browser) -> None:
    """Markup, names of object members, right to left, a megabyte: shown as written, cut, and inside a small window."""
    huge = MARKUP + "y" * 1_000_000
    for name in FOREIGN:
        await tell(
            service,
            event("execution.started", name, workflowName=f"\u202e{MARKUP}"),
            event("node.started", name, nodeId=name, nodeName=MARKUP * 3),
            event("log.appended", name, lines=[{"level": MARKUP, "message": f"\u202e{MARKUP}"}]),
            event("execution.failed", name, error={"message": MARKUP * 5, "type": MARKUP}),
        )
    # The earliest end counts, and telling all of that may have taken a while.
    await tell(service, event("execution.failed", FOREIGN[0], ago_s=600, error={"message": huge}))
    await tell(service, event("log.appended", FOREIGN[0], lines=[{"level": "error", "message": huge}]))
    address = f"{service.url}/?workflow=strangers"
    page = await browser.open(address, **PHONE)
    await expect(rows(page)).to_have_count(len(FOREIGN))
    assert set(dict(await page.evaluate(ROWS))) == set(FOREIGN)
    assert await is_within(page)
    for name in FOREIGN:
        await page.goto(f"{address}#{urlencode({'id': name})}")
        await expect(page.locator("#detail .id")).to_have_text(shortened(name))
        await expect(page.locator("#detail h2")).to_have_text(f"\u202e{MARKUP}")
        await expect(page.locator("#detail .nodes .name")).to_have_text(shortened(MARKUP * 3, 80))
        await expect(page.locator("#detail .log .message").first).to_have_text(f"\u202e{MARKUP}")
        assert await is_within(page)
    await page.goto(f"{address}#id={FOREIGN[0]}")
    await expect(page.locator("#detail .error")).to_have_text(shortened(huge, 2000))
    await expect(page.locator("#detail .log .message").last).to_have_text(shortened(huge, 2000))
    assert await page.evaluate("[window.hacked, document.querySelectorAll('img, b:not(.number)').length]") == [None, 0]


# --- what the tests do -----------------------------------------------------------------------------------------------


def event(kind: str, execution_id: str, *, ago_s: float = 0.0, **data: Any) -> Event:
    """An event of `ago_s` seconds ago; `old-3` is an execution of the workflow `old`."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return {
        "type": kind,
        "id": uuid.uuid4().hex,
        "executionId": execution_id,
        "workflowId": execution_id.rpartition("-")[0] or "strangers",
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }


def runs_of(workflow_id: str, count: int, last: str, *, ago_s: float) -> list[Event]:
    """`count` executions of a workflow that began, and told `last` a second later."""
    return [
        event(kind, f"{workflow_id}-{number}", ago_s=at_s, workflowName=f"Workflow {workflow_id}")
        for number in range(count)
        for kind, at_s in (("execution.started", ago_s), (last, ago_s - 1))
    ]


async def tell(service: Service, *events: Event) -> None:
    """Post events, and wait until they are visible."""
    async with service.client() as client:
        for at in range(0, len(events), 500):
            answer = await client.post("/v1/events", json=events[at : at + 500])
            assert {result["verdict"] for result in answer.json()["results"]} == {"accepted"}, answer.text
    await service.caught_up()


async def run_demo(engine: DemoEngine, runs: int) -> None:
    """Start this many demo executions, a dozen at a time; the last ones still run at the return."""
    for workflow_id in islice(cycle(WORKFLOWS), runs):
        await eventually(lambda: has_at_most(engine, 11), within_s=60)
        await execute(engine, workflow_id)


async def has_at_most(engine: DemoEngine, count: int) -> bool:
    """Whether the engine runs no more than `count` executions."""
    return engine.statistics()["running"] <= count


async def restart(service: Service, page: Page, end: Callable[[], Awaitable[Any]]) -> None:
    """End the service and start it again; the chip tells both."""
    chip = page.get_by_role("status")
    await end()
    await expect(chip).to_have_text(re.compile(r"^Reconnecting, as of \d\d:\d\d:\d\d$"))
    service.launch()
    await service.ready()
    await expect(chip).to_have_text("Live")


def killed(service: Service) -> Callable[[], Awaitable[None]]:
    """Ends it by SIGKILL."""

    async def end() -> None:
        service.kill()

    return end


async def told_by_api(service: Service) -> dict[str, list[Any]]:
    """Status, version and progress of every execution."""
    told: dict[str, list[Any]] = {}
    query: dict[str, Any] = {"limit": 100}
    async with service.client() as client:
        while query.get("cursor", "first"):
            answer = (await client.get("/v1/executions", params=query)).json()
            for found in answer["data"]:
                told[found["id"]] = [found["status"], found["version"], found["progress"]["ratio"]]
            query["cursor"] = answer["pagination"]["nextCursor"]
    return told


async def shows(page: Page, told: dict[str, list[Any]]) -> bool:
    """Whether the rows of the page are these."""
    return dict(await page.evaluate(ROWS)) == told


async def choose(page: Page, status: str) -> None:
    """Choose a status."""
    await page.locator("#statuses label", has=page.get_by_text(status, exact=True)).click()


def rows(page: Page) -> Locator:
    """All rows."""
    return page.locator("#rows li")


def row(page: Page, execution_id: str) -> Locator:
    """The row of an execution."""
    return page.locator(f"#rows li[data-id={json.dumps(execution_id)}]")


async def places(detail: Locator) -> list[tuple[float, float]]:
    """Where each bar of the timeline begins, and how long it is, as shares of the whole."""
    read = "runs => runs.map(({ style }) => ['--from', '--length'].map((name) => style.getPropertyValue(name)))"
    return [
        (round(float(at), 2), round(float(length), 2)) for at, length in await detail.locator(".run").evaluate_all(read)
    ]


def stream(*frames: tuple[str, dict[str, Any]]) -> str:
    """The body of an event stream; the name of an event that has none is empty."""
    blocks = [f"event: {name}\n" * bool(name) + f"data: {json.dumps(members)}\n\n" for name, members in frames]
    return "".join(blocks)


def once(body: str) -> Callable[[Route], Awaitable[None]]:
    """Answers the first request with this event stream, and no other."""
    bodies = [body]

    async def answer(route: Route) -> None:
        if bodies:
            await route.fulfill(body=bodies.pop(), content_type="text/event-stream")
        else:
            await route.abort()

    return answer


def shortened(text: str, most: int = 200) -> str:
    """What the page makes of a long text."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


async def is_within(page: Page) -> bool:
    """Whether nothing sticks out of the window."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


async def take_picture(page: Page, folder: Path) -> None:
    """Open an execution that failed, and keep what the page looks like."""
    await page.set_viewport_size({"width": 1200, "height": 640})  # what a README shows, in less than 150 KB
    await page.locator("#rows li[data-status=failed] a").first.click()
    await expect(page.locator("#detail .log li").last).to_be_visible()
    await page.evaluate("scrollTo(0, 0)")
    await page.mouse.move(0, 0)
    await page.screenshot(path=folder / "live-page.png")
    await page.keyboard.press("Escape")


# --- who looks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Service]:
    """A service that asks for tokens."""
    with running(Service(tmp_path / "data", auth="on")) as service:
        yield service


async def test_page_asks_for_a_token_once(guarded: Service, browser: Browser) -> None:
    """A wrong one is refused in words, the right one opens the page for the session, leaving closes it again."""
    browser.expected = re.compile("the server responded with a status of 401")
    service, token = guarded, await guarded.first_token()
    page = await browser.open(service.url, **WIDE)
    await expect(page.locator("#door")).to_be_visible()
    await expect(page.locator("#strip")).to_be_hidden()
    await sign_in(page, "mon_0000000000000000_" + "0" * 64)
    await expect(page.locator("#refusal")).to_contain_text("not one of this service")
    await sign_in(page, token)
    await expect(page.locator("#chip")).to_have_text("Live")
    await expect(page.locator("#door")).to_be_hidden()
    async with httpx.AsyncClient(
        base_url=service.url, headers={"authorization": f"Bearer {token}"}, timeout=60
    ) as client:
        assert (await client.post("/v1/events", json=[event("execution.started", "behind-a-door")])).is_success
        await expect(row(page, "behind-a-door")).to_be_visible()
        await page.reload()
        await expect(row(page, "behind-a-door")).to_be_visible()
        assert await page.evaluate("document.cookie") == ""
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.locator("#door")).to_be_visible()
        await expect(row(page, "behind-a-door")).to_be_hidden()
        ticket = (await client.post("/v1/stream-tickets")).json()["ticket"]
    await page.goto(f"{service.url}/#ticket={ticket}")
    await page.reload()
    await expect(row(page, "behind-a-door")).to_be_visible()
    assert "ticket" not in page.url


async def sign_in(page: Page, token: str) -> None:
    """As somebody types it."""
    await page.fill("#token", token)
    await page.press("#token", "Enter")
