"""The arguments of `monitor token`. What it does stands in `tokens`, which loads inside the commands."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from monitor.cli.options import (
    AsJson,
    RunningUrl,
    Team,
    TokenFile,
    end_with,
)

tokens: Final = typer.Typer(
    help="Make, list and revoke tokens: in the data folder of a stopped service, or by --url through one that runs.",
    no_args_is_help=True,
)


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
