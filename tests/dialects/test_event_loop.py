"""What dialects make of many nodes is made beside the event loop, which serves everybody else meanwhile."""

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from monitor.api.dialects.n8n import handlers
from monitor.api.dialects.team import writers
from tests.support.commanding import commanding

RUN = {"executionId": "e", "workflowId": "w", "timestamp": "2026-11-22T10:00:00Z", "id": "1"}


@pytest.mark.parametrize(
    ("room", "maker", "path"),
    [
        (writers, "exported", "/api/executions/team/acme/export?days=99999"),
        (writers, "exported", "/api/executions/team/acme/export?days=99999&format=json"),
        (handlers, "data", "/api/v1/executions?includeData=true"),
        (handlers, "data", "/api/v1/executions/e?includeData=true"),
    ],
)
async def test_large_answers_are_made_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, room: ModuleType, maker: str, path: str
) -> None:
    """A page may hold thousands of nodes, with megabytes of data."""
    made_in: list[int] = []
    made: Callable[..., Any] = getattr(room, maker)

    def noted(*said: Any, **more: Any) -> Any:
        made_in.append(threading.get_ident())
        return made(*said, **more)

    monkeypatch.setattr(room, maker, noted)
    async with commanding() as house, house.client() as client:
        await house.tell(
            {**RUN, "type": "execution.started"},
            {**RUN, "type": "node.completed", "id": "2", "data": {"nodeId": "n", "outputData": [{"a": 1}]}},
        )
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert '"n"' in answer.text or ",n," in answer.text
    assert made_in
    assert threading.get_ident() not in made_in
