"""`monitor backup` and `monitor restore`: what was copied, for people or as one JSON document."""

import json
from pathlib import Path
from typing import Final

import typer

from monitor.cli.pushing import progress_bar
from monitor.keeping.backup import Backup, back_up, restore
from monitor.settings import Settings
from monitor.telemetry.logs import configure_logs, printable

_NO_KEY: Final = "the key is not in it: keep {key} as well, or what MONITOR_KEY holds; without it the secrets are lost"
_BRING_KEY: Final = "the key is not in it: put it at {key}, or set MONITOR_KEY, before you start the service"


async def back_up_folder(settings: Settings, folder: Path, *, with_key: bool, as_json: bool) -> int:
    """Back up the data folder; always returns 0, or raises."""
    configure_logs(settings.log)
    made = await back_up(settings, folder, progress_bar, with_key=with_key)
    _print(made, f"backed up to {folder}", _NO_KEY.format(key=settings.data / "key"), as_json=as_json)
    return 0


async def restore_folder(settings: Settings, folder: Path, *, as_json: bool) -> int:
    """Restore into the data folder; always returns 0, or raises."""
    configure_logs(settings.log)
    key = settings.data / "key"
    made = await restore(settings, folder, progress_bar)
    advice = "" if key.exists() or settings.key_bytes else _BRING_KEY.format(key=key)
    _print(made, f"restored to {settings.data}", advice, as_json=as_json)
    return 0


def _print(made: Backup, done: str, advice: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"folder": str(made.folder), "key": made.has_key, **made.document}))
        return
    size_bytes = sum(file["bytes"] for file in made.document["files"].values())
    typer.echo(
        printable(f"{done}: {', '.join(made.document['files'])}, {size_bytes} bytes, of {made.document['madeAt']}")
    )
    if advice and not made.has_key:
        typer.echo(printable(advice), err=True)
