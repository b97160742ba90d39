"""What arrives is accepted by the libraries that receivers use, before, during and after a change of secrets."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.debian import Unavailable
from tests.support.receiver import LOOPBACK, Receiver, Request, receiving
from tests.support.service import Service
from tests.support.verifying import VERIFIERS, Asked

TEXTS = ("plain", "a.b.c", "line\nbreak\r\n", "\x00\x1f", "üñí \U0001f980", '"quoted" \\ </script>', "x" * 100_000)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service that may send to this machine."""
    running = Service(tmp_path / "data", webhook_allow=",".join(LOOPBACK))
    running.launch()
    try:
        await running.ready()
        yield running
    finally:
        running.close()


async def test_case_40_three_libraries_verify_through_a_rotation(service: Service) -> None:
    """Old and new secrets during the overlap, the new one alone after it; and nothing that was changed on its way."""
    async with service.client() as client, receiving() as receiver:
        registered = await answered(client, "", {"url": receiver.url, "events": ["*"]})
        first, address = registered["secret"], f"/{registered['id']}/secret"
        before = await sent(client, receiver)
        second = (await answered(client, f"{address}/rotate", {"overlapSeconds": 3600}))["secret"]
        during = await sent(client, receiver)
        third = (await answered(client, f"{address}/rotate", {}))["secret"]
        with_three = await sent(client, receiver)
        await answered(client, f"{address}/revoke", None)
        after = await sent(client, receiver)
    expected = {
        first: [before, during, with_three],
        second: [during, with_three],
        third: [with_three, after],
    }
    asked = [
        (Asked(secret, it.headers, it.body), phase in phases)
        for secret, phases in expected.items()
        for phase in (before, during, with_three, after)
        for it in phase
    ]
    changed = [Asked(first, it.headers, it.body[:-1] + b" ") for it in before]
    later = [Asked(first, {**it.headers, "webhook-timestamp": "1000000000"}, it.body) for it in before]
    renamed = [Asked(first, {**it.headers, "webhook-id": "msg_other"}, it.body) for it in before]
    for name, verify in VERIFIERS.items():
        try:
            accepted = verify([one for one, _ in asked])
        except Unavailable as reason:
            pytest.skip(str(reason))
        assert accepted == [is_valid for _, is_valid in asked], name
        assert not any(verify([*changed, *later, *renamed])), name


async def sent(client: httpx.AsyncClient, receiver: Receiver) -> list[Request]:
    """The requests of a batch of events that are hard to sign."""
    had = len(receiver.requests)
    events = [event(f"{had}-{number}", text) for number, text in enumerate(TEXTS)]
    answer = await client.post("/v1/events", json=events)
    assert answer.status_code == 200, answer.text
    return (await receiver.received(had + len(TEXTS)))[had:]


def event(name: str, text: str) -> dict[str, Any]:
    """A log line."""
    return {
        "type": "log.appended",
        "executionId": "exec_1",
        "workflowId": "wf_1",
        "timestamp": "2026-11-22T10:30:00Z",
        "id": name,
        "data": {"lines": [{"timestamp": "2026-11-22T10:30:00Z", "level": "info", "message": text}]},
    }


async def answered(client: httpx.AsyncClient, address: str, document: Any) -> Any:
    """What the service says."""
    answer = await client.post(f"/v1/webhooks{address}", json=document)
    assert answer.is_success, answer.text
    return answer.json()
