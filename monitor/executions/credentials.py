"""Who holds a token that is shown: looked up in memory, true to the store within a second wherever it changed.

`run` looks twice a second whether any token was revoked or has expired, or a session was left, and tells those who
listen (running streams); what this process itself ends it knows at once, by `refresh`. What is not in memory is looked
up in the store, for an address that has failed too often only if it is known to be good. Called by `web.auth` for every
request.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from monitor.access.tokens import Token, is_secret_of, read_token
from monitor.clock import Clock
from monitor.errors import StoreUnavailable, TokenExpired, TokenInvalid, TokenMalformed, TokenRevoked
from monitor.executions.failures import Failures
from monitor.store.access import EndedSession
from monitor.store.base import Store

LOOK_S: Final = 0.5
"""Between two looks: a revoked token is dead everywhere within a second."""

USED_TO_US: Final = 60_000_000
"""When a token was used last is kept to the minute: no request waits for a write, and few cause one."""


class Credentials:
    """Every token that was shown to this process, as it stands."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        # Tokens that exist, so there are no more of them than in the store.
        self._held: dict[str, Token] = {}
        # What the held ones are true to; None until the store was asked.
        self._version: int | None = None
        # When each was used last as the store knows it or soon will, and what it does not know yet.
        self._noted_us: dict[str, int] = {}
        self._to_note: dict[str, int] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._failures = Failures(clock)
        # Tokens that are good, by id, and when they expire; None until an address failed too often.
        self._good_ids: dict[str, int | None] | None = None
        # By id; None until somebody showed a session.
        self._ended: dict[str, EndedSession] | None = None

    def on_revoked(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of every token that ends from now on (revoked by anybody, or expired), and of
        every session that is left.

        It may hear of tokens and sessions that it does not know, and of one twice.
        """
        self._listeners.append(listener)

    async def holder(self, text: str, address: str | None = None) -> Token:
        """The token that `text` is, shown by a client at `address`.

        Raises TokenMalformed, TokenInvalid, TokenRevoked, TokenExpired, RateLimited, StoreUnavailable.

        Whoever has not the secret learns nothing but TokenInvalid, whether there is a token of that id or not.
        """
        shown = read_token(text)
        if shown is None:
            raise TokenMalformed
        token = self._held.get(shown.id) or await self._look_up(shown.id, address)
        if token is None or not is_secret_of(token, shown.secret):
            raise TokenInvalid
        return self._good(token)

    async def held(self, token_id: str, address: str | None = None) -> Token:
        """The token of an id, for who has proven by other means that it is his.

        Raises TokenInvalid, TokenRevoked, TokenExpired, RateLimited, StoreUnavailable.
        """
        token = self._held.get(token_id) or await self._look_up(token_id, address)
        if token is None:
            raise TokenInvalid
        return self._good(token)

    def _good(self, token: Token) -> Token:
        if token.revoked_us is not None:
            raise TokenRevoked
        if self._is_over(token):
            raise TokenExpired
        self._note_use(token, self._clock.now_us())
        return token

    async def ended(self) -> Mapping[str, EndedSession]:
        """Sessions that were left, by id. Raises StoreUnavailable."""
        if self._ended is None:
            self._note_ended(await self._store.read(lambda reader: reader.ended_sessions()))
        return self._ended or {}

    async def refresh(self) -> None:
        """Learn what has changed in the store. Raises StoreUnavailable."""
        known = self._version
        version = await self._store.read(lambda reader: reader.tokens_version())
        if self._version is None:
            self._version = version
        # Where a token was looked up meanwhile, for the first time: what has changed since then.
        since = self._version if known is None else known
        if version <= since:
            return
        changed, ended, version = await self._store.read(
            lambda it: (it.tokens_changed(since), it.ended_sessions(), it.tokens_version())
        )
        self._version = max(self._version or 0, version)
        for token in changed:
            if token.revoked_us is not None:
                self._end(token.id)
            elif self._good_ids is not None:
                self._good_ids[token.id] = token.expires_us
        self._note_ended(ended)

    async def run(self) -> None:
        """Keep up with the store until cancelled."""
        log = structlog.get_logger("credentials")
        while True:
            await self._clock.sleep(LOOK_S)
            self._end_expired()
            try:
                await self.refresh()
                await self._keep_uses()
            except StoreUnavailable as error:
                log.warning("tokens cannot be looked at", reason=error.message)

    async def _look_up(self, token_id: str, address: str | None) -> Token | None:
        """From the store, unless the address has failed too often and the token is none that is good."""
        if self._failures.is_over(address) and not await self._is_good(token_id):
            raise self._failures.refusal(address)
        self._failures.add(address)  # before the look: of a thousand at once, most are not looked up
        token = await self._find(token_id)
        if token_id in self._held:
            self._failures.add(address, -1)
        return token

    async def _is_good(self, token_id: str) -> bool:
        while self._good_ids is None:
            tokens, version = await self._store.read(lambda it: (it.tokens_changed(0), it.tokens_version()))
            if version >= (self._version or 0):  # else a snapshot from before a token that this process knows of
                self._good_ids = {it.id: it.expires_us for it in tokens if it.revoked_us is None}
        expires_us = self._good_ids.get(token_id, 0)
        return expires_us is None or expires_us > self._clock.now_us()

    async def _find(self, token_id: str) -> Token | None:
        """From the store; one that is good is held from then on."""
        while True:
            token, version = await self._store.read(lambda reader: reader.find_token(token_id))
            if self._version is None:
                self._version = version
            if version < self._version:
                continue  # a snapshot from before a revocation that this process knows of
            if token is not None and token.revoked_us is None and not self._is_over(token):
                self._held[token_id] = token
                self._noted_us.setdefault(token_id, token.last_used_us or 0)
            return token

    def _note_use(self, token: Token, now_us: int) -> None:
        if now_us - self._noted_us.get(token.id, 0) >= USED_TO_US:
            self._noted_us[token.id] = self._to_note[token.id] = now_us

    async def _keep_uses(self) -> None:
        if self._to_note:
            used, self._to_note = self._to_note, {}
            await self._store.write(lambda writer: writer.note_used(used))

    def _end_expired(self) -> None:
        for token in [it for it in self._held.values() if self._is_over(it)]:
            self._end(token.id)
        now_us = self._clock.now_us()
        for session in [it for it in (self._ended or {}).values() if it.expires_us <= now_us]:
            del (self._ended or {})[session.id]

    def _note_ended(self, sessions: Sequence[EndedSession]) -> None:
        known = self._ended or {}
        self._ended = known | {it.id: it for it in sessions}
        for id_ in self._ended.keys() - known.keys():
            self._tell(id_)

    def _is_over(self, token: Token) -> bool:
        return token.expires_us is not None and token.expires_us <= self._clock.now_us()

    def _end(self, token_id: str) -> None:
        self._held.pop(token_id, None)
        self._noted_us.pop(token_id, None)
        if self._good_ids is not None:
            self._good_ids.pop(token_id, None)
        self._tell(token_id)

    def _tell(self, ended_id: str) -> None:
        for listener in self._listeners:
            listener(ended_id)
