"""Idempotency: of equal requests that come with one key, one is carried out, and all get its answer.

The key is kept before anything is done and with the answer after it, durable, for a day. What a dead process left
without an answer is carried out again under the same seed: commands that follow from it have the same ids, and engines
take each id once. Requests that fail free their key: the same one again is the same command, another one may follow.
When its day is over a key stands for nothing any more. Used by the faces, which pack and unpack answers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import IdempotencyKeyReused, TooManyIdempotencyKeys
from monitor.store.base import Store, Writer
from monitor.store.order_port import KEY_KEEP_S, MOST_KEYS, IdempotentRequest

Work = Callable[[str], Awaitable[bytes]]
"""Carries a request out and returns its answer; equal seeds name equal commands."""

_FREE: Final = b""
"""In place of a fingerprint: the key's request failed."""


class Answered(NamedTuple):
    """An answer, and whether it was made for an earlier request."""

    answer: bytes
    is_repeated: bool


class Idempotency:
    """Keys are a principal's: equal ones of two tokens have nothing to do with one another."""

    def __init__(self, store: Store, clock: Clock, most_keys: int = MOST_KEYS) -> None:
        """`most_keys`: how many a team may have at a time, so that none fills the disk."""
        self._store, self._clock, self._most_keys = store, clock, most_keys
        # What is being carried out in this process, which alone works on its store.
        self._running: dict[tuple[str, str, str], tuple[bytes, asyncio.Task[Answered]]] = {}

    async def once(self, who: Principal, key: str, fingerprint: bytes, work: Work) -> Answered:
        """The answer of `work`, or that of the first request with this key.

        Cancelled, the work goes on. Raises IdempotencyKeyReused when the first one asked for something else,
        TooManyIdempotencyKeys, StoreUnavailable, and what `work` raises.
        """
        id_ = (who.team, who.token_id or who.name, key)
        running = self._running.get(id_)
        if running is not None:
            if running[0] != fingerprint:
                raise IdempotencyKeyReused
            return (await asyncio.shield(running[1]))._replace(is_repeated=True)
        asked = IdempotentRequest(*id_, fingerprint, self._clock.now_us())
        task = asyncio.create_task(self._carry_out(asked, work), name="idempotent request")
        self._running[id_] = fingerprint, task
        task.add_done_callback(lambda ended: self._forget(id_, ended))
        return await asyncio.shield(task)

    def _forget(self, id_: tuple[str, str, str], ended: asyncio.Task[Answered]) -> None:
        del self._running[id_]
        if not ended.cancelled():
            ended.exception()  # perhaps nobody waits for it any more

    async def _carry_out(self, asked: IdempotentRequest, work: Work) -> Answered:
        held = await self._store.write(lambda writer: self._take(writer, asked), durable=True)
        if held.answer is not None:
            return Answered(held.answer, is_repeated=True)
        try:
            # A key of another day names other commands.
            answer = await work(f"{held.key}\n{held.fingerprint.hex()}\n{held.created_us}")
        except Exception:
            freed = held._replace(fingerprint=_FREE)
            await self._store.write(lambda writer: writer.put_idempotent_request(freed), durable=True)
            raise
        answered = held._replace(answer=answer)
        await self._store.write(lambda writer: writer.put_idempotent_request(answered), durable=True)
        return Answered(answer, is_repeated=False)

    def _take(self, writer: Writer, asked: IdempotentRequest) -> IdempotentRequest:
        """What the key stands for now. One without an answer is of a process that has died, and is taken over."""
        held = writer.idempotent_request(asked.team, asked.principal, asked.key)
        if held is None and writer.idempotent_requests(asked.team) >= self._most_keys:
            raise TooManyIdempotencyKeys
        if held is not None and held.created_us >= asked.created_us - KEY_KEEP_S * 1_000_000:
            if held.fingerprint not in (_FREE, asked.fingerprint):
                raise IdempotencyKeyReused
            asked = held._replace(fingerprint=asked.fingerprint)
        if asked != held:
            writer.put_idempotent_request(asked)
        return asked
