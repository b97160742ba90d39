"""Counting what a batch changed: additions to the statistics, and the words for what they count.

Called by the fold once for each touched execution, so that within a batch only the net change shows. Pure.
"""

from collections.abc import Mapping
from typing import Any

from monitor.projections.changes import Changes, Touched
from monitor.projections.execution import Contribution, Execution, NodeKey, RunContribution, winning_end
from monitor.projections.fingerprint import kind_of
from monitor.projections.statistics import cell, contribution, run_contribution, run_contributions


def count(changes: Changes, touched: Touched) -> None:
    """Move the execution, and its nodes' runs, from where they are counted to where they belong now."""
    if touched.restated:
        _count_execution(changes, touched.execution)
        if _is_upset(touched):
            _count_all_runs(changes, touched)
            return
    if touched.nodes:
        _count_runs(changes, touched)


def _count_execution(changes: Changes, execution: Execution) -> None:
    """Move the execution from the cell in which it is counted to the one where it belongs now."""
    before, now = execution.counted, contribution(execution)
    if now == before:
        return
    if before is not None:
        _add(changes, execution.team, before, -1)
    if now is not None:
        _add(changes, execution.team, now, 1)
        _name_counted(changes, execution, now)
    execution.counted = now


def _add(changes: Changes, team: str, counted: Contribution, sign: int) -> None:
    key = cell(team, counted)
    count, total_us = changes.statistics.get(key, (0, 0))
    changes.statistics[key] = (count + sign, total_us + sign * counted.duration_us)


def _name_counted(changes: Changes, execution: Execution, counted: Contribution) -> None:
    """The words for what was counted: the workflow's name as it was said last, and what its error is."""
    named = execution.registers.members.get("workflowName")
    if named is not None:
        key, name = (execution.team, counted.workflow_id), (named[1], named[3])
        held = changes.workflow_names.get(key)
        changes.workflow_names[key] = name if held is None else max(held, name)
    if counted.error:
        end = winning_end(execution.registers)
        _explain(changes, execution.team, end[1].data.get("error") if end else None)


def _explain(changes: Changes, team: str, said: dict[str, Any] | None) -> None:
    if said is not None:
        kind = kind_of(said)
        changes.error_kinds[team, kind.fingerprint] = kind


def _count_runs(changes: Changes, touched: Touched) -> None:
    """Move the runs of this batch that have ended."""
    execution = touched.execution
    nodes, counted = execution.nodes, execution.counted_runs
    for key in touched.nodes:
        node = nodes[key]
        if node.end is None:
            continue
        before, now = counted.get(key), run_contribution(execution.workflow_id, key, node)
        if now == before:
            continue
        if before is not None:
            _add_run(changes, execution.team, before, -1)
        _add_run(changes, execution.team, now, 1)
        counted[key] = now
        if node.error is not None:
            _explain(changes, execution.team, node.error)


def _is_upset(touched: Touched) -> bool:
    """Whether something happened to all runs: a restart, a deletion, another workflow."""
    counted = touched.execution.counted_runs
    is_renamed = bool(counted) and next(iter(counted.values()))[0] != touched.execution.workflow_id
    return is_renamed or touched.cleared


def _count_all_runs(changes: Changes, touched: Touched) -> None:
    """Move every run. A restart takes them back.

    A deletion leaves them where they were: what is reported of them later is not taken.
    """
    execution, counted = touched.execution, touched.execution.counted_runs
    if touched.last_runs is not None:
        _move_runs(changes, execution.team, counted, touched.last_runs)
        execution.counted_runs = {}
        return
    execution.counted_runs = run_contributions(execution)
    _move_runs(changes, execution.team, counted, execution.counted_runs)
    for node in execution.nodes.values():
        if node.error is not None:
            _explain(changes, execution.team, node.error)


def _move_runs(
    changes: Changes,
    team: str,
    before: Mapping[NodeKey, RunContribution],
    after: Mapping[NodeKey, RunContribution],
) -> None:
    for counted in before.values():
        _add_run(changes, team, counted, -1)
    for counted in after.values():
        _add_run(changes, team, counted, 1)


def _add_run(changes: Changes, team: str, counted: RunContribution, sign: int) -> None:
    workflow_id, node_id, hour, status, error, bucket, duration_us = counted
    key = (team, hour, workflow_id, node_id, status, error, bucket)
    count, total_us = changes.run_statistics.get(key, (0, 0))
    changes.run_statistics[key] = (count + sign, total_us + sign * duration_us)
