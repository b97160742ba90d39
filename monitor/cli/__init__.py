"""The command line: arguments in, exit codes out. What a command does stands in the module of its name.

Exit codes: 0 it is done; 1 it ran, and something is wrong (an event was rejected, a check failed, a loop died); 2 it
could not be done, for a reason that one line on stderr names together with the cure; 130 Ctrl-C; 141 nobody reads its
output any more. `follow` exits by the outcome of what it follows. Modules load inside their commands, so that `monitor
--help` answers at once.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from monitor import __version__
from monitor.cli.options import (
    DEFAULT_PATIENCE_S,
    DEFAULT_URL,
    AsJson,
    Conditions,
    Patience,
    Port,
    RunningUrl,
    Team,
    TokenFile,
    Url,
    Within,
    end_with,
)
from monitor.cli.quarantine_commands import quarantine
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
tokens: Final = typer.Typer(
    help="Make, list and revoke tokens: in the data folder of a stopped service, or by --url through one that runs.",
    no_args_is_help=True,
)
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


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Port = None,
) -> None:
    """Run the service until SIGTERM or SIGINT, then drain."""
    from monitor.cli.serve import run_service
    from monitor.settings import read_settings

    raise typer.Exit(run_service(read_settings(host=host, port=port)))


@app.command()
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


@app.command()
def send(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="A JSON array, NDJSON or one event; - is stdin.")],
    *,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Send the events of a file or a pipe to a running service."""
    from monitor.cli.send import send_file
    from monitor.cli.token_source import client_token

    raise typer.Exit(asyncio.run(send_file(file, url, client_token(token_file), as_json=as_json)))


@app.command()
def follow(
    execution_id: Annotated[str, typer.Argument(metavar="ID", help="The execution.")],
    *,
    url: Url = DEFAULT_URL,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for an execution, and a service, not there yet.")] = False,
    no_logs: Annotated[bool, typer.Option("--no-logs", help="Leave out its log lines.")] = False,
    patience: Patience = DEFAULT_PATIENCE_S,
    token_file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each frame as one line of JSON.")] = False,
) -> None:
    """Follow one execution with its logs to its end.

    Exits with 0 success, 1 failed, 3 cancelled, 4 timeout, 5 crashed; 2 it could not be followed; 130 Ctrl-C.
    """
    from monitor.cli.follow import follow
    from monitor.cli.token_source import client_token

    token = client_token(token_file)
    end_with(follow(execution_id, url, token, as_json=as_json, with_logs=not no_logs, waits=wait, patience_s=patience))


@app.command()
def tail(
    *,
    channel: Annotated[list[str] | None, typer.Option(help="executions, workflow:ID or execution:ID.")] = None,
    workflow: Annotated[list[str] | None, typer.Option(metavar="ID", help="Of this workflow alone.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="In this status after the event: failed,timeout.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="Event types: 'execution.*,node.failed', or '*'.")] = None,
    filter_: Annotated[
        list[str] | None, typer.Option("--filter", help="'duration>=5', 'mode!=manual', 'tag=a,b': a field of lists.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="now, earliest, an RFC 3339 time, or the position of a frame.")
    ] = None,
    recent: Annotated[
        int | None, typer.Option(min=1, max=2000, help="Begin with so many of the latest executions.")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Log lines as well.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    url: Url = DEFAULT_URL,
    patience: Patience = DEFAULT_PATIENCE_S,
    token_file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each frame as one line of JSON.")] = False,
) -> None:
    """Show events as they happen, until Ctrl-C. Channels and workflows add up; everything else narrows.

    Exits with 130 after Ctrl-C; 0 after --limit events; 2 it cannot be asked for, or nobody answered for too long.
    """
    from monitor.cli.tail import Wanted, tail
    from monitor.cli.token_source import client_token

    wanted = Wanted(
        channels=channel or (),
        workflows=workflow or (),
        statuses=status or (),
        events=event or (),
        conditions=filter_ or (),
        since=since,
        recent=recent,
        logs=logs,
    )
    token = client_token(token_file)
    end_with(tail(url, wanted, token, as_json=as_json, limit=limit, patience_s=patience))


@app.command()
def stats(
    *,
    period: Annotated[str | None, typer.Option(help="1h, 24h, 7d or 30d; 24h where nothing is said.")] = None,
    granularity: Annotated[str | None, typer.Option(help="minute (of the last day), hour, day or week.")] = None,
    workflow: Annotated[str | None, typer.Option(metavar="ID", help="Of this workflow alone.")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how executions went: how many ended, how, how long they took, and what went wrong."""
    from monitor.cli.stats import show_statistics
    from monitor.cli.token_source import client_token

    asked = {"period": period, "granularity": granularity, "workflowId": workflow}
    query = [(name, said) for name, said in asked.items() if said is not None]
    end_with(show_statistics(url, query, client_token(token_file), as_json=as_json))


@app.command()
def ls(
    *,
    workflow: Annotated[list[str] | None, typer.Option(metavar="ID", help="Of this workflow alone.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="In this status: failed,timeout.")] = None,
    filter_: Conditions = None,
    within: Within = None,
    text: Annotated[str | None, typer.Option(help="With this in an error, or in the name of a node that ran.")] = None,
    sort: Annotated[str | None, typer.Option(help="startedAt, -startedAt (the newest first), duration, ...")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="However many there are.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List executions, the newest first."""
    from monitor.cli.listing import Wanted, ls
    from monitor.cli.token_source import client_token

    most = None if every else limit
    wanted = Wanted(workflow or (), status or (), filter_ or (), within, text, sort, most)
    end_with(ls(url, wanted, client_token(token_file), as_json=as_json))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to; - is stdout.")],
    *,
    form: Annotated[str, typer.Option("--format", help="csv, json or ndjson.")] = "csv",
    columns: Annotated[str | None, typer.Option(help="Of a csv: which, in this order: id,status,duration.")] = None,
    data: Annotated[bool, typer.Option("--data", help="With inputs and outputs; not in a csv.")] = False,
    workflow: Annotated[list[str] | None, typer.Option(metavar="ID", help="Of this workflow alone.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="In this status: failed,timeout.")] = None,
    filter_: Conditions = None,
    within: Within = None,
    sort: Annotated[str | None, typer.Option(help="startedAt, or -startedAt (the newest first).")] = None,
    job: Annotated[
        bool, typer.Option("--job", help="Have the service write it first; the same command again goes on.")
    ] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Write executions to a file, however many there are. It is there complete, or not at all."""
    from monitor.cli.export import STDOUT, export
    from monitor.cli.export_job import export_by_job
    from monitor.cli.listing import Wanted
    from monitor.cli.token_source import client_token

    wanted = Wanted(workflow or (), status or (), filter_ or (), within, None, sort, None)
    token = client_token(token_file)
    way = export_by_job if job and file != STDOUT else export
    end_with(way(url, file, wanted, token, form=form, columns=columns, with_data=data))


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


@tokens.command("create")
def create_token(
    *,
    role: Annotated[str, typer.Option(help="viewer, operator, builder or admin: what it may do at most.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "command line",
    scope: Annotated[list[str] | None, typer.Option(help="Narrower than the role; may be repeated.")] = None,
    team: Team = None,
    expires_in: Annotated[str | None, typer.Option(help="When it ends: seconds, or 15m, 12h, 30d.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Network (CIDR) it may come from; may be repeated.")] = None,
    url: RunningUrl = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once."""
    from monitor.cli.tokens import create
    from monitor.settings import duration_s

    wish = {
        "name": name,
        "role": role,
        "scopes": scope,
        "team": team,
        "expiresIn": None if expires_in is None else duration_s(expires_in),
        "allowedAddresses": allow,
    }
    _at_desk(url, token_file, lambda desk: create(desk, wish, as_json=as_json))


@tokens.command("list")
def list_tokens(
    *, team: Team = None, url: RunningUrl = None, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Show the tokens of a team, revoked and expired ones too."""
    from monitor.cli.tokens import show_all

    _at_desk(url, token_file, lambda desk: show_all(desk, team, as_json=as_json))


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `monitor token list` shows it: tok_...")],
    *,
    team: Team = None,
    url: RunningUrl = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """End a token; requests and streams with it end within a second."""
    from monitor.cli.tokens import revoke

    _at_desk(url, token_file, lambda desk: revoke(desk, token_id, team, as_json=as_json))


def _at_desk(url: str | None, token_file: Path | None, ask: Callable[[Any], Coroutine[Any, Any, int]]) -> NoReturn:
    from monitor.cli.token_source import client_token
    from monitor.cli.tokens import open_desk
    from monitor.settings import read_settings

    async def asked() -> int:
        async with open_desk(url, client_token(token_file) if url else None, read_settings()) as desk:
            return await ask(desk)

    end_with(asked())


@app.command()
def rebuild(
    *,
    check: Annotated[bool, typer.Option("--check", help="Compare only; the store stays as it is.")] = False,
    rate: Annotated[float | None, typer.Option(min=1, help="Records a second at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build the store of a stopped service anew from its journal: settings, webhooks and what is owed to them stay.

    The store of before stays beside it as store.db.before-rebuild. With --check exits 1 when the two differ.
    """
    from monitor.cli.rebuild import rebuild_store
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(rebuild_store(read_settings(), check=check, rate=rate, as_json=as_json)))


@app.command()
def topics(
    *,
    check: Annotated[bool, typer.Option("--check", help="Make nothing; fail where one is missing.")] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Of a topic that is made.")] = 12,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Of a topic that is made; without it three, or one for each broker.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the Kafka topics of MONITOR_JOURNAL and MONITOR_COMMANDS where they are missing, and show them."""
    from monitor.cli.topics import show_topics
    from monitor.settings import read_settings

    made = show_topics(read_settings(), not check, partitions, replication, as_json=as_json)
    asyncio.run(made)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder, or one to be made.")],
    *,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="The key as well, with which the copy opens every secret.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy journal and store as they stand at one moment, beside a running service."""
    from monitor.cli.backup import back_up_folder
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(back_up_folder(read_settings(), folder, with_key=with_key, as_json=as_json)))


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `monitor backup` made.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Put a backup into an empty data folder; then start the service on it."""
    from monitor.cli.backup import restore_folder
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(restore_folder(read_settings(), folder, as_json=as_json)))


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Look over installation, settings, data folder, journal and store; name a cure for what is wrong."""
    from monitor.cli.doctor import examine

    raise typer.Exit(asyncio.run(examine(as_json=as_json)))
