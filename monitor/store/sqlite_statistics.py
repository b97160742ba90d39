"""How SQLite takes what a batch adds to the statistics: rows in order of their key, added to what stands there."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from monitor.projections.fold import Changes
from monitor.projections.statistics import Amount, rolled_up
from monitor.store.rows import Row

_ADD_CELLS: Final = """
INSERT INTO statistics (team, hour, workflow_id, status, "trigger", error, bucket, count, total_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET count = count + excluded.count, total_us = total_us + excluded.total_us
"""
_ADD_ROLLUPS: Final = """
INSERT INTO rollups (team, facet, grain, at, "key", status, bucket, count, total_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET count = count + excluded.count, total_us = total_us + excluded.total_us
"""
_ADD_RUNS: Final = """
INSERT INTO run_statistics (team, hour, workflow_id, node_id, status, error, bucket, count, total_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET count = count + excluded.count, total_us = total_us + excluded.total_us
"""
_NAME_WORKFLOWS: Final = """
INSERT INTO workflow_names (team, workflow_id, said_us, name) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET said_us = excluded.said_us, name = excluded.name
WHERE (excluded.said_us, excluded.name) > (said_us, name)
"""
_ADD_ERROR_KINDS: Final = """
INSERT INTO error_kinds (team, fingerprint, type, pattern) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


def statistics_rows(changes: Changes) -> Iterator[tuple[str, Sequence[Row]]]:
    """Each statement with the rows that it takes."""
    yield _ADD_CELLS, changed_rows(changes.statistics.items())
    yield _ADD_ROLLUPS, changed_rows(rolled_up(changes.statistics).items())
    yield _ADD_RUNS, changed_rows(changes.run_statistics.items())
    yield _NAME_WORKFLOWS, sorted((*key, *said) for key, said in changes.workflow_names.items())
    yield _ADD_ERROR_KINDS, sorted((team, *kind) for (team, _), kind in changes.error_kinds.items())


def changed_rows(amounts: Iterable[tuple[Row, Amount]]) -> list[Row]:
    """Those that change something."""
    return sorted((*key, *amount) for key, amount in amounts if amount != (0, 0))
