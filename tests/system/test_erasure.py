"""A service that is killed between a deletion and what follows from it makes up for it at its next start."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import opened, rows, told
from tests.support.service import Service, eventually

FILES = ("journal.db", "journal.db-wal", "store.db", "store.db-wal")


@pytest.fixture
def secret() -> str:
    """Nothing else in the files looks like it."""
    return "told-in-confidence-b7c1d2"


def life(secret: str) -> list[dict[str, Any]]:
    """An execution that tells it, small and large."""
    about = {"executionId": "gone", "workflowId": "wf_1", "timestamp": "2026-11-22T10:30:00Z"}
    return [
        about | {"type": "execution.started", "data": {"inputData": secret}},
        about | {"type": "log.appended", "data": {"lines": [{"message": secret}]}},
        about | {"type": "execution.completed", "data": {"outputData": [secret, "x" * 200_000, secret]}},
    ]


async def test_killed_after_a_deletion_it_erases_at_the_next_start(tmp_path: Path, secret: str) -> None:
    """The deletion is folded, nothing is blanked yet: that is what a kill in between leaves."""
    data = tmp_path / "data"
    deleted = {"executionId": "gone", "type": "execution.deleted", "timestamp": "2026-11-22T10:31:00Z"}
    async with opened(data) as parts:
        await told(parts, [*life(secret), deleted])

    def is_gone() -> bool:
        return not any(secret.encode() in (data / name).read_bytes() for name in FILES if (data / name).exists())

    assert not is_gone()
    service = Service(data)
    service.launch()
    try:
        await service.ready()
        service.kill()
        service.launch()
        await service.ready()

        async def is_erased() -> bool:
            return is_gone()

        await eventually(is_erased)
        assert await service.stop() == 0
    finally:
        service.close()
    assert is_gone()
    assert rows(data / "store.db", "SELECT id, deleted FROM executions") == [("gone", 1)]


async def test_what_is_deleted_over_the_api_leaves_the_files(tmp_path: Path, secret: str) -> None:
    """Some seconds later, while the service runs and others are told of."""
    data = tmp_path / "data"
    service = Service(data)
    service.launch()
    try:
        await service.ready()
        async with service.client() as client:
            receipt = await client.post("/v1/events", json=life(secret))
            assert receipt.status_code in (200, 202)
            await service.caught_up()
            assert secret.encode() in (data / "journal.db-wal").read_bytes() + (data / "journal.db").read_bytes()
            assert (await client.delete("/v1/executions/gone")).is_success

            async def is_erased() -> bool:
                stay = {"type": "execution.started", "executionId": "stays", "timestamp": "2026-11-22T10:30:00Z"}
                await client.post("/v1/events", json=stay)
                return not any(secret.encode() in (data / name).read_bytes() for name in FILES)

            await eventually(is_erased)
            assert (await client.get("/v1/executions/gone")).status_code == 404
        assert await service.stop() == 0
    finally:
        service.close()
