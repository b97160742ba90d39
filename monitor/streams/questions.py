"""What a client may say on a WebSocket: the members of its messages. Pure types.

The session refuses every other member, and reads them more strictly than types can say; the contract shows them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from monitor.events.model import MAX_ID_CHARACTERS
from monitor.fanout.channels import MAX_ROWS
from monitor.streams.messages import MAX_ECHO_CHARACTERS, MAX_PATTERNS
from monitor.web.filters import filter_object

Channel = Annotated[
    str, Field(pattern=rf"^(executions|(workflow|execution):.{{1,{MAX_ID_CHARACTERS}}})$", examples=["workflow:wf_7"])
]
Channels = Annotated[list[Channel], Field(min_length=1)]
Pattern = Annotated[str, Field(max_length=MAX_ID_CHARACTERS, pattern=r"^(\*|[\w-]+(\.[\w-]+)*(\.\*)?)$")]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=MAX_PATTERNS)]
Tests = Annotated[dict[str, Any], WithJsonSchema(filter_object())]
Name = Annotated[str, Field(min_length=1, max_length=MAX_ECHO_CHARACTERS, json_schema_extra={"format": "printable"})]
Echo = Annotated[str, Field(max_length=MAX_ECHO_CHARACTERS)] | int
Shown = Annotated[
    str,
    Field(
        pattern="^(none|active|recent:[1-9][0-9]{0,3})$",
        description="What is shown first, and again after a loss: `none`, `active` (what is in flight), or `recent:N` "
        f"with N up to {MAX_ROWS}.",
    ),
]
Start = Annotated[str, Field(description="Where to begin: a position, `now`, `earliest` or a time with an offset.")]


class Question(TypedDict):
    """What every message may say."""

    id: NotRequired[Echo | None]
    """The answer repeats it."""


class Subscribe(Question):
    """Deliver these channels from now on, or from a position; in the place of the subscription with this name."""

    channels: Channels
    """`executions`, `workflow:ID`, `execution:ID`."""
    events: NotRequired[Patterns | None]
    """Types, `family.*` or `*`; without them the lifecycle types: no progress, no heartbeats, no logs."""
    filter: NotRequired[Tests | None]
    logs: NotRequired[bool | None]
    """Log lines as well."""
    snapshot: NotRequired[Shown | None]
    position: NotRequired[Start | None]
    name: NotRequired[Name | None]
    """By which it can be changed and ended."""


class Change(Question):
    """Alter the subscription with this name: members that are not given stay as they are, null sets one back."""

    channels: NotRequired[Channels]
    events: NotRequired[Patterns | None]
    filter: NotRequired[Tests | None]
    logs: NotRequired[bool | None]
    snapshot: NotRequired[Shown | None]
    position: NotRequired[Start | None]
    name: Name


class Unsubscribe(Question):
    """Deliver these channels no more, or none at all; of one subscription, or of each."""

    channels: NotRequired[Channels | None]
    name: NotRequired[Name | None]


class Ping(Question):
    """Is anybody there?"""


QUESTIONS: Final[Mapping[str, type]] = {
    "subscribe": Subscribe,
    "change": Change,
    "unsubscribe": Unsubscribe,
    "ping": Ping,
}
"""The members of each, by its type."""
