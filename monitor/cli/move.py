"""`monitor move`: what was moved and what comes next, for people or as one JSON document."""

import json
from collections.abc import Sequence
from typing import Any

import typer

from monitor.cli.pushing import progress_bar
from monitor.keeping.move import Moved, move
from monitor.settings import Settings
from monitor.telemetry.logs import configure_logs, printable


async def move_folder(settings: Settings, *, as_json: bool) -> int:
    """Move the data folder to the journal and the store of the settings; always returns 0, or raises."""
    configure_logs(settings.log)
    moved = await move(settings, progress_bar)
    typer.echo(json.dumps(_document(moved)) if as_json else "\n".join(map(printable, _lines(moved, settings))))
    return 0


def _document(moved: Moved) -> dict[str, Any]:
    return {"moved": moved.is_news, "records": moved.records, "owed": moved.owed, "rows": dict(moved.rows)}


def _lines(moved: Moved, settings: Settings) -> Sequence[str]:
    key = "MONITOR_KEY as it is" if settings.key_bytes else f'MONITOR_KEY="$(base64 <{settings.data / "key"})"'
    rows = moved.rows
    if moved.is_news:
        done = (
            f"moved {moved.records} records, {rows['executions']} executions, {rows['tokens']} tokens and "
            f"{rows['endpoints']} webhooks, to which {moved.owed} deliveries are owed"
        )
    else:
        done = "this folder was moved to there before, whole: nothing was done"
    return [
        done,
        f"start the cluster with these settings and {key}: monitor serve --role projector, gateway and deliverer",
        f"{settings.data} is as it was; start no service on it any more, or it sends what is owed as well",
    ]
