"""The shapes of the native spelling: what `native` writes, and what the contract tells of it.

Members that stand in an answer only where they say something are `Told`: their writer may say None, which leaves them
out. Producers' own members, beside the ones that are named here, stay as they came.
"""

from typing import Annotated, Any, Final, NotRequired, TypeVar

from pydantic import GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypedDict

from monitor.events.types import TYPES
from monitor.projections.status import STATUSES
from monitor.web.cursors import FullPagination
from monitor.web.replies import Timestamp

T = TypeVar("T")


class _LeftOut:
    """Marks a member that is absent rather than null."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        said = [it for it in schema.get("anyOf", ()) if it != {"type": "null"}]
        return said[0] if len(said) == 1 else schema


Told = Annotated[T | None, _LeftOut()]
"""A member that is there only where it says something."""

Items = Annotated[Any, WithJsonSchema({"type": "array", "items": {}})]
"""A list of items, as bytes that are already JSON."""

Status = Annotated[str, WithJsonSchema({"type": "string", "enum": list(STATUSES)})]

_NODE_STATUSES: Final = {it.status for it in TYPES.values() if it.name.startswith("node.") and it.status}

NodeStatus = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted({*STATUSES, *_NODE_STATUSES})})]


class ExecutionTrigger(TypedDict, total=False):
    """What set an execution off, as far as its engine told."""

    type: str
    source: str
    timestamp: Timestamp
    payload: Any
    """With `include=data`."""


class ExecutionError(TypedDict):
    """Why an execution, or one of its nodes, failed."""

    type: str
    message: str
    timestamp: Timestamp
    nodeId: NotRequired[str]
    stack: NotRequired[str]
    details: NotRequired[Any]


class ExecutionMetadata(TypedDict, total=False):
    """What the engine measured, and what follows from its events where it did not."""

    retryCount: int
    queueTime: float
    """Seconds from the queue to the start."""
    memoryUsage: float
    """In the engine's own unit, as `dataTransferred`."""
    nodeCount: int
    dataTransferred: float


class ExecutionProgress(TypedDict):
    """How far an execution is."""

    completed: int
    total: int
    """The larger of what was declared and what was seen; it may grow."""
    current: str | None
    message: str | None
    ratio: float
    """0 to 1; below 1 until it succeeded."""


class ExecutionWait(TypedDict, total=False):
    """What an execution waits for."""

    kind: str
    until: str


class ParentExecution(TypedDict, total=False):
    """Which execution started another, and where in it."""

    executionId: str
    nodeId: str


class ExecutionAnnotation(TypedDict, total=False):
    """What people noted about an execution."""

    tags: list[str]
    vote: str
    note: str


class ExecutionNodeData(TypedDict):
    """A node in its latest run."""

    nodeId: str
    nodeName: str
    nodeType: str
    """Empty where nobody told it."""
    status: NodeStatus
    startedAt: Timestamp | None
    stoppedAt: NotRequired[Told[Timestamp]]
    duration: NotRequired[Told[float]]
    """Seconds."""
    inputData: NotRequired[Items]
    outputData: NotRequired[Items]
    error: NotRequired[Told[ExecutionError]]
    iteration: int
    """Which turn of a loop, from 0."""
    attempt: int
    """Which try, from 1."""


class LogEntry(TypedDict):
    """A line of a log."""

    timestamp: Timestamp
    level: str
    nodeId: NotRequired[Told[str]]
    message: str
    data: NotRequired[Any]


class Execution(TypedDict):
    """An execution. What is null was not told yet."""

    id: str
    workflowId: str
    """Empty until an event names it."""
    workflowName: str | None
    status: Status
    mode: str | None
    """manual, trigger, webhook, scheduled, retry, or the engine's own word."""
    trigger: ExecutionTrigger | None
    startedAt: Timestamp | None
    stoppedAt: NotRequired[Told[Timestamp]]
    duration: NotRequired[Told[float]]
    """Seconds."""
    inputData: NotRequired[Any]
    """With `include=data`, as `outputData` and `executionData`."""
    outputData: NotRequired[Any]
    executionData: NotRequired[Told[list[ExecutionNodeData]]]
    """Each node in its latest run, in order of the first start."""
    moreNodes: NotRequired[Told[int]]
    """How many nodes were left out, since they were too many or too large; `/data` shows more."""
    error: NotRequired[Told[ExecutionError]]
    metadata: ExecutionMetadata
    createdAt: Timestamp
    """When the monitor first heard of it."""
    updatedAt: Timestamp
    version: int
    """Grows with every change that can be seen; also the ETag."""
    progress: ExecutionProgress
    waiting: NotRequired[Told[ExecutionWait]]
    reason: NotRequired[Told[str]]
    """Why it ended as it did."""
    workflowVersion: NotRequired[Told[str | int]]
    """As its engine counts or calls it."""
    retryOf: NotRequired[Told[str]]
    parent: NotRequired[Told[ParentExecution]]
    tags: NotRequired[Told[list[str]]]
    annotation: NotRequired[Told[ExecutionAnnotation]]
    provisional: NotRequired[Told[bool]]
    """Its end is only presumed; later evidence revokes it."""
    conflict: NotRequired[Told[bool]]
    """Different ends were reported."""
    stalled: NotRequired[Told[bool]]
    """In flight, and silent for longer than it should be."""
    late: NotRequired[Told[bool]]
    """In flight, and past its deadline."""
    epoch: NotRequired[Told[int]]
    """How often it was restarted in place."""
    logLines: NotRequired[Told[int]]
    """How many lines its log has."""
    logs: NotRequired[Told[list[LogEntry]]]
    """With `include=logs`: the first 100 lines."""


class ExecutionList(TypedDict):
    """A page of executions."""

    data: list[Execution]
    pagination: FullPagination


class ExecutionExport(TypedDict):
    """Every execution of a list."""

    data: list[Execution]


class NodePayloads(TypedDict):
    """What went into a node and came out of it in its latest run."""

    input: NotRequired[Any]
    """A list of items. With `format=raw` what the engine told, absent where it told nothing."""
    output: NotRequired[Any]
    """As `input`."""


class NodeRunEntry(TypedDict):
    """One run of a node."""

    iteration: int
    """Which turn of a loop, from 0."""
    attempt: int
    """Which try, from 1."""
    status: NodeStatus
    startedAt: Timestamp | None
    stoppedAt: NotRequired[Told[Timestamp]]
    duration: NotRequired[Told[float]]


class NodeData(TypedDict):
    """Input and output of a node in one of its runs, and which runs there are."""

    nodeId: str
    nodeName: str
    input: Items
    output: Items
    iteration: int
    """Of the run that is shown, as `attempt`."""
    attempt: int
    runs: list[NodeRunEntry]
    """By iteration and attempt."""
    earlierRuns: NotRequired[Told[int]]
    """How many before these were left out."""
