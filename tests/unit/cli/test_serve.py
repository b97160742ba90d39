"""How a service ended becomes an exit code, and the reason a line in the log."""

import io
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import structlog

from monitor.cli.serve import run_to_exit_code
from monitor.errors import DataFolderBusy, JournalUnavailable
from monitor.telemetry.logs import configure_logs

Service = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the process under test would log; the log of all tests is as before afterwards."""
    written = io.StringIO()
    monkeypatch.setattr("monitor.cli.serve.configure_logs", lambda form: configure_logs(form, written))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def drained() -> None:
    """A service that a signal ended."""


async def broken() -> None:
    """A service one of whose loops died."""
    raise ExceptionGroup("loops", [ValueError("the pipeline is broken")])


async def surprised() -> None:
    """A service that ended by a mistake of ours."""
    raise ValueError("a surprise")


async def locked_out() -> None:
    """A service that could not start."""
    raise DataFolderBusy


async def alone() -> None:
    """A service whose journal is away at the start."""
    raise JournalUnavailable


def test_drained_service_has_done_its_work() -> None:
    """Exit code 0."""
    assert run_to_exit_code(drained(), "json") == 0


@pytest.mark.parametrize(
    ("service", "reason"), [(broken, "the pipeline is broken"), (surprised, "a surprise")], ids=["loop", "surprise"]
)
def test_dead_loop_is_logged_and_ends_the_process(service: Service, reason: str, log: io.StringIO) -> None:
    """Exit code 1, with the traceback for whoever looks."""
    assert run_to_exit_code(service(), "console") == 1
    assert reason in log.getvalue()


@pytest.mark.parametrize(("service", "error"), [(locked_out, DataFolderBusy), (alone, JournalUnavailable)])
def test_reason_not_to_start_is_left_to_the_caller(service: Service, error: type[Exception]) -> None:
    """Which says it in one line."""
    with pytest.raises(error):
        run_to_exit_code(service(), "console")
