"""A retry that its engine has taken is answered as one, also while nothing is told of it: nobody asks for a second."""

import pytest

from monitor.engines.base import Accepted
from monitor.executions import commands
from tests.support.commanding import Scripted, commanding

RUN = {"executionId": "old", "workflowId": "wf_1", "timestamp": "2026-11-22T10:00:00Z"}


async def test_a_retry_that_nothing_is_told_of_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the id that its engine gave it, and the workflow of the first."""
    monkeypatch.setattr(commands, "START_WAIT_S", 0.0)
    async with commanding(Scripted("wf_1", Accepted("77"))) as house, house.client() as client:
        await house.tell(
            {**RUN, "type": "execution.started", "data": {"workflowName": "Orders"}},
            {**RUN, "type": "execution.failed", "data": {"status": "failed"}},
        )
        answer = await client.post("/api/v1/executions/old/retry")
        assert answer.status_code == 200
        shown = answer.json()
        told = {name: shown[name] for name in ("id", "status", "mode", "retryOf", "workflowId", "workflowName")}
        assert told == {
            "id": "77",
            "status": "new",
            "mode": "retry",
            "retryOf": "old",
            "workflowId": "wf_1",
            "workflowName": "Orders",
        }
        assert (shown["startedAt"], shown["stoppedAt"], shown["finished"]) == (None, None, False)
