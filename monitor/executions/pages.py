"""Pages of a list of executions, with what is shown of each beside its view; read within one snapshot."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from monitor.executions.contents import MAX_NODES_INLINE, MAX_PAGE_BYTES, Found, data_of
from monitor.projections.view import Summary, latest_runs
from monitor.store.base import Reader
from monitor.store.execution_port import ListQuery, Sort

_NODE_BYTES: Final = 400
"""What a node takes in memory without its payloads, more or less."""


class Listed(NamedTuple):
    """The page."""

    rows: list[Found]
    # Where the next page starts, and where the one before ends; None = there is none.
    after: tuple[int | None, int] | None
    before: tuple[int | None, int] | None
    total: int
    total_is_lower_bound: bool
    # The store's of the rows.
    keys: Sequence[int] = ()


More = Callable[[Reader, Summary, int], tuple[Found, int]]
"""What is shown of an execution beside its view, by its key, and how large that is."""


def more_of(*, with_data: bool, every_run: bool = False, with_nodes: bool = False) -> More | None:
    """What a page shows beside its views; None = nothing."""
    if with_data:
        return partial(_with_data, every_run=every_run)
    return _with_nodes if with_nodes else None


def list_page(reader: Reader, query: ListQuery, more: More | None = None) -> Listed:
    """A page of a list, with `more` of each execution; it ends early where that grows too large."""
    page, keys = reader.executions(query)
    found = list(zip(page.rows, keys, strict=True))
    if query.backwards:
        found.reverse()  # nearest to the cursor first, so that a page that ends early ends at its far end
    rows = _filled(reader, found, more) if more else [Found(summary) for summary, _ in found]
    is_cut = page.has_more or len(rows) < len(found)
    found = found[: len(rows)]
    if query.backwards:
        rows.reverse()
        found.reverse()
    if not found:
        nowhere = None if query.after is None else _beside(query)
        after, before = (nowhere, None) if query.backwards else (None, nowhere)
        return Listed([], after, before, page.total, page.total_is_lower_bound)
    (first, first_key), (last, last_key) = found[0], found[-1]
    return Listed(
        rows,
        (_sorted_by(last, query.sort), last_key) if query.backwards or is_cut else None,
        (_sorted_by(first, query.sort), first_key) if (is_cut if query.backwards else query.after) else None,
        page.total,
        page.total_is_lower_bound,
        [key for _, key in found],
    )


def _beside(query: ListQuery) -> tuple[int | None, int]:
    """From where the row itself that an empty page started from is found, read the other way."""
    assert query.after is not None
    value, key = query.after
    return value, key + (1 if query.sort.startswith("-") is query.backwards else -1)


def _filled(reader: Reader, found: Sequence[tuple[Summary, int]], more: More) -> list[Found]:
    rows: list[Found] = []
    size_bytes = 0
    for summary, key in found:
        if size_bytes > MAX_PAGE_BYTES:
            break
        row, row_bytes = more(reader, summary, key)
        rows.append(row)
        size_bytes += row_bytes
    return rows


def _with_data(reader: Reader, summary: Summary, key: int, *, every_run: bool) -> tuple[Found, int]:
    data = data_of(reader, key, MAX_NODES_INLINE, MAX_PAGE_BYTES, every_run=every_run)
    return Found(summary, data), data.size_bytes


def _with_nodes(reader: Reader, summary: Summary, key: int) -> tuple[Found, int]:
    nodes = latest_runs(dict(reader.nodes(key)))
    return Found(summary, nodes=nodes), len(nodes) * _NODE_BYTES


def _sorted_by(summary: Summary, sort: Sort) -> int | None:
    return summary.at_us if sort.endswith("startedAt") else summary.duration_us
