"""A service that is told how long to keep executions removes the older ones."""

from pathlib import Path
from typing import Any

from tests.support.folders import opened, rows, told
from tests.support.service import Service, eventually


def life(id_: str, end: str | None) -> list[dict[str, Any]]:
    """An execution of last year, with its end where it has one."""
    about = {"executionId": id_, "workflowId": "wf_1", "timestamp": "2025-11-22T10:30:00Z"}
    started = about | {"type": "execution.started", "data": {"inputData": {"secret": f"of {id_}"}}}
    return [started] if end is None else [started, about | {"type": end}]


async def test_old_executions_go_and_statistics_stay(tmp_path: Path) -> None:
    """Those that ended, with their payloads."""
    async with opened(tmp_path / "data") as parts:
        for number in range(120):
            await told(parts, life(f"old_{number}", "execution.completed"))
        await told(parts, [*life("running", None), *life("failed", "execution.failed")])
    before = rows(tmp_path / "data" / "store.db", "SELECT * FROM statistics WHERE count > 0")
    service = Service(tmp_path / "data", keep="1d,failed=forever")
    service.launch()
    try:
        await service.ready()
        async with service.client() as client:

            async def are_gone() -> bool:
                listed = (await client.get("/v1/executions", params={"limit": 10})).json()
                return {row["id"] for row in listed["data"]} == {"running", "failed"}

            await eventually(are_gone)
            assert (await client.get("/v1/executions/old_7")).status_code == 404
            assert (await client.get("/v1/executions/old_7/data")).status_code == 404
        assert await service.stop() == 0
    finally:
        service.close()
    store = tmp_path / "data" / "store.db"
    assert rows(store, "SELECT * FROM statistics WHERE count > 0") == before
    assert rows(store, "SELECT count(*) FROM payloads") == [(2,)]
