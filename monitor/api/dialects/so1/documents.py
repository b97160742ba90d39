"""What the dialect of SO1 answers, member by member."""

from typing import Any, Generic, Literal, NotRequired, TypeVar

from typing_extensions import TypedDict

from monitor.web.replies import Timestamp

T = TypeVar("T")


class So1Fault(TypedDict):
    """Why a request was not carried out."""

    code: str
    message: str
    details: dict[str, Any]


class So1Moment(TypedDict):
    """When that was."""

    timestamp: Timestamp


class So1Error(TypedDict):
    """A refusal."""

    success: Literal[False]
    error: So1Fault
    metadata: So1Moment


class So1Answer(TypedDict, Generic[T]):
    """What is answered."""

    success: Literal[True]
    data: T


class So1Progress(TypedDict):
    """How far an execution is."""

    nodesCompleted: int
    nodesTotal: int
    currentNode: str | None


class So1ExecutionError(TypedDict):
    """Why an execution failed."""

    message: str
    node: NotRequired[str]
    nodeType: NotRequired[str]
    details: Any


class So1Node(TypedDict):
    """The latest run of a node."""

    nodeName: str
    nodeType: str
    status: str
    duration: float | None
    input: NotRequired[Any]
    output: Any
    error: NotRequired[So1ExecutionError]


class So1Execution(TypedDict):
    """An execution."""

    executionId: str
    originalExecutionId: NotRequired[str]
    workflowId: str
    workflowName: NotRequired[str]
    status: Literal["running", "waiting", "success", "error", "canceled"]
    startedAt: Timestamp | None
    finishedAt: NotRequired[Timestamp]
    failedAt: NotRequired[Timestamp]
    canceledAt: NotRequired[Timestamp]
    duration: NotRequired[float]
    progress: NotRequired[So1Progress]
    estimatedCompletionAt: NotRequired[Timestamp]
    """Reckoned from the nodes that are done and the time that they took."""
    error: NotRequired[So1ExecutionError]
    result: NotRequired[Any]
    nodeData: NotRequired[list[So1Node]]


class So1Pagination(TypedDict):
    """Where a page stands."""

    total: int
    limit: int
    hasMore: bool
    nextCursor: str | None


class So1List(TypedDict):
    """A page of executions, the newest first."""

    executions: list[So1Execution]
    pagination: So1Pagination


class So1Deleted(TypedDict):
    """An execution that is no more."""

    executionId: str
    deletedAt: Timestamp


class So1Line(TypedDict):
    """A line of a log."""

    timestamp: Timestamp
    level: str
    node: NotRequired[str]
    message: str


class So1Log(TypedDict):
    """The first lines of a log."""

    executionId: str
    logs: list[So1Line]
