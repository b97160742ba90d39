"""`GET /v1/executions/{id}/lineage`: what an execution retries, its retries, its parent and its children."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import ExecutionNotFound, InvalidCursor
from monitor.events.codec import format_time
from monitor.executions.lineage import lineage
from monitor.executions.pages import Listed
from monitor.executions.reads import Reads
from monitor.projections.view import Summary
from monitor.web.cursors import After, FullPagination, open_turn, turn_token
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, MIN_POSITION, Limit
from monitor.web.replies import Timestamp, read_reply

_LIMIT: Final = Limit(default=20, most=100)


class Kin(TypedDict):
    """An execution that another one is akin to."""

    id: str
    workflowId: str
    workflowName: str | None
    status: str
    startedAt: Timestamp | None
    stoppedAt: NotRequired[Timestamp]
    duration: NotRequired[float]
    retryOf: NotRequired[str]


class ExecutionLineage(TypedDict):
    """The kin of an execution; what is deleted is absent."""

    executionId: str
    retryOf: list[Kin]
    """What it retries, the nearest first."""
    retries: list[Kin]
    """Its retries and theirs, by generation and start."""
    moreRetryOf: bool
    """There are more than these, as with `moreRetries`."""
    moreRetries: bool
    parent: Kin | None
    children: list[Kin]
    """A page of the executions that it started, in order of their start."""
    childrenByStatus: dict[str, int]
    """How many of all of them are in each status, up to 10,000 each."""
    pagination: FullPagination
    """Of the children."""


def operations(*, reads: Reads, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(reads, sealer)
    return [
        Operation(
            "GET",
            "/v1/executions/{id}/lineage",
            face.show,
            "executions:read",
            query=(_LIMIT, CURSOR, MIN_POSITION),
            answers=(Answer(ExecutionLineage),),
            errors=(ExecutionNotFound, InvalidCursor),
            name="getExecutionLineage",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    reads: Reads
    sealer: Sealer

    async def show(self, request: Request, who: Principal) -> Response:
        """What an execution retries, its retries, its parent, and a page of its children with their number by status.

        What is deleted is absent.
        """
        query, execution_id = request.query_params, request.path_params["id"]
        limit, cursor = _LIMIT.take(query), CURSOR.take(query)
        question = ("lineage", who.team, execution_id)
        after, backwards = (None, False) if cursor is None else open_turn(self.sealer, question, cursor)
        found, position = await lineage(
            self.reads,
            who,
            execution_id,
            MIN_POSITION.take(query, self.sealer),
            limit=limit,
            after=after,
            backwards=backwards,
        )
        document: ExecutionLineage = {
            "executionId": execution_id,
            "retryOf": [_kin(row) for row in found.above],
            "retries": [_kin(row) for row in found.below],
            "moreRetryOf": found.more_above,
            "moreRetries": found.more_below,
            "parent": None if found.parent is None else _kin(found.parent),
            "children": [_kin(row.summary) for row in found.children.rows],
            "childrenByStatus": dict(found.by_status),
            "pagination": self._pagination(found.children, limit, question),
        }
        return read_reply(document, position_token(self.sealer, position))

    def _pagination(self, listed: Listed, limit: int, question: Sequence[str]) -> FullPagination:
        shown: FullPagination = {
            "limit": limit,
            "hasMore": listed.after is not None,
            "nextCursor": self._turn(question, listed.after, backwards=False),
            "previousCursor": self._turn(question, listed.before, backwards=True),
            "total": listed.total,
        }
        if listed.total_is_lower_bound:
            shown["totalIsLowerBound"] = True
        return shown

    def _turn(self, question: Sequence[str], after: After | None, *, backwards: bool) -> str | None:
        return None if after is None else turn_token(self.sealer, question, after, backwards=backwards)


def _kin(row: Summary) -> Kin:
    shown: Kin = {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "status": row.status,
        "startedAt": None if row.started_us is None else format_time(row.started_us),
    }
    if row.stopped_us is not None:
        shown["stoppedAt"] = format_time(row.stopped_us)
    if row.duration_us is not None:
        shown["duration"] = row.duration_us / 1_000_000
    if row.retry_of is not None:
        shown["retryOf"] = row.retry_of
    return shown
