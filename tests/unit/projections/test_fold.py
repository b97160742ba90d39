"""The fold, rule by rule; `tests/properties/test_fold.py` tries all of them in any order."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.types import TYPES
from monitor.projections.fold import Changes, concluded, is_fresh, node_slot
from tests.support.clocks import NOON_US
from tests.support.folding import ID, Run

IN_TYPES = [name for name in TYPES if name not in {"execution.recovered", "execution.conflict"}]


def told(changes: Changes) -> list[str]:
    """The types of the events that were released."""
    return [release.event.type for release in changes.releases]


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_a_repeat_changes_nothing() -> None:
    """The same bytes again: counted, neither folded nor released."""
    run = Run()
    event = run.event("execution.started")
    assert is_fresh(run.execution, event)
    run.take(event)
    before = run.view
    changes = run.take(event, event)
    assert not is_fresh(run.execution, event)
    assert (changes.duplicates, changes.releases, changes.touched) == (2, [], {})
    assert run.view == before


def test_other_bytes_under_a_known_id_are_quarantined_and_told() -> None:
    """What was folded first holds; subscribers hear of the conflict."""
    run = Run()
    run.tell("execution.started", id="same")
    changes = run.tell("execution.completed", 1, id="same")
    assert [poison.reason for poison in changes.poison] == ["id_reused"]
    assert told(changes) == ["execution.conflict"]
    assert run.view.status == "running"


def test_poison_passes_through() -> None:
    """The commit quarantines it."""
    run = Run()
    run.tell("execution.started", id="same")
    [poison] = run.tell("execution.completed", 1, id="same").poison
    assert run.take(poison).poison == [poison]


# --- status ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        ("execution.queued", {}, "queued"),
        ("execution.started", {}, "running"),
        ("execution.waiting", {}, "waiting"),
        ("execution.resumed", {}, "running"),
        ("execution.completed", {}, "success"),
        ("execution.completed", {"status": "failed"}, "success"),
        ("execution.failed", {}, "failed"),
        ("execution.failed", {"status": "timeout"}, "timeout"),
        ("execution.failed", {"status": "crashed"}, "crashed"),
        ("execution.failed", {"status": 5}, "failed"),
        ("execution.cancelled", {}, "cancelled"),
        ("execution.heartbeat", {}, "running"),
        ("node.started", {"nodeId": "a"}, "running"),
        ("log.appended", {"lines": [{"message": "m"}]}, "running"),
        ("command.requested", {"commandId": "c"}, "queued"),
        ("execution.annotated", {}, "queued"),
        ("execution.late", {}, "running"),
        ("invoice.paid", {}, "queued"),
    ],
)
def test_the_first_event_alone_gives_a_status(type_: str, data: dict[str, Any], expected: str) -> None:
    """Nothing waits for an earlier event: any report is a sign of life, anything else leaves it queued."""
    run = Run()
    changes = run.tell(type_, data=data)
    assert run.view.status == expected
    assert [release.status for release in changes.releases] == [expected]


def test_a_clock_that_steps_back_keeps_nothing_waiting() -> None:
    """Inside a source that counts, the sequence decides, whatever the times say."""
    run = Run()
    run.tell("execution.waiting", 50, source="e", sequence=2)
    run.tell("execution.resumed", 10, source="e", sequence=3)
    assert run.view.status == "running"


def test_counted_reports_outrank_uncounted_ones_of_their_source() -> None:
    """Whoever counts is believed before a stray later time."""
    run = Run()
    run.tell("execution.waiting", 5, source="e", sequence=2)
    run.tell("execution.resumed", 60, source="e")
    assert run.view.status == "waiting"


def test_sources_are_compared_by_time() -> None:
    """Sequences of two sources mean nothing to each other."""
    run = Run()
    run.tell("execution.waiting", 5, source="a", sequence=90)
    run.tell("execution.resumed", 6, source="b", sequence=1)
    assert run.view.status == "running"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_earliest_reported_end_wins(order: tuple[int, int]) -> None:
    """Later ends neither move status nor finish time; contradiction is visible and told once."""
    run = Run()
    events = [run.event("execution.failed", 2, source="a"), run.event("execution.completed", 3, source="b")]
    released = [told(run.take(events[place])) for place in order]
    assert (run.view.status, run.view.stopped_us, run.view.conflict) == ("failed", NOON_US + 2_000_000, True)
    assert [types[0] == "execution.conflict" for types in released] == [False, True]


def test_a_counted_end_beats_an_uncounted_one() -> None:
    """Inside a source sequenced ends come first, however early the other claims to be."""
    run = Run()
    run.tell("execution.failed", 1, source="e")
    run.tell("execution.completed", 9, source="e", sequence=4)
    assert run.view.status == "success"


def test_any_end_beats_a_reported_crash() -> None:
    """Crash recovery guesses, workers know."""
    run = Run()
    run.tell("execution.failed", 1, data={"status": "crashed"}, source="a")
    run.tell("execution.completed", 9, source="b")
    assert run.view.status == "success"


def test_at_the_same_instant_the_strongest_end_wins() -> None:
    """Cancelled, timeout, failed, success, crashed."""
    run = Run()
    run.tell("execution.completed", 5, source="a")
    run.tell("execution.cancelled", 5, source="b")
    assert run.view.status == "cancelled"


def test_nothing_but_a_new_epoch_leaves_an_end() -> None:
    """Starts, waits and progress after the end change no status; nodes and data still improve."""
    run = Run()
    run.tell("execution.completed", 5, data={"outputData": 1})
    run.tell("execution.started", 9)
    run.tell("node.completed", 9, data={"nodeId": "a"})
    changes = run.tell("execution.completed", 12, data={"outputData": 2})
    assert (run.view.status, run.view.stopped_us) == ("success", NOON_US + 5_000_000)
    assert run.execution.finished_ids == {"a"}
    assert changes.touched[ID].payloads == {"output": b"2"}


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_a_presumed_crash_stands_until_something_is_heard() -> None:
    """It says that it is provisional, stops at the evidence it rests on, and is revoked by any later report."""
    run = Run()
    run.tell("execution.started", 1)
    run.verdict(as_of=1)
    assert (run.view.status, run.view.provisional, run.view.stopped_us) == ("crashed", True, NOON_US + 1_000_000)
    changes = run.tell("execution.heartbeat", 2)
    assert told(changes) == ["execution.recovered", "execution.heartbeat"]
    assert (run.view.status, run.view.provisional) == ("running", False)


def test_a_verdict_that_rests_on_old_evidence_changes_nothing() -> None:
    """Whatever was heard since revokes it before it arrives."""
    run = Run()
    run.tell("node.started", 5, data={"nodeId": "a"})
    version = run.execution.version
    run.verdict(as_of=4)
    assert run.view.status == "running"
    assert run.execution.version >= version


def test_a_real_end_replaces_the_verdict() -> None:
    """Also an earlier one; if it is a crash indeed, nothing has recovered."""
    run = Run()
    run.tell("execution.started", 1)
    run.verdict(as_of=1)
    assert told(run.tell("execution.failed", 1, data={"status": "crashed"})) == ["execution.failed"]
    assert (run.view.status, run.view.provisional, run.view.conflict) == ("crashed", False, False)
    assert told(run.tell("execution.completed", 1, source="worker"))[0] == "execution.conflict"


def test_the_monitor_reports_nothing_but_verdicts() -> None:
    """Its other words are no sign of life and no end."""
    run = Run()
    run.tell("execution.queued", 1)
    run.verdict(as_of=1)
    for name in ("execution.late", "execution.stalled", "execution.gap", "execution.completed", "execution.failed"):
        run.tell(name, 50, source="monitor")
    assert run.view.status == "crashed"


def test_conclusions_repeat_exactly() -> None:
    """A replay makes the same event from the same cause, within the limits of an id."""
    run = Run()
    cause = run.event("execution.completed", id="x" * 256)
    assert concluded(cause, "execution.conflict", "failed") == concluded(cause, "execution.conflict", "failed")
    conflict, recovery = (concluded(cause, name, "failed") for name in ("execution.conflict", "execution.recovered"))
    assert conflict.id != recovery.id
    assert len(conflict.id) <= 256
    assert (conflict.record, conflict.source, conflict.data) == (
        cause.record,
        "monitor",
        {"cause": cause.id, "status": "failed"},
    )


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_a_restart_voids_status_nodes_and_data_but_not_the_log() -> None:
    """Identity, log and notes stay."""
    run = Run()
    run.tell("execution.started", 1, data={"mode": "manual", "inputData": 1}, workflowId="wf_1")
    run.tell("node.completed", 2, data={"nodeId": "a", "outputData": 2})
    run.tell("log.appended", 3, data={"lines": [{"message": "m"}], "final": True})
    run.tell("execution.annotated", 3, data={"vote": "up"})
    run.tell("execution.failed", 4)
    changes = run.tell("execution.queued", 5, epoch=1, data={"inputData": 3})
    touched, view = changes.touched[ID], run.view
    assert (view.status, view.epoch, view.stopped_us, view.mode) == ("queued", 1, None, None)
    assert (view.workflow_id, view.log_lines, view.annotation) == ("wf_1", 1, {"vote": "up"})
    assert not run.execution.registers.log_closed
    assert (touched.cleared, touched.deleted, touched.nodes, touched.payloads) == (True, False, set(), {"input": b"3"})
    assert run.execution.nodes == {}


def test_lower_epochs_arrive_too_late() -> None:
    """All but their log lines."""
    run = Run()
    run.tell("execution.started", 5, epoch=1)
    run.tell("execution.completed", 9)
    run.tell("node.started", 9, data={"nodeId": "a"})
    run.tell("log.appended", 9, data={"lines": [{"message": "m"}], "final": True})
    assert (run.view.status, run.view.progress.total, run.view.log_lines) == ("running", 0, 1)
    assert not run.execution.registers.log_closed


# --- deletion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deleted_first", [True, False])
def test_deletion_absorbs_what_came_before_and_comes_after(deleted_first: bool) -> None:
    """Only what orders status and statistics is left, in either order and in every epoch."""
    run = Run()
    events = [
        run.event("execution.started", 1, data={"workflowName": "Secret", "inputData": 1, "metadata": {"a": 1}}),
        run.event("execution.waiting", 1, data={"kind": "secret"}, source="b"),
        run.event("execution.progress", 2, data={"message": "secret"}),
        run.event("node.completed", 2, data={"nodeId": "secret", "outputData": 1}),
        run.event("log.appended", 3, data={"lines": [{"message": "secret"}]}),
        run.event("execution.annotated", 3, data={"note": "secret"}),
        run.event("execution.failed", 4, data={"error": {"message": "secret"}, "reason": "secret", "duration": 3}),
    ]
    deletion = run.event("execution.deleted", 5)
    changes = run.take(deletion, *events) if deleted_first else run.take(*events, deletion)
    touched = changes.touched[ID]
    assert (touched.cleared, touched.deleted, touched.nodes, touched.payloads, touched.lines) == (
        True,
        True,
        set(),
        {},
        [],
    )
    assert "ecret" not in repr(run.execution.registers)
    assert (run.view.status, run.view.duration_us) == ("failed", 3_000_000)
    run.tell("execution.started", 9, epoch=1, data={"mode": "secret"})
    assert run.execution.registers.deleted
    assert "ecret" not in repr(run.execution.registers)


def test_a_second_deletion_changes_nothing() -> None:
    """Once is enough."""
    run = Run()
    run.tell("execution.deleted")
    version = run.execution.version
    run.tell("execution.deleted", 1)
    assert run.execution.version == version


def test_nobody_hears_of_a_deleted_run_any_more() -> None:
    """The deletion is the last that subscribers and webhooks are told: nobody can look up what comes after it."""
    run = Run()
    changes = run.take(
        run.event("execution.started", id="same"),
        run.event("execution.deleted", 1),
        run.event("execution.completed", 2),
    )
    assert told(changes) == ["execution.started", "execution.deleted"]
    assert told(run.tell("execution.failed", 3, id="same")) == []


# --- what describes an execution -------------------------------------------------------------------------------------


def test_the_earliest_claim_names_the_workflow() -> None:
    """Whoever makes it, in whatever order; it never changes by a later word."""
    run = Run()
    run.tell("execution.started", 5, workflowId="later")
    run.tell("command.requested", 1, workflowId="earlier", data={"commandId": "c"})
    run.tell("node.started", 9, workflowId="latest", data={"nodeId": "a"})
    assert run.view.workflow_id == "earlier"


def test_members_describe_by_the_strongest_word() -> None:
    """Ends outrank starts, which outrank queueing; a declared node count holds against what ran."""
    run = Run()
    run.tell("execution.completed", 1, data={"metadata": {"memoryUsage": 2}, "nodeCount": 9})
    run.tell(
        "execution.queued",
        5,
        data={
            "workflowName": "queued",
            "mode": "webhook",
            "nodeCount": 4,
            "tags": ["a", 5],
            "trigger": "cron",
            "metadata": {"memoryUsage": 1, "queueTime": 3},
            "retryOf": "exec_0",
            "parent": {"executionId": "p"},
        },
    )
    run.tell("execution.started", 4, data={"workflowName": "started"})
    view = run.view
    assert (view.workflow_name, view.mode, view.tags, view.trigger) == ("started", "webhook", ["a"], {"type": "cron"})
    assert (view.metadata, view.progress.total) == ({"memoryUsage": 2, "queueTime": 3}, 4)
    assert (view.retry_of, view.parent) == ("exec_0", {"executionId": "p"})


def test_payloads_are_those_of_the_latest_event_that_has_one() -> None:
    """By time, not by arrival; the bytes leave the fold."""
    run = Run()
    first = run.tell("execution.started", 5, data={"inputData": {"a": 1}, "trigger": {"type": "t", "payload": [1]}})
    late = run.tell("execution.queued", 1, data={"inputData": {"b": 2}})
    assert first.touched[ID].payloads == {"input": b'{"a":1}', "trigger": b"[1]"}
    assert late.touched[ID].payloads == {}
    assert run.view.trigger == {"type": "t"}


def test_each_member_of_a_note_is_its_own() -> None:
    """The latest holds, null removes it, tags of a person replace those of the start."""
    run = Run()
    run.tell("execution.started", data={"tags": ["start"]})
    run.tell("execution.annotated", 5, data={"tags": ["mine"], "note": "n"})
    run.tell("execution.annotated", 6, data={"vote": "up", "note": None})
    run.tell("execution.annotated", 1, data={"vote": "down"})
    assert (run.view.annotation, run.view.tags) == ({"tags": ["mine"], "vote": "up"}, ["mine"])
    run.tell("execution.annotated", 7, data={"tags": None, "vote": None})
    assert (run.view.annotation, run.view.tags) == (None, ["start"])


@given(
    st.sampled_from(IN_TYPES),
    st.dictionaries(
        st.sampled_from(
            (
                *("workflowName", "mode", "trigger", "nodeCount", "tags", "metadata", "parent", "duration", "error"),
                *("status", "reason", "completed", "total", "current", "message", "kind", "until", "asOf"),
                *("provisional", "final", "nodeName", "nodeType", "inputData", "outputData", "retryOf", "heartbeat"),
            )
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(-1e308, 1e308) | st.text(),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=4,
        ),
        max_size=6,
    ),
    st.sampled_from(("engine", "monitor")),
)
@settings(max_examples=500, deadline=None)
def test_no_member_of_any_type_breaks_it(type_: str, data: dict[str, Any], source: str) -> None:
    """Members of the wrong type say nothing; the view keeps its own types."""
    needed = {"nodeId": "a", "lines": [{"message": "m"}], "commandId": "c"}
    run = Run()
    run.tell("execution.started", source="engine")
    run.tell(type_, 1, data={**data, **needed}, source=source)
    view = run.view
    assert view.error is None or isinstance(view.error, dict)
    assert all(isinstance(word, str | None) for word in (view.workflow_name, view.mode, view.reason, view.retry_of))
    assert all(isinstance(tag, str) for tag in view.tags)
    assert 0 <= view.progress.completed <= view.progress.total
    assert isinstance(view.progress.current, str | None)
    assert view.duration_us is None or view.duration_us >= 0


# --- version ---------------------------------------------------------------------------------------------------------


def test_the_version_is_above_every_folded_offset() -> None:
    """max(previous + 1, offset + 1) of the last record that changed what is visible; others leave it."""
    run = Run()
    run.offset = 41
    [started] = run.tell("execution.started", 1).releases
    [beat] = run.tell("execution.heartbeat", 2).releases
    [ended] = run.tell("execution.completed", 3).releases
    assert [started.version, beat.version, ended.version] == [42, 42, 44]
    assert (run.view.created_us, run.view.updated_us) == (NOON_US + 41, NOON_US + 43)


def test_two_partitions_never_lower_it() -> None:
    """A lower offset of another partition still moves it on."""
    run = Run()
    run.offset = 100
    run.tell("execution.started", 1)
    run.offset = 3
    run.tell("execution.waiting", 2)
    assert run.view.version == 102


def test_a_release_carries_what_filters_ask_for() -> None:
    """The state that the event left behind."""
    run = Run()
    run.tell(
        "execution.started",
        1,
        workflowId="wf",
        data={"workflowName": "Orders", "mode": "manual", "tags": ["a"], "nodeCount": 2},
    )
    [release] = run.tell("node.started", 2, data={"nodeId": "a", "nodeName": "A"}).releases
    assert (release.id, release.workflow_id, release.workflow_name, release.mode) == (
        "exec_1",
        "wf",
        "Orders",
        "manual",
    )
    assert (release.status, release.started_us, release.duration_us) == ("running", NOON_US + 1_000_000, None)
    assert (release.tags, release.progress.current, release.progress.total) == (["a"], "A", 2)
    [ended] = run.tell("execution.completed", 4).releases
    assert (ended.status, ended.duration_us, ended.progress.current) == ("success", 3_000_000, None)


# --- statistics ------------------------------------------------------------------------------------------------------


def test_an_execution_moves_between_rows_and_is_never_counted_twice() -> None:
    """In flight, then in the hour of its end; within a batch only the net change shows."""
    run = Run()
    first = run.tell("execution.queued").statistics
    second = run.take(run.event("execution.started", 1), run.event("execution.completed", 2)).statistics
    [(queued, counts)] = first.items()
    assert (queued.status, queued.hour, counts) == ("queued", -1, (1, 0))
    assert second[queued] == (-1, 0)
    assert {(cell.status, cell.hour): counts for cell, counts in second.items() if cell != queued} == {
        ("success", NOON_US // 3_600_000_000): (1, 1_000_000)
    }
    assert run.tell("node.started", 3, data={"nodeId": "a"}).statistics == {}


@pytest.mark.parametrize(("ended", "expected"), [(True, 0), (False, -1)])
def test_deletion_leaves_what_was_counted_at_its_end(ended: bool, expected: int) -> None:
    """Nobody is in flight for ever because somebody deleted a run."""
    run = Run()
    run.tell("execution.started")
    if ended:
        run.tell("execution.completed", 1)
    assert sum(count for count, _ in run.tell("execution.deleted", 2).statistics.values()) == expected


# --- nodes -----------------------------------------------------------------------------------------------------------


def test_node_payloads_have_slots_of_their_own() -> None:
    """By run: iteration and attempt tell loops and retries apart."""
    run = Run()
    changes = run.tell("node.completed", data={"nodeId": "a:b", "iteration": 1, "attempt": 2, "outputData": [1]})
    assert changes.touched[ID].payloads == {node_slot(("a:b", 1, 2), "output"): b"[1]"}
    assert changes.touched[ID].nodes == {("a:b", 1, 2)}
