"""An export of some days holds every execution of them, also one that never started, and none that is older."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.executions import exports
from tests.support.commanding import commanding


def event(kind: str, execution_id: str, days_ago: float) -> dict[str, Any]:
    """What an engine told so long ago."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return {"type": kind, "executionId": execution_id, "workflowId": "wf", "timestamp": at.isoformat(), "data": {}}


async def test_days_bound_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the start, or by when it was queued where it has none; page by page."""
    monkeypatch.setattr(exports, "PAGE_ROWS", 2)
    async with commanding() as house, house.client() as client:
        for days_ago in range(6):
            await house.tell(event("execution.started", f"run_{days_ago}", days_ago + 0.5))
        await house.tell(event("execution.queued", "queued_0", 0.6), event("execution.queued", "queued_4", 4.6))
        for days, count in ((1, 1), (3, 3), (30, 6)):
            answer = await client.get(f"/api/executions/team/acme/export?format=json&days={days}")
            ids = [row["executionId"] for row in answer.json()]
            queued = ["queued_0", *(["queued_4"] if days == 30 else [])]
            assert sorted(ids) == sorted([*queued, *(f"run_{n}" for n in range(count))])
