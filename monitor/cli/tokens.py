"""`monitor token`: makes, lists and revokes tokens, in the data folder of a stopped service or through a running one.

The folder obeys whoever may write to it, which is how a lost token is replaced; a service asks for an administrator's.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

import msgspec
import typer
from pydantic import ValidationError

from monitor.access.principal import LOCAL
from monitor.api.tokens import TokenRequest, token_document
from monitor.app import open_tokens
from monitor.cli.service import Away, Service, open_service
from monitor.errors import ClientError, DataFolderBusy, InvalidToken, StartupError, Unavailable
from monitor.executions.tokens import Tokens
from monitor.settings import Settings
from monitor.telemetry.logs import printable

Row = dict[str, Any]

_PAGE = 100


class Desk(Protocol):
    """Either way in."""

    async def create(self, wish: Row) -> Row:
        """The new token with its text. Raises StartupError and ClientError."""
        ...

    async def every(self, team: str | None) -> Sequence[Row]:
        """All tokens of a team; of one's own for None."""
        ...

    async def revoke(self, token_id: str, team: str | None) -> Row:
        """The token as it is from now on."""
        ...


async def create(desk: Desk, wish: Row, *, as_json: bool) -> int:
    """Print a new token, alone on stdout, and on stderr what it is."""
    made = await desk.create({name: said for name, said in wish.items() if said is not None})
    if as_json:
        typer.echo(msgspec.json.encode(made))
        return 0
    rights = made["role"] if made["scopes"] is None else ", ".join(made["scopes"])
    until = f" until {made['expiresAt']}" if made["expiresAt"] else ""
    typer.echo(made["token"])
    typer.echo(
        printable(f"{made['id']} '{made['name']}' of team {made['team']}: {rights}{until}. Shown once."), err=True
    )
    return 0


async def show_all(desk: Desk, team: str | None, *, as_json: bool) -> int:
    """Print the tokens of a team."""
    rows = await desk.every(team)
    if as_json:
        typer.echo(msgspec.json.encode({"data": rows}))
        return 0
    lines = [("id", "status", "expires", "last used", "rights", "name"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo(printable("  ".join(padded).rstrip()))
    return 0


def _cells(row: Row) -> tuple[str, ...]:
    rights = row["role"] if row["scopes"] is None else f"{row['role']}: {', '.join(row['scopes'])}"
    return (row["id"], row["status"], row["expiresAt"] or "-", row["lastUsedAt"] or "-", rights, row["name"])


async def revoke(desk: Desk, token_id: str, team: str | None, *, as_json: bool) -> int:
    """End a token."""
    row = await desk.revoke(token_id, team)
    typer.echo(msgspec.json.encode(row) if as_json else printable(f"{row['id']} '{row['name']}' is revoked"))
    return 0


@asynccontextmanager
async def open_desk(url: str | None, token: str | None, settings: Settings) -> AsyncIterator[Desk]:
    """The desk of the service at `url`, else of the data folder. Raises StartupError, ClientError as StartupError."""
    try:
        if url is not None:
            async with open_service(url, token) as service:
                yield _RemoteDesk(service)
        else:
            async with open_tokens(settings) as tokens:
                yield _FolderDesk(tokens)
    except DataFolderBusy as busy:
        here = f"http://{settings.host}:{settings.port}"
        raise DataFolderBusy(f"{busy.message}; or ask it, with an administrator's token: --url {here}") from None
    except Away as away:
        raise Unavailable(f"{url} does not answer: {away.reason}") from None
    except ClientError as error:
        raise StartupError(error.message) from None


class _FolderDesk:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens, self._clock = tokens, tokens.clock

    async def create(self, wish: Row) -> Row:
        try:
            asked = TokenRequest.model_validate_json(msgspec.json.encode(wish))
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"]))
            raise InvalidToken(f"{field}: {fault['msg'].removeprefix('Value error, ')}") from None
        made = await self._tokens.create(LOCAL, asked.wish(self._clock.now_us()))
        return {**token_document(made.token, self._clock.now_us()), "token": made.text}

    async def every(self, team: str | None) -> Sequence[Row]:
        rows: list[Row] = []
        after_key = 0
        while True:
            page = await self._tokens.listed(LOCAL, _PAGE, after_key, team)
            rows += (cast(Row, token_document(token, self._clock.now_us())) for token in page.rows)
            if not page.has_more:
                return rows
            after_key = page.rows[-1].key

    async def revoke(self, token_id: str, team: str | None) -> Row:
        return cast(Row, token_document(await self._tokens.revoke(LOCAL, token_id, team), self._clock.now_us()))


class _RemoteDesk:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, wish: Row) -> Row:
        return await self._service.tell("POST", "/v1/tokens", wish)

    async def every(self, team: str | None) -> Sequence[Row]:
        rows: list[Row] = []
        query = [("limit", str(_PAGE)), *([] if team is None else [("team", team)])]
        cursor: list[tuple[str, str]] = []
        while True:
            document = (await self._service.read("/v1/tokens", [*query, *cursor])).document
            rows += document["data"]
            if not document["pagination"]["hasMore"]:
                return rows
            cursor = [("cursor", document["pagination"]["nextCursor"])]

    async def revoke(self, token_id: str, team: str | None) -> Row:
        query = "" if team is None else f"?{urlencode({'team': team})}"
        return await self._service.tell("DELETE", f"/v1/tokens/{quote(token_id, safe='')}{query}")
