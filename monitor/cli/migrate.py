"""`monitor migrate`: which steps were taken, or would be, for people or as one JSON document."""

import json
from collections.abc import Sequence
from typing import Any

import typer

from monitor.cli.pushing import progress_bar
from monitor.keeping.migrate import migrate
from monitor.settings import Settings
from monitor.store.migrations.steps import Migrated
from monitor.telemetry.logs import configure_logs, printable


async def migrate_store(settings: Settings, *, check: bool, as_json: bool) -> int:
    """Bring the store to this version's layout; returns 1 when a look was asked for and found steps to take."""
    configure_logs(settings.log)
    done = await migrate(settings, progress_bar, check=check)
    typer.echo(json.dumps(_document(done, check)) if as_json else "\n".join(map(printable, _lines(done, check))))
    return 1 if check and done.steps else 0


def _document(done: Migrated, check: bool) -> dict[str, Any]:
    return {
        "layout": {"before": done.before, "now": done.before if check else done.now, "ofThisVersion": done.now},
        "migrated": bool(done.steps) and not check,
        "steps": [{"layout": step.layout, "says": step.says} for step in done.steps],
        "copy": None if done.copy is None else str(done.copy),
        "rebuild": done.rebuild,
    }


def _lines(done: Migrated, check: bool) -> Sequence[str]:
    if not done.steps:
        return [f"the store is of layout {done.now}, as this version has it: there is nothing to do"]
    lines = [f"{step.layout}: {step.says}" for step in done.steps]
    if check:
        lines.append(f"the store is of layout {done.before}; `monitor migrate` brings it to {done.now}")
    else:
        lines.append(f"the store was of layout {done.before} and is of {done.now}")
    if done.copy is not None:
        lines.append(f"the one of before is {done.copy}, to be removed by you")
    if done.rebuild:
        lines.append("executions are folded anew by `monitor rebuild`, before the service starts")
    return lines
