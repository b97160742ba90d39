"""The smallest piece of `scripts/bench fanout`: every kind of server and of subscriber, counted to the last event."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.perf._fanout_load import KINDS, Kind
from tests.perf._fanout_servers import Programs, Server, compiled, frame_of, scene
from tests.perf._programs import CannotMeasure

_SUBSCRIBERS = 20
_EXECUTIONS = 40


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    """The programs in C; where they cannot be compiled the reason of the skip names the cure."""
    with ExitStack() as stack:
        try:
            made = stack.enter_context(compiled())
        except CannotMeasure as reason:
            pytest.skip(str(reason))
        yield made


@pytest.fixture(scope="module")
def ours(programs: Programs) -> Iterator[Server]:
    """The product's server; it takes subscribers of every kind."""
    with scene(programs) as here:
        yield here.ours(executions=_EXECUTIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_reaches_every_subscriber_once(programs: Programs, ours: Server, kind: Kind) -> None:
    """The product, the bound and the rival deliver exactly what was published, one by one and several at once."""
    with scene(programs) as here:
        frame = frame_of(ours)
        for server in (ours, here.bound(kind, frame), here.rival(kind, frame)):
            load = here.load(kind, server)
            load.connect(_SUBSCRIBERS, server.path)
            for together in (1, 4):
                seen = load.burst(together, 0.05)
                assert seen.events >= together
                assert seen.deliveries == seen.events * _SUBSCRIBERS


def test_subscribers_of_one_execution_get_its_events_alone(programs: Programs, ours: Server) -> None:
    """With a filter of its own, each subscriber gets every event of its execution and nothing else."""
    with scene(programs) as here:
        load = here.load("ws", ours)
        load.connect(_SUBSCRIBERS, "/v1/executions/stream?filter[workflowId]=wf_%d", every=_EXECUTIONS)
        seen = load.burst(_EXECUTIONS, 0.05)
        assert seen.deliveries == seen.events * _SUBSCRIBERS // _EXECUTIONS


def test_a_miscount_is_noticed(programs: Programs, ours: Server) -> None:
    """A subscriber that gets what it does not expect spoils the measurement."""
    with scene(programs) as here:
        spoiling, spoilt = (here.load("sse", ours) for _ in range(2))
        for load in (spoiling, spoilt):
            load.connect(1, ours.path)
        spoiling.burst(1, 0.05)
        with pytest.raises(AssertionError, match="not every event came once"):
            spoilt.burst(1, 0.05)
