"""What the dialect of n8n answers, member by member."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from monitor.web.replies import Timestamp

Word = Literal["new", "running", "waiting", "success", "error", "crashed", "canceled"]


class N8nError(TypedDict):
    """A refusal."""

    message: str


class N8nRun(TypedDict):
    """One run of a node."""

    startTime: int | None
    """Milliseconds since 1970."""
    executionTime: int | None
    """Milliseconds."""
    executionIndex: int
    """Its place among the runs of all nodes."""
    executionStatus: str
    data: NotRequired[dict[str, list[list[Any]]]]
    """Items by output; `main` is the only one that is known here."""
    error: NotRequired[dict[str, Any]]


class N8nResult(TypedDict):
    """What the nodes made."""

    runData: dict[str, list[N8nRun]]
    """By the node's name: every run, in order."""
    lastNodeExecuted: NotRequired[str]
    error: NotRequired[dict[str, Any]]


class N8nData(TypedDict):
    """The data of an execution."""

    resultData: N8nResult
    moreRuns: NotRequired[int]
    """How many were left out, since they were too many or too large."""


class N8nAnnotation(TypedDict):
    """What people noted."""

    tags: list[str]
    vote: Literal["up", "down"] | None


class N8nExecution(TypedDict):
    """An execution."""

    id: str
    workflowId: str
    workflowName: str | None
    status: Word
    mode: str
    finished: bool
    """Whether it succeeded."""
    createdAt: Timestamp
    startedAt: Timestamp | None
    stoppedAt: Timestamp | None
    waitTill: Timestamp | None
    """Until when it waits, where it says so."""
    retryOf: str | None
    retrySuccessId: str | None
    annotation: N8nAnnotation
    data: NotRequired[N8nData]


class N8nList(TypedDict):
    """A page of executions, the newest first."""

    data: list[N8nExecution]
    count: int
    estimated: bool
    """Whether `count` is a lower bound."""
    concurrentExecutionsCount: int
    """How many of the team run now."""
    nextCursor: str | None


class N8nStopped(TypedDict):
    """How many were stopped."""

    stopped: int


class N8nSuccess(TypedDict):
    """It is done."""

    success: Literal[True]


class N8nTag(TypedDict):
    """A tag; it has no id but its name."""

    id: str
    name: str


class N8nRequested(TypedDict):
    """An execution that was asked for."""

    executionId: str | int
    """A number only where the engine's own id is one."""
    waitingForWebhook: bool
