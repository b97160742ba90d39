"""The service that is asked: with executions in every state, a webhook that was called, and a token for who asks.

And what was asked of it, as `hooks` noted it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.service import Service
from tests.support.tokens import bearer

UNTRIED: Final = frozenset({"GET /v1/executions/stream", "GET /v1/executions/{id}/stream", "GET /openapi.json"})
"""Two streams, which go on for ever, and the contract itself, which schemathesis has read before."""

_EXECUTIONS: Final = 12


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests, each with its operation ("GET /v1/webhooks"), the kind of its values, and the phase it was made in."""

    requests: tuple[tuple[str, str, str], ...] = ()

    @staticmethod
    def noted(file: Path) -> "Asked":
        """What the hooks wrote there."""
        operations = (line.split("\t") for line in file.read_text().splitlines())
        return Asked(tuple((operation, kind, phase) for operation, kind, phase in operations))

    def operations(self, *words: str) -> set[str]:
        """Which were asked with values of that kind ("positive", "negative"), or in that phase ("stateful")."""
        return {operation for operation, *told in self.requests if not {*words}.difference(told)}

    def __str__(self) -> str:
        """For people who look how much was tried."""
        counts = (f"{len(self.operations(word))} {word}" for word in ("positive", "negative", "coverage", "stateful"))
        return f"{len(self.requests)} requests of {len(self.operations())} operations: {', '.join(counts)}"


async def told_story(service: Service) -> str:
    """Tell the service of executions and a webhook; returns the administrator's token."""
    token = await service.first_token()
    async with service.client() as client:
        client.headers.update(bearer(token))
        hook = {"url": "http://127.0.0.1:9/hook", "events": ["*"], "retrySchedule": [3600]}
        assert (await client.post("/v1/webhooks", json=hook)).status_code == 201
        events = [event for number in range(_EXECUTIONS) for event in _story(number)]
        answer = await client.post("/v1/events", json=events)
        assert (answer.status_code, answer.json()["rejected"]) == (200, 0)
        await service.caught_up()
        assert len((await client.get("/v1/executions")).json()["data"]) == _EXECUTIONS
    return token


def _story(number: int) -> list[dict[str, Any]]:
    begun = {
        "workflowName": "GitHub to Slack",
        "mode": "webhook",
        "trigger": {"type": "webhook", "source": "github", "payload": {"action": "opened"}},
        "inputData": {"number": number},
        "metadata": {"queueTime": 0.1},
        "tags": ["nightly"],
    }
    node = {"nodeId": "slack_1", "nodeName": "Send to Slack", "nodeType": "slack"}
    ran = {**node, "status": "success", "duration": 1.5, "inputData": [{"a": 1}], "outputData": [{"ok": True}]}
    lines = [{"timestamp": f"2026-11-22T10:{number:02}:02Z", "level": "warn", "nodeId": "slack_1", "message": "slow"}]
    ends: list[tuple[str, dict[str, Any]]] = [
        ("execution.completed", {"duration": 9.5, "outputData": {"ok": True}}),
        ("execution.failed", {"status": "timeout", "error": {"type": "Timeout", "message": "too slow"}}),
        ("execution.cancelled", {"reason": "asked"}),
        ("execution.waiting", {"kind": "approval"}),
        ("execution.progress", {"completed": 1, "total": 2, "message": "half"}),
    ]
    told = [
        ("execution.started", begun),
        ("node.started", node),
        ("node.completed", ran),
        ("log.appended", {"lines": lines}),
        ends[number % len(ends)],
    ]
    return [
        {
            "type": kind,
            "executionId": f"exec_{number}",
            "workflowId": f"wf_{number % 3}",
            "timestamp": f"2026-11-22T10:{number:02}:{second:02}Z",
            "data": data,
        }
        for second, (kind, data) in enumerate(told)
    ]
