"""The view of an execution follows from its registers."""

import msgspec
import pytest

from monitor.projections.execution import Execution, Progress, Registers
from monitor.projections.view import summary
from tests.support.clocks import NOON_US
from tests.support.folding import Run, at


def test_nothing_known_is_a_queued_stub() -> None:
    """What an execution is before its first event."""
    view = summary(Execution("default", "exec_1"))
    assert (view.status, view.at_us, view.progress, view.duration_us) == ("queued", 0, Progress(0, 0, None, None), None)


def test_registers_survive_their_blob() -> None:
    """As stores keep them."""
    run = Run()
    run.tell("execution.started", 1, workflowId="wf", data={"tags": ["a"], "metadata": {"x": [1]}, "inputData": 1})
    run.tell("node.started", 1, data={"nodeId": "a"})
    run.tell("execution.progress", 2, data={"completed": 1, "total": 2})
    run.verdict(as_of=2)
    run.tell("execution.annotated", 2, data={"vote": "up"})
    blob = msgspec.msgpack.encode(run.execution.registers)
    assert msgspec.msgpack.decode(blob, type=Registers) == run.execution.registers


def test_times_of_lists() -> None:
    """By start, else queueing, else the first report, else when it was first heard of."""
    run = Run()
    run.tell("command.requested", 9, data={"commandId": "c"})
    assert run.view.at_us == run.view.created_us
    run.tell("node.started", 8, data={"nodeId": "a"})
    assert run.view.at_us == NOON_US + 8_000_000
    run.tell("execution.queued", 9)
    assert run.view.at_us == NOON_US + 9_000_000
    run.tell("execution.started", 10)
    assert (run.view.at_us, run.view.started_us, run.view.queued_us) == (
        NOON_US + 10_000_000,
        NOON_US + 10_000_000,
        NOON_US + 9_000_000,
    )


@pytest.mark.parametrize(
    ("started", "ended", "measured", "expected_us"),
    [
        (("a", 1), ("a", 3), None, 2_000_000),
        (("a", 3), ("a", 1), None, 0),
        (("a", 1), ("b", 3), None, None),
        (("a", 1), ("b", 3), 0.25, 250_000),
        (("a", 1), ("a", 3), -5, 2_000_000),
        (("a", 1), ("a", 3), "long", 2_000_000),
        (("a", 1), ("a", 3), True, 2_000_000),
    ],
)
def test_durations_come_from_one_clock(
    started: tuple[str, float], ended: tuple[str, float], measured: object, expected_us: int | None
) -> None:
    """Measured by the engine, else end minus start of one source, never negative; two clocks give none."""
    run = Run()
    run.tell("execution.started", started[1], source=started[0])
    run.tell("execution.completed", ended[1], source=ended[0], data={"duration": measured})
    assert run.view.duration_us == expected_us


def test_the_engines_own_progress_outranks_counting() -> None:
    """When it says both numbers; completed never exceeds total, and only success is complete."""
    run = Run()
    run.tell("node.completed", 1, data={"nodeId": "a"})
    run.tell("execution.progress", 2, data={"message": "working"})
    assert (run.view.progress.completed, run.view.progress.total, run.view.progress.message) == (1, 1, "working")
    run.tell("execution.progress", 3, data={"completed": 30, "total": 20, "current": "rows"})
    assert run.view.progress == Progress(20, 20, "rows", None)
    assert run.view.progress.ratio(run.view.status) == 0.99
    run.tell("execution.completed", 4)
    assert run.view.progress.ratio(run.view.status) == 1.0
    assert run.view.progress.current is None


def test_what_it_waits_for_shows_while_it_waits() -> None:
    """Kind and until, and nothing else of the event."""
    run = Run()
    run.tell("execution.waiting", 1, data={"kind": "timer", "until": at(60), "token": "secret"})
    assert run.view.waiting == {"kind": "timer", "until": at(60)}
    run.tell("execution.resumed", 2)
    assert run.view.waiting is None


def test_how_it_ended_shows_after_the_end() -> None:
    """Of the end that decides."""
    run = Run()
    run.tell("execution.cancelled", 2, data={"reason": "manual"})
    run.tell("execution.failed", 5, data={"error": {"message": "late"}})
    assert (run.view.reason, run.view.error) == ("manual", None)
