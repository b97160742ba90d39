"""What every fault may ask for: three brokers that all share, and a house of its own that is counted in the end."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.house import House, Shape, shaken
from tests.chaos.verdict import Promise, report
from tests.support.kafka import prepare
from tests.support.kafka_cluster import Cluster
from tests.support.kafka_jars import KafkaUnavailable

Shaken = Callable[..., AbstractAsyncContextManager[House]]

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
def counted(request: pytest.FixtureRequest) -> Callable[[Mapping[str, Promise]], None]:
    """Takes what the final count came to, for the end of the run."""
    name, began_s = request.node.name, time.monotonic()

    def take(promises: Mapping[str, Promise]) -> None:
        took_s = time.monotonic() - began_s
        lines = report(promises).replace("\n", "\n  ")
        request.config.stash[_COUNTED][f"{name} ({took_s:.0f} s)"] = f"  {lines}"

    return take


@pytest.fixture
def house(tmp_path: Path, counted: Callable[[Mapping[str, Promise]], None]) -> Shaken:
    """Opens a house without Kafka."""
    return _opener(tmp_path, None, counted)


@pytest.fixture
def on_kafka(tmp_path: Path, cluster: Cluster, counted: Callable[[Mapping[str, Promise]], None]) -> Shaken:
    """Opens a house over the three brokers."""
    return _opener(tmp_path, cluster, counted)


def _opener(folder: Path, cluster: Cluster | None, counted: Callable[[Mapping[str, Promise]], None]) -> Shaken:
    @asynccontextmanager
    async def opened(shape: Shape = Shape(), **settings: Any) -> AsyncIterator[House]:  # noqa: B008 - frozen
        async with shaken(folder, shape, cluster, **settings) as house:
            yield house
        counted(house.promises)

    return opened
