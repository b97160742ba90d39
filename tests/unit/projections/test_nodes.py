"""Each run of a node keeps its own registers."""

from monitor.projections.execution import Node
from monitor.projections.view import latest_runs
from tests.support.clocks import NOON_US
from tests.support.folding import Run


def only(run: Run) -> Node:
    """The one run of a node that there is."""
    [node] = run.execution.nodes.values()
    return node


def test_a_run_from_start_to_end() -> None:
    """Times, measured duration, label and error."""
    run = Run()
    run.tell("node.started", 1, data={"nodeId": "a", "nodeName": "A", "nodeType": "http"})
    assert (only(run).status, only(run).stopped_us) == ("running", None)
    run.tell("node.failed", 3, data={"nodeId": "a", "error": "no answer", "duration": 1.5})
    node = only(run)
    assert (node.status, node.started_us, node.stopped_us) == ("failed", NOON_US + 1_000_000, NOON_US + 3_000_000)
    assert (node.duration_us, node.error) == (1_500_000, {"message": "no answer"})
    assert node.label is not None
    assert node.label[2:] == ("A", "http")


def test_a_node_that_only_shows_progress_is_queued_until_more_is_known() -> None:
    """Progress says nothing about the status."""
    run = Run()
    run.tell("node.progress", data={"nodeId": "a"})
    assert only(run).status == "queued"


def test_the_earliest_end_holds_but_any_beats_a_crash() -> None:
    """As for executions."""
    run = Run()
    run.tell("node.failed", 1, data={"nodeId": "a", "status": "crashed"})
    run.tell("node.completed", 5, data={"nodeId": "a"})
    run.tell("node.cancelled", 9, data={"nodeId": "a"})
    assert only(run).status == "success"


def test_progress_counts_distinct_nodes() -> None:
    """Loops and retries of a node count once; the declared number holds while it is the larger one."""
    run = Run()
    run.tell("execution.started", data={"nodeCount": 3})
    for second, (node_id, iteration) in enumerate([("a", 0), ("a", 1), ("b", 0)]):
        run.tell("node.completed", second, data={"nodeId": node_id, "iteration": iteration})
    assert (run.view.progress.completed, run.view.progress.total) == (2, 3)
    for node_id in ("c", "d"):
        run.tell("node.completed", 9, data={"nodeId": node_id})
    progress = run.view.progress
    assert (progress.completed, progress.total, progress.ratio("running")) == (4, 4, 0.99)


def test_the_current_node_is_the_one_that_started_last() -> None:
    """By name if it has one; none after the end."""
    run = Run()
    run.tell("node.started", 5, data={"nodeId": "b", "nodeName": "Second"})
    run.tell("node.started", 1, data={"nodeId": "a"})
    assert run.view.progress.current == "Second"
    run.tell("execution.completed", 6)
    assert run.view.progress.current is None


def test_the_latest_run_of_each_node_in_order_of_start() -> None:
    """The highest iteration, in it the highest attempt."""
    run = Run()
    run.tell("node.started", 5, data={"nodeId": "a", "iteration": 0})
    run.tell("node.started", 7, data={"nodeId": "a", "iteration": 1})
    run.tell("node.started", 6, data={"nodeId": "b", "attempt": 2})
    run.tell("node.started", 4, data={"nodeId": "b", "attempt": 1})
    assert [key for key, _ in latest_runs(run.execution.nodes)] == [("b", 0, 2), ("a", 1, 1)]
