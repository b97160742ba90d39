"""The engine port: commands in, an answer at once; what then happens arrives as events through intake like all others.

Promises of every engine: a command is answered once and for all by its id, so that sending it again changes nothing;
`Accepted` means that events will follow, not that they have.
"""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Execute:
    """Run the workflow with this input."""

    command_id: str
    workflow_id: str
    # Items as the workflow's trigger takes them; None = what the workflow makes up itself.
    input_data: Any = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the execution where it is."""

    command_id: str
    execution_id: str
    reason: str = "manual"


@dataclass(frozen=True, slots=True)
class Retry:
    """Run the workflow of an execution once more with the same input, as an execution of its own."""

    command_id: str
    execution_id: str
    workflow_id: str
    input_data: Any = None


Command = Execute | Cancel | Retry


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command will be carried out on this execution: the one named, or the new one."""

    execution_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The command will not be carried out; `reason` is a sentence for the person who asked."""

    reason: str


class Engine(Protocol):
    """What runs workflows."""

    async def submit(self, command: Command) -> Accepted | Refused:
        """Take or refuse `command`. Raises Unavailable when the engine does not answer."""
        ...

    async def run(self) -> None:
        """Work until cancelled; then stop what runs, each with an event. One task calls it."""
        ...
