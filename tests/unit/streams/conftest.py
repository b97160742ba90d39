"""Tests of what depends on a loop's transports run on both loops that the service knows."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

ON_BOTH_LOOPS = ("test_byte_order", "test_direct", "test_transports")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """asyncio's own loop, and where it matters uvloop as well, as far as the platform has it."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH_LOOPS:
        try:
            import uvloop
        except ImportError:
            return factories
        factories["uvloop"] = uvloop.new_event_loop
    return factories
