"""The engine port: commands in, an answer at once or later; what then happens arrives as events like everybody's.

Promises of every engine: a command is carried out once however often it comes, by its id; `Accepted` means that events
will follow, not that they have. The desk appends `command.requested` before it submits, and the answer after it; an
engine that answers `Submitted` has its answer appended itself, as `command.accepted` or `command.refused` on the
command's execution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NotRequired, Protocol

from typing_extensions import TypedDict

UNKNOWN_EXECUTION: Final = "unknown_execution"
"""Code of a refusal: the engine does not run what is to be stopped. Such an execution is an orphan, to be forced."""

UNKNOWN_NODE: Final = "unknown_node"
"""Code of a refusal: the workflow has no node of that id to start from."""

BUSY: Final = "busy"
"""Code of a refusal: not now, since the engine has as much to do as it takes."""

STOPPED: Final = "stopped"
"""Code of a refusal: the engine does not work (any more)."""


class ExecuteArgs(TypedDict):
    """Of an execution to begin."""

    inputData: NotRequired[Any]
    """What the workflow's trigger takes; absent: what the workflow makes up itself."""


class CancelArgs(TypedDict):
    """Of an execution to stop."""

    reason: str


class RetryArgs(ExecuteArgs):
    """Of an execution to repeat."""

    retryOf: str
    """The execution that is repeated."""
    startNodes: list[str]
    """Nodes before these are not run again; none: all are."""
    loadWorkflow: bool
    """true: the workflow as it is now; false: as it was then, where the engine still has it."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Run the workflow with this input, as the execution `execution_id`, which the monitor has made up."""

    kind: ClassVar[Literal["execute"]] = "execute"

    command_id: str
    team: str
    execution_id: str
    workflow_id: str
    # Items as the workflow's trigger takes them; None = what the workflow makes up itself.
    input_data: Any = None

    @property
    def args(self) -> ExecuteArgs:
        """What it says beside the ids, as it goes over a wire."""
        return {} if self.input_data is None else {"inputData": self.input_data}


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the execution where it is."""

    kind: ClassVar[Literal["cancel"]] = "cancel"

    command_id: str
    team: str
    execution_id: str
    workflow_id: str
    reason: str = "manual"

    @property
    def args(self) -> CancelArgs:
        """What it says beside the ids, as it goes over a wire."""
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class Retry:
    """Run the workflow of `retry_of` once more, as the execution `execution_id`, which the monitor has made up."""

    kind: ClassVar[Literal["retry"]] = "retry"

    command_id: str
    team: str
    execution_id: str
    workflow_id: str
    retry_of: str
    # The input of the execution that is repeated, where it is known.
    input_data: Any = None
    # Where to start: nodes before are not run again. Empty = at the beginning.
    start_nodes: Sequence[str] = ()
    # True: the workflow as it is now; False: as it was then, where the engine still has it.
    load_workflow: bool = False

    @property
    def args(self) -> RetryArgs:
        """What it says beside the ids, as it goes over a wire."""
        said: RetryArgs = {
            "retryOf": self.retry_of,
            "startNodes": list(self.start_nodes),
            "loadWorkflow": self.load_workflow,
        }
        return said if self.input_data is None else {**said, "inputData": self.input_data}


Command = Execute | Cancel | Retry


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command will be carried out on this execution: the command's own, unless the engine makes up its ids."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The command will not be carried out; `reason` is a sentence for the person who asked."""

    reason: str
    # A stable word where a program may act on it.
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The command is durable on its way; the answer comes as an event from the engine."""


Answer = Accepted | Refused | Submitted


class Engine(Protocol):
    """What runs workflows."""

    def serves(self, team: str, workflow_id: str) -> bool:
        """Whether commands for this workflow of this team belong here."""
        ...

    async def submit(self, command: Command) -> Answer:
        """Take or refuse `command`. Raises Unavailable when it is not known whether the engine has it."""
        ...

    async def run(self) -> None:
        """Work until cancelled; then stop what runs, each with an event. One task calls it."""
        ...
