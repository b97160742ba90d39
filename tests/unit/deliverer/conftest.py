"""What tests of the deliverer work with: each kind of store, a receiver, and time that passes when a test says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.base import Store
from monitor.store.memory import MemoryStore
from monitor.store.sqlite import open_sqlite_store
from tests.support.clocks import ManualClock
from tests.support.receiver import Receiver, receiving


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store."""
    opened: Store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield opened
    await opened.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


@pytest.fixture
def clock() -> ManualClock:
    """Time that passes when a test says so."""
    return ManualClock()
