"""Readers: requests become questions and commands."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.datastructures import QueryParams

from monitor.access.principal import Principal
from monitor.api.dialects.n8n.words import STATUS, STOPPABLE
from monitor.errors import InvalidRequest
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.executions.bulk import MOST_EXECUTIONS
from monitor.projections.filter import Condition, Filter
from monitor.projections.members import moment_us
from monitor.web.documents import PRINTABLE, Document
from monitor.web.params import CURSOR, Flag, Limit, Text, Time, Word

_STATUS: Final = Word("status", (*STATUS.known, "unknown"), "Executions that are shown so.")
_WORKFLOW: Final = Text("workflowId", "Of this workflow.")
_PROJECT: Final = Text("projectId", "Of this project: the team is the only one that is known here.")
LAST_ID: Final = Text("lastId", "Those that are older than this execution.")
_AFTER: Final = Time("startedAfter", "Started after this time.")
_BEFORE: Final = Time("startedBefore", "Started before this time.")
LIMIT: Final = Limit(default=100, most=250, clamps=True)
INCLUDE: Final = Flag("includeData", "Adds what every run of every node made.")
REDACT: Final = Flag("redactExecutionData", "With includeData: the runs without what they made.")
NO_LIMIT: Final = Flag("ignoreDataSizeLimit", "Taken, and without effect: how much is shown at once is bounded.")
LIST: Final = (
    *(_STATUS, _WORKFLOW, _PROJECT, LAST_ID, _AFTER, _BEFORE, LIMIT, CURSOR),
    *(INCLUDE, REDACT, NO_LIMIT),
)

Stoppable = Literal["queued", "new", "running", "waiting"]


class N8nFlatFilter(Document):
    """The body of `POST /api/v1/executions/stop`."""

    status: list[Stoppable] = Field(min_length=1, description="Executions in these states.")
    workflow_id: str | None = Field(None, alias="workflowId", max_length=MAX_ID_CHARACTERS, description="or `all`.")
    started_after: str | None = Field(None, alias="startedAfter", json_schema_extra={"format": "date-time"})
    started_before: str | None = Field(None, alias="startedBefore", json_schema_extra={"format": "date-time"})

    def question(self) -> dict[str, Any]:
        """The same as our filters say it. Raises InvalidRequest for what is no time."""
        states = [status for word in dict.fromkeys(self.status) for status in STOPPABLE[word]]
        asked: dict[str, Any] = {"status": list(dict.fromkeys(states))}
        if self.workflow_id not in (None, "", "all"):
            asked["workflowId"] = self.workflow_id
        times = {"gt": ("startedAfter", self.started_after), "lt": ("startedBefore", self.started_before)}
        for name, said in times.values():
            if said is not None and moment_us(said) is None:
                raise InvalidRequest(f"'{name}' is no time", field=name)
        if started := {op: said for op, (_, said) in times.items() if said is not None}:
            asked["startedAt"] = started
        return asked


class N8nStopMany(Document):
    """The body of `POST /api/v1/executions/stopMany`."""

    filter: N8nFlatFilter


class N8nRetry(Document):
    """The body of `POST /api/v1/executions/{id}/retry`."""

    load_workflow: bool = Field(False, alias="loadWorkflow", description="The workflow as it is now, not as it was.")


class N8nDelete(Document):
    """The body of `POST /api/v1/executions/delete`."""

    ids: list[str] = Field(min_length=1, max_length=MOST_EXECUTIONS)


Tag = Annotated[str, Field(max_length=100), PRINTABLE]


class N8nNote(Document):
    """Tags and a vote."""

    tags: list[Tag] | None = Field(None, max_length=50)
    vote: Literal["up", "down"] | None = None


class N8nPatch(Document):
    """The body of `PATCH /api/v1/executions/{id}`."""

    annotation: N8nNote


class N8nTagWish(Document):
    """A tag by its id, which is its name."""

    id: Tag


class N8nExecute(Document):
    """The body of `POST /api/v1/workflows/{id}/execute`."""

    input_data: Any = Field(None, alias="inputData", description="What the workflow is given.")


def filter_of(who: Principal, query: QueryParams) -> Filter:
    """The filter of a list."""
    status, workflow_id, project = _STATUS.take(query), _WORKFLOW.take(query), _PROJECT.take(query)
    after_us, before_us = _AFTER.take(query), _BEFORE.take(query)
    tests = (
        None if status is None else STATUS.test(status),
        None if workflow_id is None else Condition("workflowId", "eq", (workflow_id,)),
        # No execution is in no status: what is asked of another project is empty.
        None if project in (None, who.team) else STATUS.test(),
        None if after_us is None else Condition("startedAt", "gt", (after_us,)),
        None if before_us is None else Condition("startedAt", "lt", (before_us,)),
    )
    return Filter(tuple(test for test in tests if test is not None))


def noted(tags: Iterable[str] | None) -> list[str] | None:
    """Tags, each once."""
    return None if tags is None else list(dict.fromkeys(tags))
