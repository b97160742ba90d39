"""`monitor rebuild`: what it came to, for people or as one JSON document."""

import json
from collections.abc import Sequence
from typing import Any

import typer

from monitor.cli.pushing import progress_bar
from monitor.keeping.rebuild import Rebuilt, rebuild
from monitor.pipeline import relax_collector
from monitor.settings import Settings
from monitor.store.comparison import TableComparison
from monitor.telemetry.logs import configure_logs, printable


async def rebuild_store(settings: Settings, *, check: bool, rate: float | None, as_json: bool) -> int:
    """Build the store of the data folder anew; returns 1 when a comparison was asked for and found differences."""
    configure_logs(settings.log)
    relax_collector()
    rebuilt = await rebuild(settings, progress_bar, check=check, rate=rate)
    typer.echo(json.dumps(_document(rebuilt)) if as_json else "\n".join(map(printable, _lines(rebuilt))))
    return 1 if check and rebuilt.differing else 0


def _document(rebuilt: Rebuilt) -> dict[str, Any]:
    before, now = rebuilt.fold_versions
    return {
        "replaced": rebuilt.before is not None,
        "before": None if rebuilt.before is None else str(rebuilt.before),
        "records": rebuilt.records,
        "executions": {"all": rebuilt.executions, "carriedOver": rebuilt.carried},
        "foldVersion": {"before": before, "now": now},
        "differing": rebuilt.differing,
        "tables": [_table(table) for table in rebuilt.tables],
    }


def _table(table: TableComparison) -> dict[str, Any]:
    return {
        "name": table.name,
        "before": {"rows": table.live[0], "checksum": table.live[1]},
        "now": {"rows": table.fresh[0], "checksum": table.fresh[1]},
        "differing": table.differing,
        "differences": [{"of": it.of, "kind": it.kind, "columns": list(it.columns)} for it in table.differences],
    }


def _lines(rebuilt: Rebuilt) -> Sequence[str]:
    lines = [
        f"{rebuilt.records} records folded, {rebuilt.executions} executions, {rebuilt.carried} of them carried over",
        *(f"{table.name}: {table.fresh[0]} rows, {_verdict(table)}" for table in rebuilt.tables),
    ]
    for table in rebuilt.tables:
        lines += [f"{table.name} {it.of}: {it.kind} {', '.join(it.columns)}".rstrip() for it in table.differences]
        if unnamed := table.differing - len(table.differences):
            lines.append(f"{table.name}: ... and {unnamed} more")
    if rebuilt.before is None:
        lines.append("nothing was replaced")
    else:
        lines.append(f"the new store is in place; the one of before is {rebuilt.before}, to be removed by you")
    return lines


def _verdict(table: TableComparison) -> str:
    return f"equal ({table.fresh[1]})" if not table.differing else f"{table.differing} differ"
