"""The command line: arguments in, exit codes out. What a command does stands in the module of its name.

Exit codes: 0 it is done; 1 it ran, and something is wrong (an event was rejected, a check failed, a loop died); 2 it
could not be done, for a reason that one line on stderr names together with the cure; 130 Ctrl-C; 141 nobody reads its
output any more. `follow` exits by the outcome of what it follows. Modules load inside their commands, so that `monitor
--help` answers at once.
"""

import asyncio
import gc
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from monitor import __version__
from monitor.cli.client_commands import export, follow, ls, send, stats, tail
from monitor.cli.keeping_commands import backup, doctor, migrate, move, rebuild, restore, topics
from monitor.cli.options import AsJson, Port, RunningUrl, TokenFile
from monitor.cli.quarantine_commands import quarantine
from monitor.cli.token_commands import tokens
from monitor.errors import MonitorError, StartupError

app: Final = typer.Typer(
    name="monitor",
    help="Live state of workflow executions, told to everybody at once. Settings are MONITOR_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
imports: Final = typer.Typer(help="Bring in what other programs have recorded.", no_args_is_help=True)
app.add_typer(imports, name="import")
app.add_typer(tokens, name="token")
app.add_typer(quarantine, name="quarantine")


def main() -> None:
    """Run the command line and exit."""
    # Loading makes about 100,000 objects that stay; looking among them for garbage is a twentieth of the start.
    gc.set_threshold(50_000)
    try:
        app(prog_name="monitor")
    except MonitorError as error:
        from monitor.telemetry.logs import printable

        # What the other side said may be part of it.
        typer.echo(printable(f"monitor: {error.message}"), err=True)
        sys.exit(error.exit_code if isinstance(error, StartupError) else 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _everywhere(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Live state of workflow executions, told to everybody at once. Settings are MONITOR_* variables."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Port = None,
    role: Annotated[
        str | None, typer.Option(help="Of many processes: projector, gateway or deliverer; all does everything.")
    ] = None,
) -> None:
    """Run the service, or one part of it, until SIGTERM or SIGINT, then drain."""
    from monitor.cli.serve import run_service
    from monitor.settings import read_settings

    raise typer.Exit(run_service(read_settings(host=host, port=port, role=role)))


def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Run for some seconds, check what came out, exit.")] = False,
    rate: Annotated[float, typer.Option(min=0.1, max=5000, help="Events per second, about.")] = 20.0,
    port: Port = None,
) -> None:
    """Run the service with its demo workflows and show the live frames."""
    from monitor.cli.demo import run_demo
    from monitor.cli.demo_check import run_demo_once
    from monitor.settings import read_settings

    raise typer.Exit(run_demo_once() if once else run_demo(read_settings(port=port, auth="off"), rate))


@imports.command("n8n-log")
def import_n8n_log(
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="n8nEventLog*.log of main, workers, rotations."
        ),
    ],
    *,
    instance: Annotated[str, typer.Option(help="Name of the n8n instance; ids begin with it.")] = "n8n",
    live: Annotated[bool, typer.Option("--live", help="As news, which webhooks hear; otherwise as history.")] = False,
    url: RunningUrl = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Turn event logs of n8n into executions. Doing it again adds only what is new."""
    from monitor.cli.n8n_import import import_n8n_logs
    from monitor.cli.token_source import client_token
    from monitor.settings import read_settings

    token = client_token(token_file) if url else None
    settings = read_settings()
    importing = import_n8n_logs(
        files, instance, backfill=not live, url=url, token=token, settings=settings, as_json=as_json
    )
    raise typer.Exit(asyncio.run(importing))


# In the order that --help shows.
for _command in (
    *(serve, demo, send, follow, tail, stats, ls, export),
    *(rebuild, migrate, topics, move, backup, restore, doctor),
):
    app.command()(_command)
