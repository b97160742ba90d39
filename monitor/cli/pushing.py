"""Pushes items through a door, batch by batch, and keeps the tally. Shared by `send` and `import`."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monitor.cli.door import Push, Verdict
from monitor.cli.event_file import Item, batched
from monitor.telemetry.logs import printable

NAMED_REFUSALS: Final = 1000
"""Refused items that are named one by one; a file of another kind has millions of them, all for the same reason."""

Advance = Callable[[int], None]
"""Moves a progress bar on by so many units."""


@dataclass(slots=True)
class Tally:
    """What became of the items so far; `refusals` names the first ones that were rejected: (place, reason)."""

    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)

    def count(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> None:
        """Add a batch."""
        for item, verdict in zip(items, verdicts, strict=True):
            setattr(self, verdict.word, getattr(self, verdict.word) + 1)
            if verdict.word == "rejected":
                self.name(item.place, verdict.reason)

    def name(self, place: str, reason: str) -> None:
        """Remember why the item at `place` was rejected."""
        if len(self.refusals) < NAMED_REFUSALS:
            self.refusals.append((place, reason))

    def document(self) -> dict[str, Any]:
        """The tally for `--json`."""
        refusals = [{"place": place, "reason": reason} for place, reason in self.refusals]
        return {
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "refusals": refusals,
        }


async def push_all(push: Push, items: Iterable[Item], advance: Advance) -> Tally:
    """Push `items` in order; `advance` hears how many bytes each batch had. Raises Unavailable, and InvalidRequest."""
    tally = Tally()
    batches = batched(items)
    # Reading may wait for whoever writes the pipe; the connection lives on meanwhile.
    while batch := await asyncio.to_thread(next, batches, None):
        tally.count(batch, await push([item.raw for item in batch]))
        advance(sum(len(item.raw) + 1 for item in batch))
    return tally


@contextmanager
def progress_bar(doing: str, total: int | None, unit: str) -> Iterator[Advance]:
    """A bar on stderr while the block runs, when that is a terminal. A total of None means that nobody knows."""
    console = Console(stderr=True)
    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda units: progress.advance(task, units)


def print_tally(tally: Tally, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """The tally on stdout, refusals on stderr; with `as_json` one JSON document on stdout, `more` beside the counts."""
    if as_json:
        typer.echo(json.dumps(tally.document() | (more or {})))
        return
    for place, reason in tally.refusals:
        typer.echo(printable(f"{place}: {reason}"), err=True)
    if unnamed := tally.rejected - len(tally.refusals):
        typer.echo(f"... and {unnamed} more", err=True)
    typer.echo(f"{tally.accepted} accepted, {tally.duplicate} duplicate, {tally.rejected} rejected")
