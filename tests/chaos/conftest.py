"""What every fault may ask for: three brokers that all share, and a house of its own that is counted in the end."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.house import House, shaken
from tests.chaos.shape import EMBEDDED, SPREAD, Ground, Shape
from tests.chaos.verdict import Promise, report
from tests.support.debian import Unavailable
from tests.support.kafka import prepare
from tests.support.kafka_cluster import Cluster
from tests.support.kafka_jars import KafkaUnavailable
from tests.support.postgres import Server
from tests.support.postgres import prepare as prepare_postgres

Shaken = Callable[..., AbstractAsyncContextManager[House]]
Take = Callable[[Mapping[str, Promise]], None]

_COUNTED: Final = pytest.StashKey[dict[str, str]]()
"""What was counted after each fault."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the counts of a run."""
    config.stash[_COUNTED] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was counted, promise by promise."""
    if counted := config.stash[_COUNTED]:
        terminalreporter.section("what was counted after each fault")
        for fault, said in counted.items():
            terminalreporter.write_line(f"{fault}\n{said}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three brokers; each house mends them first, whatever the one before left."""
    try:
        jars = prepare()
    except KafkaUnavailable as error:
        pytest.skip(f"no Kafka that can be killed: {error}")
    with Cluster(jars) as brokers:
        yield brokers


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Take:
    """Takes what the final count came to, for the end of the run."""
    name, began_s = request.node.name, time.monotonic()

    def take(promises: Mapping[str, Promise]) -> None:
        took_s = time.monotonic() - began_s
        lines = report(promises).replace("\n", "\n  ")
        request.config.stash[_COUNTED][f"{name} ({took_s:.0f} s)"] = f"  {lines}"

    return take


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL that all share; each house mends it first as well."""
    try:
        prepare_postgres()
    except Unavailable as error:
        pytest.skip(f"no PostgreSQL: {error}")
    with Server() as server:
        yield server


@pytest.fixture
def by_itself(tmp_path: Path, counted: Take) -> Shaken:
    """Opens a house with nothing but Python: embedded journal and store."""
    return _opener(tmp_path, EMBEDDED, Ground(), counted)


@pytest.fixture
def on_kafka(tmp_path: Path, cluster: Cluster, counted: Take) -> Shaken:
    """Opens a house over the three brokers: one process does everything, its store is embedded."""
    return _opener(tmp_path, Shape(), Ground(cluster), counted)


@pytest.fixture
def spread(tmp_path: Path, cluster: Cluster, server: Server, counted: Take) -> Shaken:
    """Opens a house over the three brokers and PostgreSQL: several processes of each role."""
    return _opener(tmp_path, SPREAD, Ground(cluster, server), counted)


def _opener(folder: Path, usual: Shape, ground: Ground, counted: Take) -> Shaken:
    @asynccontextmanager
    async def opened(shape: Shape = usual, **settings: Any) -> AsyncIterator[House]:
        async with shaken(folder, shape, ground, **settings) as house:
            yield house
        counted(house.promises)

    return opened
