"""Routes: what is served where, to whom, and what it refuses."""

from functools import partial

from monitor.api.dialects.desk import Desk
from monitor.api.dialects.team.documents import (
    TeamDetail,
    TeamPage,
)
from monitor.api.dialects.team.handlers import Team
from monitor.api.dialects.team.readers import (
    DAYS,
    FORMAT,
    LIST,
    LIST_OF_ONE,
)
from monitor.api.dialects.team.words import FACE
from monitor.errors import (
    CannotCancelExecution,
    CommandRefused,
    EngineUnavailable,
    ExecutionNotFound,
    ForeignTeam,
    NoEngine,
    TooManyWaiting,
)
from monitor.web.operations import Answer, Operation


def operations(desk: Desk) -> list[Operation]:
    """The operations of this dialect."""
    face, here = Team(desk), partial(Operation, face=FACE)
    page = (Answer(TeamPage),)
    return [
        here(
            "GET",
            "/api/executions",
            face.of_workflow,
            "executions:read",
            query=LIST_OF_ONE,
            answers=page,
            name="listExecutionsOfWorkflow",
        ),
        here(
            "GET",
            "/api/executions/team/{teamId}",
            face.of_team,
            "executions:read",
            query=LIST,
            answers=page,
            errors=(ForeignTeam,),
            name="listExecutionsOfTeam",
        ),
        here(
            "GET",
            "/api/executions/team/{teamId}/export",
            face.export,
            "executions:read",
            query=(FORMAT, DAYS),
            answers=(Answer(None, media_types=("text/csv", "application/json")),),
            errors=(ForeignTeam,),
            name="exportExecutionsOfTeam",
        ),
        here(
            "GET",
            "/api/executions/{id}",
            face.single,
            "executions:read",
            answers=(Answer(TeamDetail),),
            errors=(ExecutionNotFound,),
            name="getExecutionDetails",
        ),
        here(
            "POST",
            "/api/executions/{id}/cancel",
            face.cancel,
            "executions:write",
            answers=(Answer(media_types=()), Answer(status=202, media_types=())),
            errors=(
                *(ExecutionNotFound, CannotCancelExecution),
                *(NoEngine, CommandRefused, EngineUnavailable, TooManyWaiting),
            ),
            name="cancelExecutionOfTeam",
        ),
    ]
