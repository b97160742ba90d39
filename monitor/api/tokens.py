"""`/v1/tokens`: who may come in, and with what rights. A token itself is shown once, when it is made."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast, get_args

from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.principal import Principal
from monitor.access.roles import SCOPES, Role, Scope
from monitor.access.sealing import Sealer
from monitor.access.tokens import Token
from monitor.clock import Clock
from monitor.errors import InsufficientPermissions, InvalidCursor, InvalidToken, TokenNotFound
from monitor.events.codec import format_time, parse_time_us
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.executions.tokens import Tokens, TokenWish, reach
from monitor.web.cursors import cursor_token, open_cursor
from monitor.web.documents import PRINTABLE, Document, read_document
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, Limit, Text, nearest
from monitor.web.replies import Timestamp, json_reply

_LIMIT: Final = Limit(default=20, most=100)
_TEAM: Final = Text("team", "Of this team instead of your own; for administrators of the team `default`.")

_NOT_KEPT: Final = {"cache-control": "no-store"}

_MOST_SECONDS: Final = 10 * 366 * 86_400
"""For ever is said by leaving it out."""

ROLE_NAMES: Final = get_args(Role)


class TokenRequest(Document):
    """The body of `POST /v1/tokens`."""

    refusal = InvalidToken

    name: Annotated[str, Field(min_length=1, max_length=100), PRINTABLE] = Field(
        description="What it is for; shown in lists and in the audit."
    )
    role: Role = Field(description="What it may do at most.")
    scopes: list[Scope] | None = Field(None, min_length=1, description="Narrower than the role; null = all of it.")
    team: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS), PRINTABLE] | None = Field(
        None, description="null = your own."
    )
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = Field(
        None, alias="expiresAt", description="When it ends, ISO 8601."
    )
    expires_in_s: int | None = Field(None, alias="expiresIn", ge=1, le=_MOST_SECONDS, description="Seconds until then.")
    allowed_addresses: list[Annotated[str, Field(json_schema_extra={"format": "cidr"})]] = Field(
        [], alias="allowedAddresses", max_length=100, description="Networks (CIDR) it may come from; none = any."
    )
    rate: int | None = Field(None, alias="rateLimit", ge=1, le=10_000, description="Requests in a second.")

    @field_validator("scopes", mode="before")
    @classmethod
    def _check_scopes(cls, said: Any) -> Any:
        for word in said if isinstance(said, list) else ():
            if isinstance(word, str) and word not in SCOPES:
                raise ValueError(f"does not know '{word[:40]}'{nearest(word, list(SCOPES))}")
        return said

    @field_validator("expires_at")
    @classmethod
    def _check_time(cls, said: str | None) -> str | None:
        if said is not None:
            parse_time_us(said)
        return said

    @field_validator("allowed_addresses")
    @classmethod
    def _check_networks(cls, said: list[str]) -> list[str]:
        try:
            return [str(ipaddress.ip_network(network)) for network in said]
        except ValueError as error:
            raise ValueError(f"takes networks such as 10.0.0.0/8: {error}") from None

    def wish(self, now_us: int) -> TokenWish:
        """What was asked for. Raises InvalidToken for two ends, or one that has passed."""
        if self.expires_at is not None and self.expires_in_s is not None:
            raise InvalidToken("'expiresIn' and 'expiresAt' say the same; send one of them", field="expiresIn")
        expires_us = None if self.expires_at is None else parse_time_us(self.expires_at)
        if expires_us is not None and expires_us <= now_us:
            raise InvalidToken("'expiresAt' has passed", field="expiresAt")
        if self.expires_in_s is not None:
            expires_us = now_us + self.expires_in_s * 1_000_000
        scopes = None if self.scopes is None else frozenset(self.scopes)
        networks = tuple(self.allowed_addresses)
        return TokenWish(self.name, self.role, scopes, self.team, expires_us, networks, self.rate)


class TokenDocument(TypedDict):
    """A token, without itself."""

    id: str
    team: str
    name: str
    role: Role
    scopes: list[Scope] | None
    """null = all of the role's."""
    status: str
    """`active`, `expired` or `revoked`."""
    createdAt: Timestamp
    createdBy: str
    expiresAt: Timestamp | None
    revokedAt: Timestamp | None
    lastUsedAt: Timestamp | None
    """To the minute."""
    allowedAddresses: list[str]
    rateLimit: int | None


class MadeDocument(TokenDocument):
    """A new token."""

    token: str
    """The token itself, shown this once."""


class TokenPagination(TypedDict):
    """Where a page of tokens stands."""

    limit: int
    hasMore: bool
    nextCursor: str | None
    total: int


class TokenPageDocument(TypedDict):
    """A page of tokens."""

    data: list[TokenDocument]
    pagination: TokenPagination


def operations(*, tokens: Tokens, sealer: Sealer, clock: Clock) -> list[Operation]:
    """The operations of this file."""
    face = _Face(tokens, sealer, clock)
    one, foreign = "/v1/tokens/{id}", (InsufficientPermissions,)
    return [
        Operation(
            "POST",
            "/v1/tokens",
            face.create,
            "admin",
            body=TokenRequest,
            answers=(Answer(MadeDocument, 201, headers=("location",)),),
            errors=(InvalidToken, *foreign),
        ),
        Operation(
            "GET",
            "/v1/tokens",
            face.listing,
            "admin",
            query=(_LIMIT, CURSOR, _TEAM),
            answers=(Answer(TokenPageDocument),),
            errors=(InvalidCursor, *foreign),
        ),
        Operation(
            "GET",
            one,
            face.single,
            "admin",
            query=(_TEAM,),
            answers=(Answer(TokenDocument),),
            errors=(TokenNotFound, *foreign),
        ),
        Operation(
            "DELETE",
            one,
            face.revoke,
            "admin",
            query=(_TEAM,),
            answers=(Answer(TokenDocument),),
            errors=(TokenNotFound, *foreign),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    tokens: Tokens
    sealer: Sealer
    clock: Clock

    async def create(self, request: Request, who: Principal) -> Response:
        """A new token, which the answer shows this once. It never has rights that its maker has not."""
        document = await read_document(request, TokenRequest)
        made = await self.tokens.create(who, document.wish(self.clock.now_us()))
        shown: MadeDocument = {**self._document(made.token), "token": made.text}
        return json_reply(shown, 201, _NOT_KEPT | {"location": f"/v1/tokens/{made.token.id}"})

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of tokens in the order of their making, with those that were revoked or have expired."""
        limit, cursor = _LIMIT.take(request.query_params), CURSOR.take(request.query_params)
        team = reach(who, _TEAM.take(request.query_params))
        question = ("tokens", who.team, team)
        after_key = open_cursor(self.sealer, question, cursor)[1] if cursor is not None else 0
        page = await self.tokens.listed(who, limit, after_key, team)
        pagination: TokenPagination = {
            "limit": limit,
            "hasMore": page.has_more,
            "nextCursor": cursor_token(self.sealer, question, (None, page.rows[-1].key)) if page.has_more else None,
            "total": page.total,
        }
        return json_reply({"data": self._documents(page.rows), "pagination": pagination}, headers=_NOT_KEPT)

    async def single(self, request: Request, who: Principal) -> Response:
        """One token, without itself."""
        team = _TEAM.take(request.query_params)
        token = await self.tokens.token(who, request.path_params["id"], team)
        return json_reply(self._document(token), headers=_NOT_KEPT)

    async def revoke(self, request: Request, who: Principal) -> Response:
        """A token that opens nothing any more; streams that it opened end within a second."""
        team = _TEAM.take(request.query_params)
        token = await self.tokens.revoke(who, request.path_params["id"], team)
        return json_reply(self._document(token), headers=_NOT_KEPT)

    def _documents(self, tokens: Sequence[Token]) -> list[TokenDocument]:
        return [self._document(token) for token in tokens]

    def _document(self, token: Token) -> TokenDocument:
        return token_document(token, self.clock.now_us())


def token_document(token: Token, now_us: int) -> TokenDocument:
    """A token as it stands at `now_us`."""
    is_over = token.expires_us is not None and token.expires_us <= now_us
    return {
        "id": token.id,
        "team": token.team,
        "name": token.name,
        "role": token.role,
        "scopes": None if token.scopes is None else cast(list[Scope], list(token.scopes)),
        "status": "revoked" if token.revoked_us is not None else "expired" if is_over else "active",
        "createdAt": format_time(token.created_us),
        "createdBy": token.created_by,
        "expiresAt": _time(token.expires_us),
        "revokedAt": _time(token.revoked_us),
        "lastUsedAt": _time(token.last_used_us),
        "allowedAddresses": list(token.networks),
        "rateLimit": token.rate,
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)
