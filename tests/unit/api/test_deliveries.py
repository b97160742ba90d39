"""Deliveries are shown with every attempt at them, to their own team alone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from monitor.store import MemoryStore, open_sqlite_store
from tests.support.house import House, open_house
from tests.support.receiver import LOOPBACK, Receiver, answering, receiving
from tests.support.service import eventually
from tests.support.webhook_house import client_of, delivering, failed, register


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store)
    await store.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


async def test_deliveries_show_every_attempt(house: House, receiver: Receiver) -> None:
    """When, how it was answered, and what comes next; bytes that are no text do no harm."""
    receiver.behave(answering(500, b"no \xff\0text"))
    async with client_of(house, allowed=LOOPBACK) as client, delivering(house) as deliverer:
        registered = await register(client, url=receiver.url)
        path = f"/v1/webhooks/{registered['id']}/deliveries"
        await house.tell(failed("exec_1"))
        deliverer.wake()

        async def attempted() -> Any:
            (delivery,) = (await client.get(path)).json()["data"]
            return delivery if delivery["status"] == "pending" and delivery["attempts"] else None

        delivery = await eventually(attempted)
        page = (await client.get(f"{path}?limit=1")).json()
    (attempt,) = delivery.pop("attempts")
    assert delivery.pop("nextAttemptAt") > attempt.pop("finishedAt") >= attempt.pop("startedAt")
    assert attempt == {"number": 1, "statusCode": 500, "error": "status", "response": "no \ufffd\0text"}
    assert {**delivery, "createdAt": ""} == {
        "id": receiver.requests[0].headers["webhook-id"],
        "event": "execution.failed",
        "eventId": "ev_exec_1",
        "executionId": "exec_1",
        "status": "pending",
        "createdAt": "",
    }
    assert page["pagination"] == {"limit": 1, "hasMore": False}


async def test_deliveries_of_another_team_are_not_found(house: House) -> None:
    """Case 54: and not told apart from those of a webhook that is none."""
    async with client_of(house) as client, client_of(house, "rival") as rival:
        registered = await register(client)
        answers = [await rival.get(f"/v1/webhooks/{id_}/deliveries") for id_ in (registered["id"], "wh_none")]
    assert [answer.status_code for answer in answers] == [404, 404]
