"""The text search of lists: what is kept for it, and what it finds.

An execution is found when its error (`type: message`) contains the text, or when it ran a node whose name or id does;
case does not matter. Names of nodes are kept once for each workflow, not for each execution, so that they cost a commit
a look into a set; an error is a short row of its own. A search looks through the latest errors of the team and a
bounded number of nodes, however much is stored.
"""

from collections.abc import Callable
from typing import Final

from monitor.projections.execution import UNTYPED, Execution
from monitor.projections.members import text

MOST_ERRORS: Final = 100_000
"""The latest errors of a team that a search looks through: some 20 ms."""

MOST_NAMES: Final = 500
"""Names of nodes that are kept of a workflow; beyond it ids are made up for every run, and nobody searches for them."""

MOST_NODES: Final = 200
"""Nodes by which a search looks for executions, when so many have the text in their names."""

_MOST_WORKFLOWS: Final = 10_000
MOST_CHARACTERS: Final = 1_000

Known = set[tuple[str, str]]
"""(node id, name) of the nodes of a workflow; the name is empty where no event told it."""


def fold_text(said: str) -> str:
    """The text without its case, as it is kept and sought. Databases end a text at NUL, or refuse it."""
    return said[:MOST_CHARACTERS].replace("\0", " ").casefold()


def error_text_of(execution: Execution) -> str | None:
    """What a search finds of the execution's error; None where it has none."""
    if execution.details.error_type is None:
        return None
    said = execution.end.data.get("error") if execution.end else None
    if said is None:
        return None
    return fold_text(f"{text(said.get('type')) or UNTYPED}: {text(said.get('message')) or ''}")


def name_text_of(node_id: str, name: str) -> str:
    """What a search finds of a node: its name and its id, one below the other."""
    return fold_text(f"{name}\n{node_id}")


class NodeNames:
    """Which names of nodes are stored, by team and workflow: a batch writes only what is new.

    `load` asks the store for a workflow that was not met yet. To be cleared when a transaction fails.
    """

    def __init__(self) -> None:
        self.load: Callable[[str, str], Known] = lambda _team, _workflow_id: set()
        self._known: dict[tuple[str, str], Known] = {}

    def of(self, team: str, workflow_id: str) -> Known:
        """The nodes that are known of a workflow; to be added to."""
        known = self._known.get((team, workflow_id))
        if known is None:
            if len(self._known) >= _MOST_WORKFLOWS:
                self._known.clear()
            known = self._known[team, workflow_id] = self.load(team, workflow_id)
        return known

    def clear(self) -> None:
        """Forget everything: the store knows better."""
        self._known.clear()
