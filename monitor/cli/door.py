"""The two ways into the journal from the command line: a running service's HTTP address, and the data folder itself.

Both take events as bytes and give one verdict for each, in order, once what was accepted is durable. Pushing the same
events again is harmless: those that are there are duplicates. Used by `send`, `import` and `demo`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from monitor.cli.token_source import CURE, headers_of
from monitor.errors import StartupError, Unavailable

if TYPE_CHECKING:
    import aiohttp

REQUEST_LIMIT_S: Final = 60.0
"""A thousand events take milliseconds; this only notices a service that hangs."""

_ATTEMPTS: Final = 10
"""Of a request that the service puts off; it names the pause, usually a second."""


class NotAdmitted(StartupError):
    """The service takes no events with this token."""


class Verdict(NamedTuple):
    """What became of an event; `reason` says why one was rejected."""

    word: Literal["accepted", "duplicate", "rejected"]
    reason: str = ""


Push = Callable[[Sequence[bytes]], Awaitable[list[Verdict]]]
"""Appends events (each one JSON text on one line) and returns their verdicts. Raises Unavailable."""


@asynccontextmanager
async def http_door(url: str, token: str | None = None) -> AsyncIterator[Push]:
    """The door of the service at `url`, to which `token` is shown."""
    import aiohttp  # noqa: PLC0415 - loads only where a request is made

    limit = aiohttp.ClientTimeout(total=REQUEST_LIMIT_S)
    async with aiohttp.ClientSession(timeout=limit, headers=headers_of(token)) as session:

        async def push(events: Sequence[bytes]) -> list[Verdict]:
            try:
                status, body = await _post(session, f"{url.rstrip('/')}/v1/events", b"\n".join(events))
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = str(error) or "no answer in time"
                raise Unavailable(
                    f"nobody answers at {url} ({reason}); start `monitor serve`, or name its address with --url; "
                    "doing the same again is harmless"
                ) from error
            return read_answer(url, status, body, len(events))

        yield push


async def _post(session: "aiohttp.ClientSession", url: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer; asks again for as long as the service says that it will be there soon."""
    attempt = 1
    while True:
        async with session.post(url, data=body, headers={"content-type": "application/x-ndjson"}) as answer:
            content = await answer.read()
        if answer.status not in (429, 503) or attempt == _ATTEMPTS:
            return answer.status, content
        await asyncio.sleep(pause_s(answer.headers.get("retry-after", "")))
        attempt += 1


def pause_s(retry_after: str) -> float:
    """The seconds that a service asks for; one where a proxy says nothing, names a date or asks for too long."""
    is_short = retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 3
    return float(retry_after) if is_short else 1.0


class _Error(msgspec.Struct):
    message: str
    code: str = ""
    field: str | None = None


class _Result(msgspec.Struct):
    index: int
    verdict: Literal["accepted", "duplicate", "rejected"]
    error: _Error | None = None


class _Envelope(_Error):
    results: list[_Result] = []


class _Answer(msgspec.Struct):
    results: list[_Result] = []
    error: _Envelope | None = None


def read_answer(url: str, status: int, body: bytes, count: int) -> list[Verdict]:
    """The verdicts of `count` events. Raises Unavailable when the answer gives none, NotAdmitted for who may not."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = _Answer()
    refusal = answer.error
    if status in (401, 403) and refusal and refusal.code:
        raise NotAdmitted(f"{refusal.message.rstrip('.')}; {CURE}")
    if status in (429, *range(500, 600)) or (refusal is None and len(answer.results) != count):
        said = refusal.message if refusal else f"HTTP {status}, and no verdicts"
        raise Unavailable(f"{url} took nothing: {said}; doing the same again is harmless")
    results = answer.results or (refusal.results if refusal else [])
    if len(results) != count:
        return [Verdict("rejected", refusal.message if refusal else "")] * count
    return [
        Verdict(result.verdict, result.error.message if result.error else "")
        for result in sorted(results, key=lambda result: result.index)
    ]
