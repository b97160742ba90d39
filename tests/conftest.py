"""What every test may ask for: a real Kafka, a real browser, the long form; and the options of a run."""

import asyncio
import logging
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog
from hypothesis import settings
from structlog.stdlib import ProcessorFormatter

from monitor.store import open_postgres_store
from tests.support.browser import Browser, BrowserUnavailable, prepare_browser, running_browser
from tests.support.debian import Unavailable
from tests.support.kafka import Broker, Kafka, prepare
from tests.support.kafka_choice import choose_kafka
from tests.support.kafka_jars import KafkaUnavailable
from tests.support.postgres import Postgres, Server, choose_postgres
from tests.support.postgres import prepare as prepare_postgres

CHAOS: Final = Path(__file__).parent / "chaos"

_KAFKA: Final = {"kafka", "own_kafka", "cluster"}
_SERVERS: Final = {*_KAFKA, "postgres", "own_postgres", "server", "docker"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the options that scripts/test and .github/CONTRIBUTING.md document."""
    group = parser.getgroup("execution-monitor")
    group.addoption("--no-skips", action="store_true", help="a skipped test fails the run")
    group.addoption("--pictures", metavar="DIR", help="write the pictures of the README there, at the demo's own pace")
    group.addoption("--long", action="store_true", help="run the long forms and the tests marked long")
    group.addoption("--chaos", action="store_true", help="run the faults of tests/chaos alone, in their long form")


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach what the tests start: a shell that runs them in the background hands on to ignore it.

    The default run tries the same examples each time, so that it says the same of the same code; the long form looks
    for new ones.
    """
    if not config.getoption("--long"):
        settings.register_profile("repeatable", derandomize=True)
        settings.load_profile("repeatable")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# First, so that `-m` and `-k` choose among the marks that are given here.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs servers, and leave out what is only for the long form: nobody expected it to run."""
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if asked & _KAFKA:
            item.add_marker(pytest.mark.kafka)
        if asked & _SERVERS or CHAOS in item.path.parents or item.get_closest_marker("kafka"):
            item.add_marker(pytest.mark.servers)
    left_out = set[pytest.Item]()
    if config.getoption("--chaos"):
        left_out = {item for item in items if CHAOS not in item.path.parents}
    elif not config.getoption("--long"):
        left_out = {item for item in items if item.get_closest_marker("long")}
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that was to have no skips and had some."""
    if session.config.getoption("--no-skips") and skipped_reports(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """End by naming each skipped test and its reason."""
    if skipped := skipped_reports(config):
        forbidden = ", which --no-skips makes a failure" if config.getoption("--no-skips") else ""
        terminalreporter.section(f"{len(skipped)} skipped{forbidden}")
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            terminalreporter.write_line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")


def skipped_reports(config: pytest.Config) -> list[pytest.TestReport | pytest.CollectReport]:
    """The reports of all tests, and of modules as a whole, that were skipped so far."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return list(reporter.stats.get("skipped", [])) if reporter else []


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """What a command sets up for the log lines of its process ends with the test that ran it."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root = logging.getLogger()
        root.handlers[:] = [it for it in root.handlers if not isinstance(it.formatter, ProcessorFormatter)]
        root.setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def long_form(pytestconfig: pytest.Config) -> bool:
    """Whether this run takes the long forms: more rounds, more records, more connections."""
    return bool(pytestconfig.getoption("--long") or pytestconfig.getoption("--chaos"))


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The Kafka that all tests of the run share: take a topic of your own, leave the broker as it is."""
    try:
        chosen = choose_kafka()
    except KafkaUnavailable as error:
        pytest.skip(f"no Kafka: {error}")
    with chosen as shared:
        yield shared


@pytest.fixture
def own_kafka() -> Iterator[Broker]:
    """A broker of the test's own, to be killed, paused, stopped and started at will."""
    try:
        jars = prepare()
    except KafkaUnavailable as error:
        pytest.skip(f"no Kafka that can be killed: {error}")
    with Broker(jars) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL that all tests of the run share: take a database of your own, leave the server as it is."""
    try:
        with choose_postgres() as shared:
            yield shared
    except Unavailable as error:
        pytest.skip(f"no PostgreSQL: {error}")


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of a fresh and empty database of the test's own."""
    with postgres.database() as address:
        yield address


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> Iterator[str]:
    """The name of a database that holds an empty store, to which nobody is connected."""
    name = f"template_{uuid.uuid4().hex}"
    with postgres.database(name) as address:
        asyncio.run(_make_tables(address))
        yield name


async def _make_tables(address: str) -> None:
    store = await open_postgres_store(address)
    await store.close()


@pytest.fixture
def postgres_store_url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """The address of a database of the test's own with an empty store: sooner there than by making its tables."""
    with postgres.database(template=postgres_template) as address:
        yield address


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A server of the test's own, to be killed, paused, stopped and started at will."""
    try:
        prepare_postgres()
    except Unavailable as error:
        pytest.skip(f"no PostgreSQL that can be killed: {error}")
    with Server() as server:
        yield server


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A Chromium of the test's own; the test fails when a page complains on its console."""
    try:
        executable = prepare_browser()
    except BrowserUnavailable as error:
        pytest.skip(f"no browser: {error}")
    async with running_browser(executable) as running:
        yield running
