"""Browsers: a ticket to come in with, once and within seconds, and a session that then stands for the token.

Neither is the token: a ticket may stand in the address of a stream, where a browser can send no header, and a session
in a cookie that no script reads. Both end with the token at once; a session that is left is good no more wherever its
cookie was copied to, and its streams end.
"""

import hmac
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer, Unopenable
from monitor.access.tokens import Token
from monitor.clock import Clock
from monitor.errors import RateLimited, SessionInvalid, TicketInvalid
from monitor.executions.credentials import Credentials
from monitor.store.access import EndedSession, Ticket
from monitor.store.base import Store, Writer

TICKET_S: Final = 30
"""Long enough to open a stream or a page with it."""

SESSION_S: Final = 12 * 3600
"""A working day."""

MOST_LEFT: Final = 1_000
"""Sessions of one token that were left within `SESSION_S`: each is remembered until it would have ended by itself."""

_TICKET_BYTES: Final = 24
_MARK_BYTES: Final = 8
_TICKET: Final = "ticket"
_PURPOSE: Final = "session"
_CSRF: Final = "csrf"


class ShownTicket(NamedTuple):
    """To be shown once."""

    text: str
    # Microseconds.
    expires_us: int


class Session(NamedTuple):
    """What a browser keeps, and what its scripts show beside it when they change something."""

    cookie: str
    csrf: str
    # Microseconds.
    expires_us: int


class Came(NamedTuple):
    """Whose session a browser came with, and which one it is."""

    token: Token
    session_id: str


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    """What the cookie says, to us alone."""

    token_id: str
    expires_us: int
    # So that two sessions of one token differ.
    nonce: bytes


_decode: Final = msgspec.msgpack.Decoder(_Sealed).decode


class Sessions:
    """Makes tickets and sessions, and knows whose they are."""

    def __init__(
        self,
        *,
        store: Store,
        credentials: Credentials,
        sealer: Sealer,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store, self._credentials, self._sealer = store, credentials, sealer
        self._clock, self._random_bytes = clock, random_bytes

    async def ticket(self, who: Principal) -> ShownTicket:
        """A ticket for who asks. Raises StoreUnavailable."""
        text, now_us = self._ticket_text(self._random_bytes(_TICKET_BYTES)), self._clock.now_us()
        row = Ticket(_digest(text), who.token_id or "", now_us + TICKET_S * 1_000_000)

        def keep(writer: Writer) -> None:
            writer.forget_tickets(now_us)
            writer.add_ticket(row)

        await self._store.write(keep)
        return ShownTicket(text, row.expires_us)

    async def redeemed(self, text: str, address: str | None = None) -> Token:
        """Whose ticket that is; it is void from now on.

        Raises TicketInvalid for one that was never made, was shown before or is too old, and what `Credentials.held`
        does for one whose token has ended meanwhile.
        """
        if not self._is_ours(text):
            raise TicketInvalid
        digest = _digest(text)
        row = await self._store.write(lambda writer: writer.take_ticket(digest))
        if row is None or row.expires_us <= self._clock.now_us() or not row.token_id:
            raise TicketInvalid
        return await self._credentials.held(row.token_id, address)

    def _ticket_text(self, secret: bytes) -> str:
        """The secret and a mark that only we can make: what strangers make up never reaches the store's writer."""
        return (secret + sha256(self._sealer.seal(_TICKET, secret)).digest()[:_MARK_BYTES]).hex()

    def _is_ours(self, text: str) -> bool:
        try:
            secret = bytes.fromhex(text)[:_TICKET_BYTES]
        except ValueError:
            return False
        return hmac.compare_digest(self._ticket_text(secret).encode(), text.encode())

    def session(self, who: Principal) -> Session | None:
        """A session for who asks; None for who needs none, since nobody is asked here."""
        if who.token_id is None:
            return None
        expires_us = self._clock.now_us() + SESSION_S * 1_000_000
        sealed = _Sealed(who.token_id, expires_us, self._random_bytes(8))
        cookie = self._sealer.token(_PURPOSE, msgspec.msgpack.encode(sealed))
        return Session(cookie, self.csrf(cookie), expires_us)

    async def holder(self, cookie: str, address: str | None = None) -> Came:
        """Whose session that is. Raises SessionInvalid, and what `Credentials.held` does."""
        sealed = self._opened(cookie)
        session_id = _id(cookie)
        if session_id in await self._credentials.ended():
            raise SessionInvalid
        return Came(await self._credentials.held(sealed.token_id, address), session_id)

    async def leave(self, cookie: str) -> None:
        """End the session in this process once this returns, in every other within a second; its streams with it.

        Raises SessionInvalid, StoreUnavailable, and RateLimited where that token has left `MOST_LEFT` of them.
        """
        sealed = self._opened(cookie)
        left = EndedSession(_id(cookie), sealed.token_id, sealed.expires_us)
        others = [it for it in (await self._credentials.ended()).values() if it.token_id == left.token_id]
        if len(others) >= MOST_LEFT:
            message = f"this token has left {MOST_LEFT} sessions; revoke it, which ends them all"
            raise RateLimited(message, retry_after_s=_left_s(others, self._clock.now_us()))
        await self._store.write(lambda writer: writer.end_session(left), durable=True)
        await self._credentials.refresh()

    def _opened(self, cookie: str) -> _Sealed:
        try:
            sealed = _decode(self._sealer.untoken(_PURPOSE, cookie))
        except Unopenable:
            raise SessionInvalid from None
        if sealed.expires_us <= self._clock.now_us():
            raise SessionInvalid
        return sealed

    def csrf(self, cookie: str) -> str:
        """What scripts of our own page show beside the cookie: others can send that, but not read this."""
        return self._sealer.token(_CSRF, sha256(cookie.encode()).digest())

    def is_csrf_of(self, cookie: str, said: str) -> bool:
        """Whether `said` is that."""
        return hmac.compare_digest(self.csrf(cookie).encode(), said.encode())


def _id(cookie: str) -> str:
    """Names the session without opening it: nobody comes in with this."""
    return sha256(cookie.encode()).digest()[:16].hex()


def _left_s(sessions: Sequence[EndedSession], now_us: int) -> int:
    """Until the first of them is forgotten."""
    return max(1, (min(it.expires_us for it in sessions) - now_us) // 1_000_000)


def _digest(ticket: str) -> bytes:
    return sha256(ticket.encode()).digest()
