"""Idempotency: of equal requests that come with one key, one is carried out, and all get its answer.

The key is kept before anything is done and with the answer after it, durable, for a day. Where several processes share
the store, whoever carries a request out holds a lease, and the others wait for the answer. What a dead process left
without one is carried out again under the same seed: commands that follow from it have the same ids, and engines take
each id once. Requests that fail free their key: the same one again is the same command, another one may follow. When
its day is over a key stands for nothing any more. Used by the faces, which pack and unpack answers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import IdempotencyKeyReused, StoreUnavailable, TooManyIdempotencyKeys
from monitor.store.base import Store, Writer
from monitor.store.order_port import KEY_KEEP_S, MOST_KEYS, IdempotentRequest

Work = Callable[[str], Awaitable[bytes]]
"""Carries a request out and returns its answer; equal seeds name equal commands."""

_FREE: Final = b""
"""In place of a fingerprint: the key's request failed."""

LEASE_S: Final = 15.0
"""How long a repeat waits for a process that died over the request."""

RENEW_S: Final = 5.0

_LOOK_S: Final = 0.1
"""Between two looks for the answer that another process owes."""


class Answered(NamedTuple):
    """An answer, and whether it was made for an earlier request."""

    answer: bytes
    is_repeated: bool


class Idempotency:
    """Keys are a principal's: equal ones of two tokens have nothing to do with one another."""

    def __init__(self, store: Store, clock: Clock, most_keys: int = MOST_KEYS, *, shared_as: str | None = None) -> None:
        """`most_keys`: how many a team may have at a time, so that none fills the disk. `shared_as`: what no other
        process is called that works on the store; None where none does.
        """
        self._store, self._clock, self._most_keys, self._name = store, clock, most_keys, shared_as
        # What is being carried out, or waited for, in this process.
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
        while (held := await self._store.write(lambda writer: self._take(writer, asked), durable=True)) is None:
            await self._wait(asked)
        if held.answer is not None:
            return Answered(held.answer, is_repeated=True)
        renewing = asyncio.create_task(self._renew(held), name="lease of an idempotent request")
        try:
            # A key of another day names other commands.
            answer = await work(f"{held.key}\n{held.fingerprint.hex()}\n{held.created_us}")
        except Exception:
            await self._store.write(lambda writer: self._free(writer, held), durable=True)
            raise
        finally:
            renewing.cancel()
        return await self._store.write(lambda writer: self._answer(writer, held, answer), durable=True)

    async def _wait(self, asked: IdempotentRequest) -> None:
        """Return when no other process is at the request any more."""
        is_taken = True
        while is_taken:
            await self._clock.sleep(_LOOK_S)
            lease = await self._store.read(lambda reader: reader.lease(_lease(asked)))
            is_taken = lease is not None and lease.until_us > self._clock.now_us()

    def _take(self, writer: Writer, asked: IdempotentRequest) -> IdempotentRequest | None:
        """What the key stands for now; None while another process carries it out. One without an answer that nobody is
        at any more is of a process that has died, and is taken over.
        """
        held = writer.idempotent_request(*asked[:3])
        if held is None and writer.idempotent_requests(asked.team) >= self._most_keys:
            raise TooManyIdempotencyKeys
        if held is not None and held.created_us >= asked.created_us - KEY_KEEP_S * 1_000_000:
            if held.fingerprint not in (_FREE, asked.fingerprint):
                raise IdempotencyKeyReused
            asked = held._replace(fingerprint=asked.fingerprint)
        if asked.answer is None and not self._have(writer, asked):
            return None
        if asked != held:
            writer.put_idempotent_request(asked)
        return asked

    def _have(self, writer: Writer, asked: IdempotentRequest) -> bool:
        """Whether this process alone is at the request, from now on or still."""
        if self._name is None:
            return True
        now_us = self._clock.now_us()
        until_us = now_us + round(LEASE_S * 1_000_000)
        return writer.take_lease(_lease(asked), self._name, now_us=now_us, until_us=until_us)

    async def _renew(self, held: IdempotentRequest) -> None:
        """Stay at it for as long as the work takes. While the store does not answer, the lease may end."""
        while self._name is not None:
            await self._clock.sleep(RENEW_S)
            try:
                if not await self._store.write(lambda writer: self._have(writer, held)):
                    return
            except StoreUnavailable as error:
                structlog.get_logger("idempotency").warning("a lease cannot be renewed", reason=error.message)

    def _answer(self, writer: Writer, held: IdempotentRequest, answer: bytes) -> Answered:
        """Keep the answer; that of another process stays, which took over for this one and was faster."""
        self._give_back(writer, held)
        now = writer.idempotent_request(*held[:3])
        if now is not None and now.created_us == held.created_us and now.answer is not None:
            return Answered(now.answer, is_repeated=True)
        writer.put_idempotent_request(held._replace(answer=answer))
        return Answered(answer, is_repeated=False)

    def _free(self, writer: Writer, held: IdempotentRequest) -> None:
        """Let the key stand for another request, unless another process took over."""
        self._give_back(writer, held)
        if writer.lease(_lease(held)) is None and writer.idempotent_request(*held[:3]) == held:
            writer.put_idempotent_request(held._replace(fingerprint=_FREE))

    def _give_back(self, writer: Writer, held: IdempotentRequest) -> None:
        if self._name is not None:
            writer.give_back_lease(_lease(held), self._name)


def _lease(of: IdempotentRequest) -> str:
    return f"idempotent\n{of.team}\n{of.principal}\n{of.key}"
