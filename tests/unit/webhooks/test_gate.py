"""Names are looked up beside each other: zones that do not answer hold up nobody else, and threads are few."""

from collections.abc import Iterator
from threading import Event, current_thread

import pytest

from monitor.webhooks.gate import MOST_LOOKUPS, Lookups

WITHIN_S = 120.0


@pytest.fixture
def lookups() -> Iterator[Lookups]:
    """Ended with the test."""
    with Lookups() as running:
        yield running


def test_slow_names_hold_up_no_other(lookups: Lookups) -> None:
    """With all but one thread waiting for a zone, a name is looked up at once; what comes beyond waits its turn."""
    answered = Event()
    slow = [lookups.submit(answered.wait) for _ in range(MOST_LOOKUPS - 1)]
    assert lookups.submit(str, 1).result(WITHIN_S) == "1"
    slow.append(lookups.submit(answered.wait))
    late = lookups.submit(str, 2)
    assert not late.done()
    answered.set()
    assert late.result(WITHIN_S) == "2"
    assert all(future.result(WITHIN_S) for future in slow)


def test_idle_thread_is_used_again(lookups: Lookups) -> None:
    """Names that follow each other need no second thread."""
    first = lookups.submit(current_thread).result(WITHIN_S)
    # It says that it is idle after it gave its answer.
    while not lookups._idle._value:
        pass
    assert lookups.submit(current_thread).result(WITHIN_S) is first


def test_failure_is_told_to_whoever_asked(lookups: Lookups) -> None:
    """And the thread goes on."""
    assert isinstance(lookups.submit(int, "x").exception(WITHIN_S), ValueError)
    assert lookups.submit(int, "3").result(WITHIN_S) == 3


def test_threads_end_with_their_work() -> None:
    """Nobody waits for them, and none is left."""
    with Lookups() as running:
        thread = running.submit(current_thread).result(WITHIN_S)
    thread.join(WITHIN_S)
    assert not thread.is_alive()
