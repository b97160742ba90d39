"""What is asked of commands, and what is answered: documents of the wire."""

from typing import Any, Final, NotRequired

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from monitor.events.model import MAX_ID_CHARACTERS
from monitor.web.documents import Document
from monitor.web.replies import Timestamp

MAX_INPUT_BYTES: Final = 512 * 1024
"""What a workflow is given: half of what fits an event, in which its engine tells it again."""


class ExecuteRequest(Document):
    """The body of `POST /v1/workflows/{id}/execute`."""

    input: Any = Field(None, description="What the workflow is given.")
    input_data: Any = Field(None, alias="inputData", description="Another name of `input`.")

    @model_validator(mode="after")
    def _check_input(self) -> "ExecuteRequest":
        if self.input is not None and self.input_data is not None:
            raise ValueError("'input' and 'inputData' are two names of one member; send one of them")
        return self


class CancelRequest(Document):
    """The body of `POST /v1/executions/{id}/cancel`."""

    reason: str = Field("manual", min_length=1, max_length=1000, description="Why, for whoever looks at it later.")
    force: bool = Field(False, description="Record it as cancelled if no engine knows it.")


class RetryRequest(Document):
    """The body of `POST /v1/executions/{id}/retry`."""

    from_node: str | None = Field(
        None, alias="fromNode", min_length=1, max_length=MAX_ID_CHARACTERS, description="Start at this node."
    )
    start_nodes: list[str] = Field([], alias="startNodes", max_length=100, description="Start at these nodes.")
    load_workflow: bool = Field(
        False, alias="loadWorkflow", description="The workflow as it is now, not as it was then."
    )

    def nodes(self) -> list[str]:
        """Where to start, each node once."""
        return list(dict.fromkeys([*([self.from_node] if self.from_node else []), *self.start_nodes]))


class ExecutionLinks(TypedDict):
    """Addresses of an execution."""

    self: str
    stream: str
    commands: str
    cancel: str


class ExecutionRequested(TypedDict):
    """An execution that was asked for."""

    executionId: str
    status: str
    commandId: str
    links: ExecutionLinks


class ExecutionCancelled(TypedDict):
    """An execution that was stopped."""

    message: str
    executionId: str
    status: str
    cancelledAt: Timestamp
    commandId: str


class CancellationRequested(TypedDict):
    """An execution whose engine was told to stop it."""

    message: str
    executionId: str
    status: str
    commandId: str
    links: ExecutionLinks


class ExecutionRetried(TypedDict):
    """The execution that repeats another."""

    executionId: str
    status: str
    retryOf: str
    startedAt: Timestamp | None
    """Null until it has started."""
    commandId: str
    links: ExecutionLinks


class CommandDocument(TypedDict):
    """A command and what became of it."""

    id: str
    executionId: str
    workflowId: str
    kind: str | None
    """execute, cancel, retry, or the word of whoever else sent it."""
    status: str
    """requested, accepted, refused, completed or failed."""
    actor: str | None
    args: NotRequired[dict[str, Any]]
    error: NotRequired[dict[str, Any]]
    """Why it was refused or failed."""
    requestedAt: Timestamp
    answeredAt: Timestamp | None
    finishedAt: Timestamp | None


class CommandList(TypedDict):
    """Every command of an execution, in the order of asking."""

    data: list[CommandDocument]
