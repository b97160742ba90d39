"""Endpoints and releases as tests need them: everything has a default but what the test is about."""

from collections.abc import Mapping
from typing import Any

from monitor.events.codec import digest_of
from monitor.events.model import DEFAULT_TEAM, Event, Record
from monitor.projections.execution import Details, Progress
from monitor.projections.filter import parse_json
from monitor.projections.fold import Release
from monitor.webhooks.endpoint import Endpoint, Secret
from monitor.webhooks.payload import Bodies

KEY = bytes(range(32))
"""What the endpoints of tests sign with."""

BODIES = Bodies("https://monitor.example.com")
"""What they are sent, as a service makes it that was told nothing but its address."""

NOW_US = 1_795_343_400_000_000
"""2026-11-22T10:30:00Z."""


def make_endpoint(
    id_: str = "wh_1",
    *,
    key: int = 1,
    team: str = DEFAULT_TEAM,
    url: str = "https://example.com/hook",
    events: tuple[str, ...] = ("*",),
    filters: Mapping[str, Any] | None = None,
    sealed_secret: bytes = b"sealed",
    since: Mapping[int, int] | None = None,
    **members: Any,
) -> Endpoint:
    """An endpoint that wants everything of the default team. `members` are the others of Endpoint."""
    return Endpoint(
        key=key,
        id=id_,
        team=team,
        url=url,
        events=events,
        filter=parse_json(filters or {}),
        created_us=NOW_US,
        updated_us=NOW_US,
        secrets=(Secret(sealed_secret, NOW_US),),
        since=since or {},
        **members,
    )


def make_release(
    type_: str = "execution.failed",
    *,
    execution_id: str = "exec_1",
    workflow_id: str = "wf_1",
    event_id: str = "ev_1",
    team: str = DEFAULT_TEAM,
    partition: int = 0,
    offset: int = 0,
    sequence: int = 0,
    backfill: bool = False,
    data: dict[str, Any] | None = None,
) -> Release:
    """A failed execution's release."""
    record = Record(partition, offset, execution_id.encode(), b"{}", (), NOW_US)
    event = Event(
        record,
        team,
        type_,
        execution_id,
        workflow_id,
        NOW_US,
        "2026-11-22T10:30:00Z",
        event_id,
        digest_of(event_id),
        0,
        "",
        sequence,
        0,
        backfill,
        data or {},
    )
    progress = Progress(1, 2, None, None)
    details = Details(NOW_US + 15_200_000, "webhook", None, None, "ConnectionError")
    return Release(
        event,
        workflow_id,
        "GitHub to Slack",
        "webhook",
        offset + 1,
        "failed",
        progress,
        NOW_US,
        15_200_000,
        [],
        details,
        NOW_US,
    )
