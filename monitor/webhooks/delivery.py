"""A delivery: one event owed to one endpoint; an attempt: one send of it. Bodies never change between attempts."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from monitor.webhooks.endpoint import Endpoint

DeliveryState = Literal["pending", "leased", "delivered", "failed", "held", "cancelled"]
"""pending: owed, also while its endpoint is paused · leased: being sent · failed: given up · held: set aside until
somebody resumes it.
"""

Trigger = Literal["event", "retry", "replay", "test"]
"""What the next attempt, or the last one, is made for: the event itself and its schedule, or somebody's wish."""

Failure = Literal["dns", "blocked_address", "connect", "tls", "timeout", "disconnected", "protocol", "internal"]
"""Why no answer came: before there was a connection, after, or by our own fault."""

Verdict = Literal["ok", "failed", "throttled", "neutral"]
"""What an attempt says of its lane; `neutral`: nothing (a test, or our own fault)."""


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
    # It waits until every earlier delivery of its endpoint with this key has ended; None = it waits for nobody.
    order_key: str | None = None


class Claimed(msgspec.Struct, frozen=True):
    """A delivery in a deliverer's hands until its lease ends. The attempt row `n` is already stored as started."""

    # The store's integer key.
    key: int
    id: str
    endpoint: Endpoint
    body: bytes
    # Number of this attempt, from 1.
    n: int
    # Steps of the schedule that it has used up: interrupted attempts and probes take none.
    step: int
    lease: str
    trigger: Trigger
    # Whether it probes a lane whose breaker is open.
    is_probe: bool
    planned_us: int
    # When its first attempt began; this attempt's own time for the first one.
    first_us: int


class Answer(msgspec.Struct, frozen=True):
    """What came back from one send."""

    # HTTP status; None when no answer came.
    status: int | None
    # None when an answer came.
    failure: Failure | None = None
    # First bytes of the body, as they came.
    body: bytes = b""
    # Whether the body had more, or broke off.
    is_truncated: bool = False
    # The header of that name, as it was written; the first one of several.
    retry_after: str | None = None
    # The receiver's word on how to go on (`webhook-delivery`), in lower case.
    control: str | None = None
    # Headers worth keeping (location, content-type, server, ...), names in lower case, values cut at 200 characters.
    headers: Mapping[str, str] = {}
    # Microseconds by phase: dns, connect (TCP and TLS), first_byte, body, total; those that took place.
    phases_us: Mapping[str, int] = {}


class AttemptDetail(msgspec.Struct, frozen=True):
    """What is kept of an attempt beside its columns."""

    # Where it went: an endpoint may change its URL between two attempts.
    url: str
    headers: Mapping[str, str] = {}
    phases_us: Mapping[str, int] = {}
    is_truncated: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended and what follows."""

    key: int
    endpoint_key: int
    n: int
    lease: str
    started_us: int
    finished_us: int
    # HTTP status; None when no answer came.
    status: int | None
    # Stable word: a `Failure`, or for an answer that was not accepted `redirect`, `gone`, `aborted`, `disabled`,
    # `throttled`, `status` or `protocol`.
    error: str | None
    # First bytes of the answer's body, without secrets.
    answer: bytes
    detail: AttemptDetail
    state: Literal["pending", "delivered", "failed"]
    # Why it failed for good: `exhausted`, `expired`, `gone`, `aborted` or `given_up`. With `pending`: `halted`, which
    # waits for somebody.
    reason: str | None
    # When it is tried again; None unless `pending`.
    due_us: int | None
    # Steps of the schedule that it has used up now.
    step: int
