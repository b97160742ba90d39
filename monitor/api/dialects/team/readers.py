"""Readers: requests become questions and commands."""

from typing import Final

from starlette.datastructures import QueryParams

from monitor.access.principal import Principal
from monitor.api.dialects.team.words import STATUS
from monitor.errors import (
    ForeignTeam,
    InvalidRequest,
)
from monitor.executions.reads import Asked
from monitor.projections.filter import Condition, Filter
from monitor.web.params import Number, Text, Time, Word

DEFAULT_SIZE: Final = 20
MOST_SIZE: Final = 200
MOST_SKIPPED: Final = 100_000
"""Rows before a page: each costs a step along an index."""
DEFAULT_DAYS: Final = 30
DAY_US: Final = 86_400_000_000

_PAGE: Final = Number("page", 0, "Which page, from 0.")
_SIZE: Final = Number("size", 1, f"Executions of a page; {DEFAULT_SIZE} where nothing is said.", most=MOST_SIZE)
_STATUS: Final = Word("status", STATUS.known, "Executions that are shown so.")
OF_WORKFLOW: Final = Text("workflowId", "Of this workflow.")
_FROM: Final = Time("from", "Started at this time or later.")
_TO: Final = Time("to", "Started at this time or before.")
FORMAT: Final = Word("format", ("csv", "json"), "csv, where nothing is said, has a line for each node execution.")
DAYS: Final = Number("days", 1, f"Executions that started in the last days; {DEFAULT_DAYS} where nothing is said.")
LIST: Final = (_PAGE, _SIZE, _STATUS, OF_WORKFLOW, _FROM, _TO)
THE_WORKFLOW: Final = Text("workflowId", "Of this workflow.", required=True)
LIST_OF_ONE: Final = (_PAGE, _SIZE, _STATUS, THE_WORKFLOW, _FROM, _TO)


def asked_of(query: QueryParams) -> tuple[Asked, int, int]:
    """The page that is asked for, its number and its size."""
    page, size = _PAGE.take(query) or 0, _SIZE.take(query) or DEFAULT_SIZE
    if page * size > MOST_SKIPPED:
        message = f"pages end behind {MOST_SKIPPED} executions; narrow the list by 'from' and 'to', or export it"
        raise InvalidRequest(message, field="page")
    since_us, until_us = _FROM.take(query), _TO.take(query)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise InvalidRequest("'from' is later than 'to'", field="from")
    status, workflow_id = _STATUS.take(query), OF_WORKFLOW.take(query)
    tests = (
        None if status is None else STATUS.test(status),
        None if workflow_id is None else Condition("workflowId", "eq", (workflow_id,)),
        None if since_us is None else Condition("startedAt", "gte", (since_us,)),
        None if until_us is None else Condition("startedAt", "lte", (until_us,)),
    )
    found = Filter(tuple(test for test in tests if test is not None))
    return Asked(found, "-startedAt", size, None, with_data=False, skip=page * size), page, size


def check_team(who: Principal, team: str) -> None:
    """Raises ForeignTeam for any team but one's own, whether there is such a one or not."""
    if team != who.team:
        raise ForeignTeam
