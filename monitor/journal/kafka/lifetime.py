"""Starting and stopping aiokafka's clients so that no socket and no task is left behind.

Cancelled in the middle, aiokafka forgets a connection that it has just opened, or goes on as if nobody had asked it to
stop; stopped at a bad moment, it may hang, raise, or report a cancellation that nobody asked for.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

_log = structlog.get_logger(__name__)

# A start that was given up gets one request's time to come to its own end.
_START_GRACE_S: Final = 5.0
_STOP_LIMIT_S: Final = 10.0
# What hears of its cancellation at all does so in milliseconds.
_CANCEL_LIMIT_S: Final = 5.0


async def start(starting: Coroutine[Any, Any, None]) -> None:
    """Run a client's own `start` or `bootstrap`; cancelled, return only when that has ended, so that `stop` is safe."""
    task = asyncio.create_task(starting)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await _end(task, _START_GRACE_S)
        raise


async def stop(client: Any) -> None:
    """Stop a consumer whatever state it is in; a stop that hangs or raises is cut short."""
    if not await _end(asyncio.create_task(client.stop()), _STOP_LIMIT_S):
        _log.warning("kafka client did not stop cleanly")
        await client._client.close()  # noqa: SLF001 - its sockets, which nothing else would close now


def heed_cancellation() -> None:
    """Raise CancelledError where the present task was asked to stop and a client has kept that to itself."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _end(task: asyncio.Task[None], limit_s: float) -> bool:
    """Let a task end, by force after `limit_s`; whether it ended by itself and well. One that hears nothing is left."""
    await asyncio.wait([task], timeout=limit_s)
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_LIMIT_S)
    return task.done() and not task.cancelled() and task.exception() is None
