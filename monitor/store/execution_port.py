"""The store port's part for executions: lists of them, and what each holds. Projections, rebuilt from the journal."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from monitor.events.model import Place
from monitor.projections.execution import Node, NodeKey
from monitor.projections.filter import Filter
from monitor.projections.loglines import LogLine, Spot
from monitor.projections.view import Summary


class Page(NamedTuple):
    """One page of a list."""

    rows: list[Summary]
    # Whether rows follow in the direction of the page.
    has_more: bool
    # Exact where statistics hold it (status, workflow), else counted up to a bound.
    total: int
    total_is_lower_bound: bool


Sort = Literal["startedAt", "-startedAt", "duration", "-duration"]


class ListQuery(NamedTuple):
    """A page of executions of a team. Deleted ones are never listed."""

    team: str
    filter: Filter
    sort: Sort
    limit: int
    # (value of the sort column or None, key) of the row that the page starts behind; None = the first page.
    after: tuple[int | None, int] | None = None
    # The page ends before that row instead: the one that precedes it. Rows stand in the list's order all the same.
    backwards: bool = False
    # The number of rows in the list and whether that is a lower bound, as the first page told it; None = count them.
    counted: tuple[int, bool] | None = None
    # Rows that are passed by first, as lists by page number ask for: each costs a step along an index.
    skip: int = 0
    # In lower case (`searching.fold_text`): only what has it in its error, or ran a node with it in its name or id.
    text: str | None = None
    # How far rows are counted where no sum tells them; None = as far as takes no time.
    most_counted: int | None = None
    # Only what was first heard of by then.
    created_until_us: int | None = None


class ExecutionReader(Protocol):
    """Questions about executions."""

    def execution(self, team: str, execution_id: str) -> tuple[Summary, int] | None:
        """The view of an execution and its key; None when there is none, it is deleted, or it is another team's."""
        ...

    def executions(self, query: ListQuery) -> tuple[Page, list[int]]:
        """A page and the key of each row (for the cursor), by keyset: page 1000 costs what page 1 does."""
        ...

    def nodes(self, key: int) -> Mapping[NodeKey, Node]:
        """Every stored node run of an execution."""
        ...

    def places(self, key: int) -> Sequence[Place]:
        """Where every applied event of an execution stands in the journal, in order of arrival; no repeats."""
        ...

    def payloads(self, key: int, slots: Collection[str] | None = None) -> Mapping[str, bytes]:
        """JSON bytes by slot name; all slots when `slots` is None."""
        ...

    def log_lines(
        self,
        key: int,
        *,
        levels: Collection[str] | None,
        node_id: str | None,
        limit: int,
        from_us: int | None = None,
        to_us: int | None = None,
        beyond: Spot | None = None,
        falling: bool = False,
    ) -> Sequence[LogLine]:
        """The first `limit` lines in order of (time, event, place), `falling` the last ones; both times included.

        Those behind the spot `beyond` alone, in the direction of reading.
        """
        ...
