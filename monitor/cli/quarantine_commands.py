"""The arguments of `monitor quarantine`. What it does stands in `quarantine`, which loads inside the commands."""

from typing import Annotated, Final

import typer

from monitor.cli.options import DEFAULT_URL, AsJson, TokenFile, Url, end_with

quarantine: Final = typer.Typer(
    help="See records that could not be applied, and decide about them. Asks a running service.", no_args_is_help=True
)

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="As `monitor quarantine ls` shows them: qr_...")]


@quarantine.command("ls")
def list_records(
    *,
    state: Annotated[str | None, typer.Option(help="undecided, accepted or replayed.")] = None,
    reason: Annotated[str | None, typer.Option(help="With this reason: malformed_json, missing_field, ...")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Of this partition of the journal.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on, RFC 3339.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List records, the newest first."""
    from monitor.cli.quarantine import ls
    from monitor.cli.token_source import client_token

    asked = {"state": state, "reason": reason, "partition": partition, "since": since, "until": until}
    query = [(name, str(said)) for name, said in asked.items() if said is not None]
    end_with(ls(url, client_token(token_file), query, limit, as_json=as_json))


@quarantine.command("show")
def show_record(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `monitor quarantine ls` shows it: qr_...")],
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="As it came, not masked; the audit tells of it.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one record with its bytes."""
    from monitor.cli.quarantine import show
    from monitor.cli.token_source import client_token

    end_with(show(url, client_token(token_file), id_, reveal=reveal, as_json=as_json))


@quarantine.command("accept")
def accept_records(
    ids: Ids,
    *,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Leave records out for good."""
    from monitor.cli.quarantine import decide
    from monitor.cli.token_source import client_token

    end_with(decide(url, client_token(token_file), ids, "accept", as_json=as_json))


@quarantine.command("replay")
def replay_records(
    ids: Ids,
    *,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Take records in once more, when what was wrong with reading them is mended."""
    from monitor.cli.quarantine import decide
    from monitor.cli.token_source import client_token

    end_with(decide(url, client_token(token_file), ids, "replay", as_json=as_json))


@quarantine.command("resume")
def resume_partitions(
    partitions: Annotated[
        list[int] | None, typer.Argument(metavar="[PARTITION]...", help="Without any: all that stand still.")
    ] = None,
    *,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Let partitions go on that halted after a burst, and accept what of them holds no event up to now."""
    from monitor.cli.quarantine import resume
    from monitor.cli.token_source import client_token

    end_with(resume(url, client_token(token_file), partitions or [], as_json=as_json))
