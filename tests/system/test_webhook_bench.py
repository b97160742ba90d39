"""The smallest piece of `scripts/bench webhooks`: every sender and every fault, counted to the last delivery."""

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.perf._programs import CannotMeasure, compiled
from tests.perf._webhooks_faults import first_beside_backlog_s, memory
from tests.perf._webhooks_load import Load
from tests.perf._webhooks_senders import Party, Scene, Wish, percentile_s, register, scene

_ENDPOINTS = 4


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """The load program; where it cannot be compiled the reason of the skip names the cure."""
    with ExitStack() as stack:
        try:
            [made] = stack.enter_context(compiled("webhooks_load"))
        except CannotMeasure as reason:
            pytest.skip(str(reason))
        yield made


@pytest.fixture
def here(program: Path) -> Iterator[Scene]:
    """Where senders are started."""
    with scene(program) as made:
        yield made


@pytest.fixture
def load(program: Path) -> Iterator[Load]:
    """A load of which nobody knows."""
    with closing(Load(program)) as made:
        yield made


def test_every_event_reaches_every_endpoint_once(here: Scene) -> None:
    """The product, the pool and both floors deliver exactly what was published."""
    ours = here.ours()
    for sender, load in (ours, here.pool()):
        load.endpoints(_ENDPOINTS, "all")
        register(sender, (Wish(load.url(endpoint)) for endpoint in range(_ENDPOINTS)))
        for seen in (load.window(5, 40, 0.05), load.rate(200, 0.05)):
            assert seen.events >= 5
            assert seen.deliveries == seen.events * _ENDPOINTS
        load.rest()
    for kind in ("aiohttp", "sockets"):
        seen = here.floor(kind, ours.load, _ENDPOINTS).send(100, _ENDPOINTS)
        assert (seen.events, seen.deliveries) == (100, 100)


@pytest.mark.parametrize("start", [Scene.ours, Scene.pool])
def test_half_of_the_traffic_can_hang(here: Scene, start: Callable[[Scene], Party]) -> None:
    """The first endpoint gets every other event; when it hangs, the rest get theirs nevertheless."""
    sender, load = start(here)
    load.endpoints(_ENDPOINTS, "half")
    register(sender, (Wish(load.url(endpoint), endpoint) for endpoint in range(_ENDPOINTS)))
    seen = load.rate(200, 0.1)
    assert (seen.events, seen.deliveries, seen.apart) == (20, 20, 10)
    load.hang()
    seen = load.rate(200, 0.1)
    assert (seen.events, seen.deliveries) == (20, 10)
    assert seen.apart > 0


def test_a_new_endpoint_is_served_beside_a_backlog(here: Scene) -> None:
    """Each time the time to its first delivery is told."""
    took = first_beside_backlog_s(here.ours(), 100)
    assert len(took) == 5
    assert all(0 < one < 10 for one in took)


def test_memory_is_told_before_and_after(here: Scene) -> None:
    """That of the service with its endpoints is more than that without."""
    used = memory(here.ours(), 50, idle_s=0.1)
    assert 0 < used.before_mb < used.idle_mb


@pytest.mark.parametrize(
    ("requests", "complaint"),
    [
        ([], "not every delivery came:"),
        ([(0, 0, "a"), (0, 0, "a")], "doubled=1, reused=0, foreign=0"),
        ([(0, 0, "a"), (0, 0, "b")], "doubled=1, reused=0, foreign=0"),
        ([(0, 0, "a"), (0, 1, "b")], "doubled=0, reused=0, foreign=1"),
        ([(1, 0, "a")], "not every delivery came:"),
        ([(0, 0, "a"), (7, 0, "b")], "doubled=0, reused=0, foreign=1"),
        ([(0, 0, "a"), (0, 2, "b")], "doubled=0, reused=0, foreign=1"),
    ],
)
def test_a_miscount_is_noticed(load: Load, requests: list[tuple[int, int, str]], complaint: str) -> None:
    """What is lost, comes twice, or goes where it was not to, spoils the measurement."""
    load.endpoints(2, "turns")
    load.patience(0.1)
    assert load.begin_await(1) == 0
    for endpoint, number, id_ in requests:
        _post(load, endpoint, number, id_)
    with pytest.raises(AssertionError, match=complaint):
        _judge(load)


def test_an_id_of_another_delivery_is_noticed(load: Load) -> None:
    """Receivers take the second one for a repetition and drop it."""
    load.endpoints(2, "turns")
    load.begin_await(2)
    _post(load, 0, 0, "a")
    _post(load, 1, 1, "a")
    with pytest.raises(AssertionError, match="doubled=0, reused=1, foreign=0"):
        _judge(load)


def test_what_comes_once_is_fine(load: Load) -> None:
    """Each number at the endpoint that wants it, under an id of its own."""
    load.endpoints(2, "turns")
    load.begin_await(2)
    _post(load, 1, 1, "b")
    _post(load, 0, 0, "a")
    _judge(load)


def test_a_percentile_lies_within_its_bucket() -> None:
    """Spread evenly; beyond the last bound that bound is given."""
    counts = {0.01: 50.0, 0.1: 90.0, math.inf: 100.0}
    assert percentile_s(counts, 0.25) == pytest.approx(0.005)
    assert percentile_s(counts, 0.7) == pytest.approx(0.055)
    assert percentile_s(counts, 0.99) == 0.1


def _judge(load: Load) -> None:
    """What came of waiting, and what comes still."""
    load.answer().checked()
    load.rest(0.05)


def _post(load: Load, endpoint: int, number: int, id_: str) -> None:
    """A delivery that this test makes up, and its answer."""
    body = f'{{"mark":"~{number:08d}{0:016d}"}}'
    head = f"POST /{endpoint} HTTP/1.1\r\nhost: here\r\nWebhook-Id: {id_}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", load.port)) as connection:
        connection.sendall((head + body).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
