"""The arguments of commands that ask a running service. What each does stands in the module of its name."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.options import (
    DEFAULT_PATIENCE_S,
    DEFAULT_URL,
    AsJson,
    Conditions,
    Patience,
    TokenFile,
    Url,
    Within,
    end_with,
)


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
