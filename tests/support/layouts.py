"""Leaves a data folder of this version's layout behind for later ones: `python -m tests.support.layouts FOLDER`.

A real service takes events, deletes, quarantines, owes and delivers; its files are dumped as SQL when it has ended, and
what its API told beside them. Whoever raises SCHEMA_VERSION runs it before, at the last commit of the layout that was,
and commits what it leaves.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_mock_engine

from monitor.clock import SystemClock
from monitor.events.model import Entry
from monitor.journal import open_sqlite_journal
from monitor.projections.fold import FOLD_VERSION
from monitor.store.postgres_tables import make_tables
from tests.support.made_up import VARIED, histories
from tests.support.receiver import LOOPBACK, answering, receiving
from tests.support.service import Service, eventually

EXECUTIONS = 7

MIX = replace(VARIED, event_bytes=150)


async def leave_behind(folder: Path) -> None:
    """Write `layout_N.sql`, `layout_N.journal.sql`, `layout_N.json` and `postgres_N.sql` into the folder."""
    with tempfile.TemporaryDirectory() as scratch:
        service = Service(Path(scratch) / "data", webhook_allow=",".join(LOOPBACK))
        try:
            await spoil(service)
            service.launch()
            await service.ready()
            async with service.client() as client, receiving() as receiver:
                receiver.behave(answering(200), answering(500))
                told = await live(service, client, receiver.url)
            await service.stop()
        finally:
            service.close()
        layout = dump(service.data / "store.db", lambda layout: folder / f"layout_{layout}.sql")
        dump(service.data / "journal.db", lambda _: folder / f"layout_{layout}.journal.sql")
        told["key"] = (service.data / "key").read_bytes().hex()
        (folder / f"postgres_{layout}.sql").write_text(postgres_tables(layout))
        (folder / f"layout_{layout}.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


async def spoil(service: Service) -> None:
    """Have the journal begin with what is no event, and what is none that can be read."""
    service.data.mkdir()
    journal = await open_sqlite_journal(service.data / "journal.db", clock=SystemClock())
    await journal.append([Entry(b"key", b"no event"), Entry(b"", b'{"type": "execution.started"}')])
    await journal.close()


async def live(service: Service, client: httpx.AsyncClient, hook: str) -> dict[str, Any]:
    """A short life of a service; returns what it told of it in the end."""
    events = [event for history in histories(11, EXECUTIONS, mix=MIX) for event in history]
    half = len(events) // 2
    await publish(client, events[:half])
    await registered(client, hook, "execution.*")
    await client.delete(f"/v1/webhooks/{await registered(client, f'{hook}/gone', '*')}")
    await publish(client, events[half:])
    await client.post("/v1/tokens", json={"name": "kept", "role": "operator", "team": "default"})
    ids = list(dict.fromkeys(event["executionId"] for event in events))
    await client.delete(f"/v1/executions/{ids[0]}")
    await service.caught_up()

    async def failing() -> bool:
        return any("pending" in str(it) or "500" in str(it) for it in await deliveries(client))

    await eventually(failing)
    return {
        "executions": (await client.get("/v1/executions", params={"limit": "100"})).json(),
        "webhooks": (await client.get("/v1/webhooks")).json(),
        "deliveries": await deliveries(client),
    }


async def registered(client: httpx.AsyncClient, url: str, wanted: str) -> str:
    """A webhook; returns its id."""
    answer = await client.post("/v1/webhooks", json={"url": url, "events": [wanted]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def deliveries(client: httpx.AsyncClient) -> list[Any]:
    """Of every webhook."""
    hooks = (await client.get("/v1/webhooks")).json()
    [hooks] = [it for it in hooks.values() if isinstance(it, list)] if isinstance(hooks, dict) else [hooks]
    return [(await client.get(f"/v1/webhooks/{hook['id']}/deliveries")).json() for hook in hooks]


async def publish(client: httpx.AsyncClient, events: list[dict[str, Any]]) -> None:
    """Have events taken."""
    answer = await client.post("/v1/events", json=events)
    assert answer.status_code == 200, answer.text


def dump(path: Path, named: Callable[[int], Path]) -> int:
    """Write the file as SQL; returns the store's layout, 0 for a journal."""
    with closing(sqlite3.connect(path)) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(meta)")]
        layout = connection.execute("SELECT schema_version FROM meta").fetchone()[0] if len(columns) > 2 else 0
        named(layout).write_text("\n".join(connection.iterdump()) + "\n")
    return int(layout)


def postgres_tables(layout: int) -> str:
    """How PostgreSQL is told to make the tables."""
    statements: list[str] = []
    engine: Any = create_mock_engine(
        "postgresql+psycopg://", lambda sql, *_, **__: statements.append(str(sql.compile(dialect=engine.dialect)))
    )
    make_tables(engine)
    stamp = "INSERT INTO meta (id, schema_version, fold_version, endpoints_version, tokens_version)"
    return ";\n".join([*map(str.strip, statements), f"{stamp} VALUES (1, {layout}, {FOLD_VERSION}, 0, 0);\n"])


if __name__ == "__main__":
    asyncio.run(leave_behind(Path(sys.argv[1])))
