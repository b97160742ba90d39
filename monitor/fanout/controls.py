"""Control frames: the service's own words on a stream, each with its members. Pure types.

Whoever sends one makes its members by its type; `CONTROLS` is the whole list, from which the contract is rendered. A
wire adds the `type`, and the position where one is told.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from monitor.projections.status import STATUSES

Status = Annotated[str, Field(json_schema_extra={"enum": list(STATUSES)})]

GapReason = Literal["retention", "budget"]
"""The journal does not hold it any more; or there is more to catch up than a connection is given."""

ResetReason = Literal["incarnation", "ahead", "malformed"]
"""The position belongs to a journal that is gone, lies beyond the end of this one, or was not made here."""


class Placed(TypedDict):
    """What may tell where the client then stands."""

    position: NotRequired[str]
    """Who comes back with it misses nothing that follows; absent where what the client had still holds."""


# No name that a class could give a member.
_From = TypedDict("_From", {"from": str})


class Limits(TypedDict):
    """How much a connection takes."""

    subscriptions: int
    channels: int
    """Over all of its subscriptions."""
    message_characters: int
    """Of a message of the client; a longer one ends the connection."""


class Hello(Placed):
    """The first frame of every connection."""

    sid: str
    """Names the connection in logs and in questions; it grants nothing."""
    heartbeat_ms: int
    """A connection that is silent for longer than this is lost."""
    limits: Limits


class Answered(TypedDict):
    """What answers a message of the client."""

    id: NotRequired[str | int]
    """That of the message."""


class Subscribed(Placed, Answered):
    """The subscription holds: from this position on everything that it asks for is delivered."""

    channels: list[str]
    """Of the subscription."""
    name: NotRequired[str]


class Unsubscribed(Placed, Answered):
    """The channels are not delivered any more."""

    channels: list[str]
    """Those that are left to the connection."""
    name: NotRequired[str]


class Pong(Answered):
    """Answers a `ping`."""


class Problem(Answered):
    """A message that cannot be obeyed, which changed nothing; or why the connection ends."""

    code: str
    """For programs: one of the error codes of the API."""
    message: str
    """For people."""
    field: NotRequired[str | None]
    """The member or parameter at fault."""
    limit: NotRequired[int]
    """What a connection takes at most, where that was exceeded."""
    retryMs: NotRequired[int]
    """When to come back, in milliseconds: for an EventSource, which would do so at once."""


class Crowded(TypedDict):
    """There are as many connections as this process takes: come back later."""

    retryMs: int
    """Not before so many milliseconds have passed."""


class Drain(Placed):
    """The process ends: come back with this position."""

    retryMs: int
    """Not before so many milliseconds have passed."""


class Advance(TypedDict):
    """How far an execution is."""

    completed: int
    """Nodes that are done."""
    total: int
    """Nodes that are declared or were seen; 0 as long as there are none."""
    current: str | None
    """What it works on."""
    message: str | None
    ratio: float
    """From 0 to 1; below 1 until the end."""


class State(TypedDict):
    """How an execution stands."""

    status: Status
    progress: Advance


class Row(TypedDict):
    """One execution as it stands, before the live events."""

    executionId: str
    workflowId: str
    version: int
    """What has a lower version is older than this."""
    state: State
    execution: Mapping[str, Any]
    """As `GET /v1/executions/{id}` answers."""


class SnapshotEnd(Placed):
    """All executions are shown: what follows are events behind this position."""

    count: int
    """How many were shown."""
    truncated: NotRequired[Literal[True]]
    """There are more than a snapshot shows."""
    href: NotRequired[str]
    """Where they are, if there are more."""


class Checkpoint(Placed):
    """Nothing for this client happened, but its position moves."""


class Lost(_From):
    """What lies between two positions."""

    to: str


class Loss(Placed):
    """Events are, or may be, missing."""

    lost: NotRequired[Lost]
    """Where they were; absent where nobody knows."""


class Gap(Loss):
    """Events are missing. A snapshot follows, if the subscription has any, and its end tells the position."""

    reason: GapReason


class Reset(Loss):
    """The position means nothing here, so that events may be missing. What follows is as after a gap."""

    reason: ResetReason


class LogGap(Placed, _From):
    """Log lines were left out, since there were more than a stream carries."""

    executionId: str
    count: int
    """How many lines."""
    to: str
    """Their latest time, as `from` is their earliest."""
    href: str
    """Where they are."""


class Slow(TypedDict):
    """The client reads more slowly than events come: it is about to lose some."""

    lagEvents: int
    """How many wait for it."""
    lagMs: int
    """For how long the oldest has waited, in milliseconds."""


class Stale(TypedDict):
    """The service stands still: what was shown is old."""

    since: str
    """RFC 3339."""
    lag: int | None
    """How many records wait; null where nobody knows."""


class Fresh(TypedDict):
    """It goes on."""


class End(Placed):
    """The execution has ended and its log is complete: nothing follows."""

    executionId: str
    status: str
    """Its last status, or `deleted`."""


class Heartbeat(TypedDict):
    """A sign of life, on lines of JSON; other transports have their own."""


CONTROLS: Final[Mapping[str, type]] = {
    "stream.hello": Hello,
    "stream.subscribed": Subscribed,
    "stream.unsubscribed": Unsubscribed,
    "stream.pong": Pong,
    "stream.error": Problem,
    "stream.snapshot": Row,
    "stream.snapshot-end": SnapshotEnd,
    "stream.checkpoint": Checkpoint,
    "stream.heartbeat": Heartbeat,
    "stream.gap": Gap,
    "stream.reset": Reset,
    "stream.log-gap": LogGap,
    "stream.slow": Slow,
    "stream.stale": Stale,
    "stream.fresh": Fresh,
    "stream.end": End,
    "stream.drain": Drain,
    "stream.shed": Crowded,
}
"""The members of each, by its type."""
