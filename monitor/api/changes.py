"""`DELETE` and `PATCH /v1/executions/{id}`: remove an execution, note something about it."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.errors import CannotDeleteExecution, ExecutionNotFound, PositionNotReached
from monitor.executions.changes import Changes
from monitor.executions.contents import Found
from monitor.web import native
from monitor.web.documents import Document, read_document
from monitor.web.native_answers import Execution
from monitor.web.operations import Answer, Operation
from monitor.web.params import Flag
from monitor.web.replies import json_reply

_FORCE: Final = Flag("force", "Also one that has not ended; it goes on running.")


_TAG: Final[JsonDict] = {"minLength": 1, "maxLength": 100, "format": "printable"}


class AnnotationRequest(Document):
    """The body of `PATCH /v1/executions/{id}`: members that are left out stay; null takes one back."""

    tags: list[Annotated[str, Field(json_schema_extra=_TAG)]] | None = Field(
        None, max_length=50, description="In place of those that it started with."
    )
    vote: Literal["up", "down"] | None = None
    note: str | None = Field(None, max_length=10_000)

    @model_validator(mode="after")
    def _check(self) -> "AnnotationRequest":
        if not self.model_fields_set:
            raise ValueError("nothing to note: send tags, vote or note")
        if not all(0 < len(tag) <= 100 and tag.isprintable() for tag in self.tags or ()):
            raise ValueError("'tags' takes printable texts of 1 to 100 characters")
        return self

    def noted(self) -> dict[str, Any]:
        """What is said, with None where it is taken back."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def operations(*, changes: Changes) -> list[Operation]:
    """The operations of this file."""
    face = _Face(changes)
    return [
        Operation(
            "DELETE",
            "/v1/executions/{id}",
            face.delete,
            "executions:write",
            query=(_FORCE,),
            answers=(Answer(status=204),),
            errors=(ExecutionNotFound, CannotDeleteExecution, PositionNotReached),
        ),
        Operation(
            "PATCH",
            "/v1/executions/{id}",
            face.annotate,
            "executions:write",
            body=AnnotationRequest,
            answers=(Answer(Execution, headers=("etag",)),),
            errors=(ExecutionNotFound, PositionNotReached),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    changes: Changes

    async def delete(self, request: Request, who: Principal) -> Response:
        """No execution any more, with its data and log; it still counts in the statistics. It cannot be undone."""
        await self.changes.delete(who, request.path_params["id"], force=_FORCE.take(request.query_params))
        return Response(status_code=204)

    async def annotate(self, request: Request, who: Principal) -> Response:
        """The execution with what was noted about it."""
        document = await read_document(request, AnnotationRequest)
        summary = await self.changes.annotate(who, request.path_params["id"], document.noted())
        return json_reply(native.execution(Found(summary)), headers={"etag": f'"{summary.version}"'})
