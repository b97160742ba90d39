"""Finding one execution of a principal's team, and what its status allows."""

from monitor.access.principal import Principal
from monitor.errors import ExecutionNotFound
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.projections.status import is_final
from monitor.projections.view import Summary
from monitor.store.base import Reader


def could_be_id(said: str) -> bool:
    """Whether an execution or a workflow can be called so: databases choke on some words that are none."""
    return 0 < len(said) <= MAX_ID_CHARACTERS and said.isprintable()


def find_execution(reader: Reader, who: Principal, execution_id: str) -> tuple[Summary, int]:
    """Its view and its key. Raises ExecutionNotFound, also for another team's.

    Words that can be no id are not even asked for: databases choke on some of them.
    """
    found = reader.execution(who.team, execution_id) if could_be_id(execution_id) else None
    if found is None:
        raise ExecutionNotFound(f"Execution with ID '{execution_id}' not found", executionId=execution_id)
    return found


def has_ended(summary: Summary) -> bool:
    """Whether an end was reported; one that is only presumed leaves everything open."""
    return is_final(summary.status) and not summary.provisional
