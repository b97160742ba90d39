"""Tokens at the desk: make, list, show and revoke them. Administrators do, each for his own team.

An administrator of the team `default`, which runs the service, may name another team. Nobody makes a token that may do
more than he does. What was answered as done survives a loss of power, and stands in the audit.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from monitor.access.principal import LOCAL, Principal
from monitor.access.roles import Role, Scope
from monitor.access.tokens import ID_BYTES, SECRET_BYTES, Token, digest_of, excess, granted, token_id, token_text
from monitor.clock import Clock
from monitor.errors import InsufficientPermissions, InvalidToken, TokenNotFound
from monitor.events.model import DEFAULT_TEAM
from monitor.executions.audit import Audit
from monitor.executions.credentials import Credentials
from monitor.store.base import Reader, Store, Writer

MOST_TOKENS: Final = 10_000
"""Of one team, that are neither revoked nor expired or were so lately; each process holds those that are used."""


class TokenWish(NamedTuple):
    """What a new token is to be."""

    name: str
    role: Role
    # None = all of the role's that its maker has.
    scopes: frozenset[Scope] | None = None
    # None = its maker's.
    team: str | None = None
    expires_us: int | None = None
    networks: tuple[str, ...] = ()
    rate: int | None = None


class Made(NamedTuple):
    """A new token. Its text is shown this once."""

    token: Token
    text: str

    def __repr__(self) -> str:
        return f"Made({self.token!r})"


class TokenPage(NamedTuple):
    """Tokens in the order of their making."""

    rows: Sequence[Token]
    has_more: bool
    total: int


class Tokens:
    """The use cases of tokens. Every method raises StoreUnavailable."""

    def __init__(
        self,
        *,
        store: Store,
        audit: Audit,
        credentials: Credentials,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`random_bytes` gives as many as it is asked for, fit for secrets."""
        self._store, self._audit, self._credentials = store, audit, credentials
        # By which their times are told.
        self.clock, self._random_bytes = clock, random_bytes

    async def create(self, who: Principal, wish: TokenWish) -> Made:
        """A new token of the team, good from now on.

        Raises InsufficientPermissions for one that may do more than `who`, InvalidToken.
        """
        team = reach(who, wish.team)
        if above := excess(who, wish.role, wish.scopes):
            raise InsufficientPermissions(
                f"nobody gives away more than he has: {', '.join(above)}", requiredPermission=above[0]
            )
        made = self._made(who, wish, team)
        if made.token.scopes == ():
            raise InvalidToken(f"the role '{wish.role}' has none of these scopes", field="scopes")

        def work(writer: Writer) -> Token:
            if writer.token_count(team) >= MOST_TOKENS:
                raise InvalidToken(f"a team has {MOST_TOKENS} tokens at most; let several clients share one")
            self._note(writer, who, "token.create", made.token)
            return writer.add_token(made.token)

        token = await self._store.write(work, durable=True)
        await self._credentials.refresh()
        return made._replace(token=token)

    async def first(self) -> Made | None:
        """A token for an administrator of the whole service, if there never was any; None ever after."""
        made = self._made(LOCAL, TokenWish("admin", "admin"), DEFAULT_TEAM)

        def work(writer: Writer) -> Token | None:
            if writer.tokens_version():
                return None
            self._note(writer, LOCAL, "token.create", made.token)
            return writer.add_token(made.token)

        if await self._store.read(lambda reader: reader.tokens_version()):
            return None
        token = await self._store.write(work, durable=True)
        return None if token is None else made._replace(token=token)

    async def listed(self, who: Principal, limit: int, after_key: int, team: str | None = None) -> TokenPage:
        """The first `limit` of the team's tokens behind the one with `after_key`, revoked and expired ones too."""
        of = reach(who, team)

        def work(reader: Reader) -> TokenPage:
            found = reader.tokens(of, after_key=after_key, limit=limit + 1)
            return TokenPage(found[:limit], len(found) > limit, reader.token_count(of))

        return await self._store.read(work)

    async def token(self, who: Principal, token_id: str, team: str | None = None) -> Token:
        """One token. Raises TokenNotFound."""
        of = reach(who, team)
        return await self._store.read(lambda reader: _find(reader, of, token_id))

    async def revoke(self, who: Principal, token_id: str, team: str | None = None) -> Token:
        """End a token: in this process once this returns, in every other within a second; again, it changes nothing.

        Raises TokenNotFound.
        """
        of = reach(who, team)

        def work(writer: Writer) -> Token:
            token = _find(writer, of, token_id)
            if token.revoked_us is not None:
                return token
            revoked = replace(token, revoked_us=self.clock.now_us())
            writer.update_token(revoked)
            self._note(writer, who, "token.revoke", revoked)
            return revoked

        token = await self._store.write(work, durable=True)
        await self._credentials.refresh()
        return token

    def _made(self, who: Principal, wish: TokenWish, team: str) -> Made:
        id_, secret = token_id(self._random_bytes(ID_BYTES)), self._random_bytes(SECRET_BYTES)
        token = Token(
            id=id_,
            team=team,
            name=wish.name,
            role=wish.role,
            scopes=granted(who, wish.role, wish.scopes),
            digest=digest_of(secret),
            created_us=self.clock.now_us(),
            created_by=who.name,
            created_by_token=who.token_id,
            expires_us=wish.expires_us,
            networks=wish.networks,
            rate=wish.rate,
        )
        return Made(token, token_text(id_, secret))

    def _note(self, writer: Writer, who: Principal, action: str, token: Token) -> None:
        scopes = None if token.scopes is None else list(token.scopes)
        self._audit.note(
            writer, who, action, token.id, team=token.team, name=token.name, role=token.role, scopes=scopes
        )


def reach(who: Principal, team: str | None) -> str:
    """The team that a request is about: its own where it names none.

    Raises InsufficientPermissions for another one, whether there is such a team or not, unless an administrator of the
    default team asks.
    """
    if team in (None, who.team):
        return who.team
    if who.team == DEFAULT_TEAM and who.may("admin"):
        return team or who.team
    raise InsufficientPermissions("your token is of another team than this names", requiredPermission="admin")


def _find(reader: Reader, team: str, token_id: str) -> Token:
    token = reader.find_token(token_id).token
    if token is None or token.team != team:
        raise TokenNotFound(f"Token with ID '{token_id}' not found", tokenId=token_id)
    return token
