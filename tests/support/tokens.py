"""Tokens for tests: rows, and texts that open them."""

from typing import Any

from msgspec.structs import replace

from monitor.access.tokens import SECRET_BYTES, Token, digest_of, token_text
from monitor.store import Store

SECRET = b"s" * SECRET_BYTES


def make_token(name: str, *, team: str = "acme", **changes: Any) -> Token:
    """An administrator's token of that name, whose id follows from the name."""
    blank = Token(
        id=f"tok_{name.encode().hex():0<16.16}",
        team=team,
        name=name,
        role="admin",
        digest=digest_of(SECRET),
        created_us=1,
        created_by="ada",
    )
    return replace(blank, **changes)


async def add_token(store: Store, name: str, **changes: Any) -> str:
    """Store such a token; returns what its holder shows."""
    token = make_token(name, **changes)
    await store.write(lambda writer: writer.add_token(token))
    return token_text(token.id, SECRET)


def bearer(token: str) -> dict[str, str]:
    """The header that shows it."""
    return {"authorization": f"Bearer {token}"}
