"""What the dialect of n8n answers, member by member."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from monitor.web.replies import Timestamp

Word = Literal["new", "running", "waiting", "success", "error", "crashed", "canceled"]

Mode = Literal[
    "cli", "error", "integrated", "internal", "manual", "retry", "trigger", "webhook", "evaluation", "chat", "agent"
]


class N8nError(TypedDict):
    """A refusal."""

    message: str


class N8nRedactedError(TypedDict):
    """What is left of an error without what it says."""

    type: str


class N8nRun(TypedDict):
    """One run of a node."""

    startTime: int | None
    """Milliseconds since 1970."""
    executionTime: int | None
    """Milliseconds."""
    executionIndex: int
    """Its place among the runs of all nodes."""
    executionStatus: str
    source: list[Any]
    """Empty: which run led to this one is not told."""
    hints: list[Any]
    """Empty, as above."""
    data: NotRequired[dict[str, list[list[Any]]]]
    """Items by output; `main` is the only one that is known here."""
    error: NotRequired[dict[str, Any]]
    redactedError: NotRequired[N8nRedactedError]


class N8nResult(TypedDict):
    """What the nodes made."""

    runData: dict[str, list[N8nRun]]
    """By the node's name: every run, in order."""
    lastNodeExecuted: NotRequired[str]
    error: NotRequired[dict[str, Any]]
    redactedError: NotRequired[N8nRedactedError]


class N8nStack(TypedDict):
    """What its engine would go on from: its engine has that, so all of it is empty."""

    contextData: dict[str, Any]
    nodeExecutionStack: list[Any]
    metadata: dict[str, Any]
    waitingExecution: dict[str, Any]
    waitingExecutionSource: dict[str, Any]


class N8nData(TypedDict):
    """The data of an execution."""

    version: Literal[1]
    """Of this shape, as n8n counts."""
    startData: dict[str, Any]
    resultData: N8nResult
    executionData: N8nStack
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
    mode: Mode
    finished: bool
    """Whether it succeeded."""
    createdAt: Timestamp
    startedAt: Timestamp | None
    stoppedAt: Timestamp | None
    deletedAt: None
    """What was deleted is not shown any more."""
    waitTill: Timestamp | None
    """Until when it waits, the year 3000 where nobody said; null unless it waits."""
    retryOf: str | None
    retrySuccessId: str | None
    workflowVersionId: str | None
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
