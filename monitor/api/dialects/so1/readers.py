"""Readers: requests become questions and commands."""

from typing import Any, Final, Literal

from pydantic import Field

from monitor.api.dialects.so1.words import STATUS
from monitor.errors import InvalidRequest
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.projections.filter import Condition, Filter
from monitor.projections.loglines import LEVELS
from monitor.web.documents import Document
from monitor.web.params import Flag, Limit, Text, Time, Word, Words

DEFAULT_TIMEOUT_S: Final = 300
INCLUDE: Final = Flag("includeData", "Adds what every node was given and made, and what came of all.")
BY_STATUS: Final = Word("status", STATUS.known, "Executions that are shown so.")
OF_WORKFLOW: Final = Text("workflowId", "Of this workflow.")
AFTER: Final = Time("startedAfter", "Started after this time.")
BEFORE: Final = Time("startedBefore", "Started before this time.")
LIMIT: Final = Limit(default=20, most=100)
LEVEL: Final = Words("level", LEVELS, "Lines of these levels.")
LINES: Final = Limit(default=1000, most=1000)


class So1Execute(Document):
    """The body of `POST /v1/n8n/workflows/{id}/execute`."""

    data: Any = Field(None, description="What the workflow is given.")
    mode: Literal["async", "sync"] = Field("async", description="sync: the answer waits for the end.")
    timeout: int = Field(DEFAULT_TIMEOUT_S, ge=1, le=3600, description="Seconds that a sync execution is waited for.")


class So1Retry(Document):
    """The body of `POST /v1/n8n/executions/{id}/retry`."""

    from_node: str | None = Field(
        None, alias="fromNode", min_length=1, max_length=MAX_ID_CHARACTERS, description="Start there."
    )


def filter_of(status: str | None, workflow_id: str | None, after_us: int | None, before_us: int | None) -> Filter:
    """The filter of a list."""
    if after_us is not None and before_us is not None and after_us > before_us:
        raise InvalidRequest("'startedAfter' is later than 'startedBefore'", field="startedAfter")
    tests = (
        None if status is None else STATUS.test(status),
        None if workflow_id is None else Condition("workflowId", "eq", (workflow_id,)),
        None if after_us is None else Condition("startedAt", "gt", (after_us,)),
        None if before_us is None else Condition("startedAt", "lt", (before_us,)),
    )
    return Filter(tuple(test for test in tests if test is not None))
