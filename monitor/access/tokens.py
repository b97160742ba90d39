"""Tokens: what a program shows to be let in, and the rules about them. Rows live in the store.

A token reads `mon_ID_SECRET`: 16 and 64 hexadecimal digits. The id finds its row; of the secret the row holds nothing
but the SHA-256, which needs no salt and no slowness where the secret is 256 random bits. Clients of other APIs look at
how a key begins: any token may be spelt so (`KINDS`), where such an API is served. Pure; chance comes as bytes.
"""

import hmac
import re
from hashlib import sha256
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from monitor.access.principal import Principal
from monitor.access.roles import ROLES, Role, Scope, lesser

SECRET_BYTES: Final = 32
ID_BYTES: Final = 8

Kind = Literal["mon", "so1_key", "sdk"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""How a token begins: our own way first."""

FORM: Final = re.compile(rf"({'|'.join(KINDS)})_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
"""What a token looks like, whether there is such a one or not."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token at rest. Times are microseconds; whoever holds it acts for `team`."""

    # The store's integer key; 0 until it is stored.
    key: int = 0
    # `tok_` and the id in the token itself.
    id: str
    team: str
    name: str
    role: Role
    # Narrower than the role's; None = all of the role's.
    scopes: tuple[Scope, ...] | None = None
    # SHA-256 of the secret.
    digest: bytes
    created_us: int
    # Name of the principal that made it, and of its token; None where none was asked for.
    created_by: str
    created_by_token: str | None = None
    expires_us: int | None = None
    revoked_us: int | None = None
    # Networks (CIDR) that it may come from; none = any.
    networks: tuple[str, ...] = ()
    # Requests in a second; None = as many as the service grants to each.
    rate: int | None = None
    # When it was used last, to the minute; kept beside the rest of the row.
    last_used_us: int | None = None

    def principal(self, address: str | None = None, session_id: str | None = None) -> Principal:
        """Who asks with it, from `address`, in a browser's session where it is not None."""
        scopes = None if self.scopes is None else frozenset(self.scopes)
        return Principal(self.team, self.name, self.role, scopes, self.id, address, self.rate, session_id)


class Shown(NamedTuple):
    """The two halves of a token as somebody shows it."""

    id: str
    secret: bytes
    kind: str = "mon"

    def __repr__(self) -> str:
        return f"Shown({self.id!r})"


def read_token(text: str) -> Shown | None:
    """The halves of a token; None for what has not the form of one."""
    found = FORM.fullmatch(text)
    return None if found is None else Shown(token_id(bytes.fromhex(found[2])), bytes.fromhex(found[3]), found[1])


def token_id(raw: bytes) -> str:
    """The public name of a token with these ID_BYTES."""
    return f"tok_{raw.hex()}"


def token_text(id_: str, secret: bytes) -> str:
    """The token itself, which is shown once."""
    return f"mon_{id_.removeprefix('tok_')}_{secret.hex()}"


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret."""
    return sha256(secret).digest()


def is_secret_of(token: Token, secret: bytes) -> bool:
    """Whether `secret` is the token's; how long this takes tells nothing of it."""
    return hmac.compare_digest(token.digest, digest_of(secret))


def excess(maker: Principal, role: Role, scopes: frozenset[Scope] | None) -> list[str]:
    """What a token of `role` with `scopes` would have that its maker has not: nobody gives away more than he has.

    Sorted words, of which `role:X` is a role; empty where there is nothing. Without scopes only the role is judged:
    such a token gets what its maker has of it.
    """
    above = [] if lesser(role, maker.role) == role else [f"role:{role}"]
    return above + sorted(scope for scope in scopes or () if scope in ROLES[role] and not maker.may(scope))


def granted(maker: Principal, role: Role, scopes: frozenset[Scope] | None) -> tuple[Scope, ...] | None:
    """The scopes that a new token keeps: those of its role, narrowed by what was asked for and by its maker's own.

    None where nothing narrows the role.
    """
    if scopes is None and maker.scopes is None:
        return None
    wanted = ROLES[role] if scopes is None else scopes
    return tuple(sorted(scope for scope in wanted if scope in ROLES[role] and maker.may(scope)))
