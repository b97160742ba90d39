"""What the dialect of NodeLoom answers, member by member."""

from typing import Any, Literal

from typing_extensions import TypedDict

from monitor.web.replies import Timestamp

Word = Literal["PENDING", "RUNNING", "SUCCESS", "FAILED", "CANCELLED"]


class TeamError(TypedDict):
    """A refusal."""

    status: int
    error: str
    message: str
    timestamp: Timestamp
    path: str


class TeamExecution(TypedDict):
    """An execution, as lists show it."""

    id: str
    workflowId: str
    workflowName: str | None
    status: Word
    startedAt: Timestamp
    """When it came into being: queued, where that was told."""
    finishedAt: Timestamp | None
    durationMs: int | None
    """From `startedAt` to `finishedAt`: with the time in the queue."""
    triggerType: str | None
    nodeCount: int
    errorMessage: str | None


class TeamPage(TypedDict):
    """A page of executions, the newest first."""

    content: list[TeamExecution]
    totalElements: int
    totalPages: int
    totalIsLowerBound: bool
    """Whether there are more than were counted: up to 10,000 are, where dates narrow the list."""
    number: int
    size: int


class TeamNodeExecution(TypedDict):
    """The latest run of a node."""

    id: str
    nodeId: str
    nodeName: str
    nodeType: str
    status: Word
    startedAt: Timestamp | None
    completedAt: Timestamp | None
    durationMs: int | None
    inputData: Any
    outputData: Any
    errorMessage: str | None
    retryCount: int


class TeamDetail(TypedDict):
    """An execution with what every node was given and made."""

    id: str
    workflowId: str
    workflowName: str | None
    workflowVersion: str | int | None
    status: Word
    trigger: str | None
    inputData: Any
    outputData: Any
    errorMessage: str | None
    createdAt: Timestamp
    startedAt: Timestamp | None
    completedAt: Timestamp | None
    durationMs: int | None
    """From `startedAt` to `completedAt`: without the time in the queue."""
    nodeExecutions: list[TeamNodeExecution]
    moreNodes: int
    """How many were left out, since they were too many or too large."""
