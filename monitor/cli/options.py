"""What commands have in common: the options that several take, and how a command ends."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
Url = Annotated[str, typer.Option(help="The service.")]
RunningUrl = Annotated[str | None, typer.Option("--url", help="A running service; without it, the data folder itself.")]
Team = Annotated[
    str | None, typer.Option(help="Of this team; without it, `default` in the folder, else the token's own.")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File that holds the token to show; without it, MONITOR_TOKEN does.")
]
Conditions = Annotated[
    list[str] | None, typer.Option("--filter", help="'duration>=5', 'mode!=manual', 'tag=a,b': a field of lists.")
]
Within = Annotated[str | None, typer.Option("--within", help="Begun within 1d, 7d or 30d.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

Patience = Annotated[float, typer.Option(min=0, help="Seconds without an answer after which to give up.")]

DEFAULT_URL: Final = "http://127.0.0.1:8080"

DEFAULT_PATIENCE_S: Final = 300.0
"""A deployment, or restarts with growing pauses, take minutes; after five somebody should look."""

READER_GONE: Final = 141
"""128 + SIGPIPE, as a shell reports other programs whose pipe was closed."""


def end_with(watching: Coroutine[Any, Any, int]) -> NoReturn:
    """Exit as `watching` says, or quietly when whoever reads its output has gone."""
    try:
        code = asyncio.run(watching)
    except BrokenPipeError:
        # Or the interpreter, on its way out, would complain about what it cannot write any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = READER_GONE
    raise typer.Exit(code)
