"""Where lines go: a terminal in colour, a pipe as they are, other programs as JSON; what is beside the point to stderr.

Every line is out before the next one is made, so that whoever reads a pipe sees it at once.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from monitor.cli.frames import Progress, json_line
from monitor.telemetry.logs import printable

Move = Callable[[Progress], None]
"""Moves a bar."""


class _Console(Console):
    """Leaves it to the command how to end when nobody reads its output any more."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """This process's stdout and stderr."""

    def __init__(self) -> None:
        self._console = _Console(highlight=False)
        if reconfigure := getattr(sys.stdout, "reconfigure", None):
            # Strangers' text need not fit the encoding of a pipe.
            reconfigure(errors="backslashreplace")

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        return self._console.is_terminal

    def show(self, line: Text) -> None:
        """A line for people."""
        if self.is_terminal:
            self._console.print(line, soft_wrap=True)
        else:
            print(line.plain, flush=True)  # noqa: T201

    def show_json(self, line: bytes) -> None:
        """A JSON document, for programs."""
        print(json_line(line), flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """A word of our own."""
        typer.echo(printable(f"monitor: {text}"), err=True)

    def note_pause(self, why: str, pause_s: float) -> None:
        """Why a stream is silent for a moment."""
        self.note(f"{why}; trying again in {pause_s:.1f} s")

    @contextmanager
    def bar(self) -> Iterator[Move]:
        """A bar at the bottom of the terminal while the block runs."""
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        bars = Bars(
            *columns,
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            # What goes to a file stays there.
            redirect_stderr=sys.stderr.isatty(),
        )
        with bars:
            task = bars.add_task("", total=None)

            def move(progress: Progress) -> None:
                said = printable(progress.current or progress.message or "")
                bars.update(task, description=said, total=1.0, completed=progress.ratio)

            yield move
