"""A delivery: one event owed to one endpoint; an attempt: one send of it. Bodies never change between attempts."""

from typing import Literal

import msgspec

DeliveryState = Literal["pending", "leased", "delivered", "failed", "cancelled"]


Failure = Literal["dns", "blocked_address", "connect", "tls", "timeout", "disconnected", "protocol", "internal"]
"""Why no answer came: before there was a connection, after, or by our own fault."""


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A delivery as the commit writes it. Its id is a hash of endpoint and event, so that planning twice owes once."""

    id: str
    endpoint_key: int
    event_id: str
    event_type: str
    team: str
    execution_id: str
    # Exactly what is sent and signed, on every attempt.
    body: bytes
    due_us: int


class Claimed(msgspec.Struct, frozen=True):
    """A delivery in a deliverer's hands until its lease ends. The attempt row `n` is already stored as started."""

    id: str
    endpoint_key: int
    url: str
    sealed_secret: bytes
    body: bytes
    # Number of this attempt, from 1.
    n: int
    lease: str


class Answer(msgspec.Struct, frozen=True):
    """What came back from one send."""

    # HTTP status; None when no answer came.
    status: int | None
    # None when an answer came.
    failure: Failure | None = None
    # First bytes of the body.
    body: bytes = b""
    # The header of that name, as it was written.
    retry_after: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended and what follows."""

    delivery_id: str
    n: int
    lease: str
    started_us: int
    finished_us: int
    # HTTP status; None when no answer came.
    status: int | None
    # Stable word: a `Failure`, or for an answer that was not accepted `redirect`, `gone`, `status` or `protocol`.
    error: str | None
    # First bytes of the answer's body.
    answer: bytes
    state: Literal["pending", "delivered", "failed"]
    # When it is tried again; None unless `pending`.
    due_us: int | None
