"""A running service as somebody outside sees it: questions over HTTP, and what a refusal means to who keeps asking.

Every failure is one of two: `Away` (ask again, after the pause that it names) or `Unwatchable` (asking again changes
nothing; one line says what would). Called by `follow`, `tail` and `demo`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from monitor.cli.door import pause_s
from monitor.cli.token_source import CURE, headers_of
from monitor.errors import StartupError

if TYPE_CHECKING:
    import aiohttp

Query = Sequence[tuple[str, str]]

POSITION_HEADER: Final = "monitor-position"

ANSWER_S: Final = 30.0
"""Reads take milliseconds, and wait for two seconds at most; this only notices a service that hangs."""

_LATER: Final = frozenset({408, 425, 429})
"""Refusals that are no fault of the question."""


class Away(Exception):
    """The service does not answer now."""

    def __init__(self, reason: str, *, pause_s: float = 0.0, is_its_word: bool = False) -> None:
        """`pause_s` is what it asks for; `is_its_word` when the service itself said so, so that it is there."""
        super().__init__(reason)
        self.reason, self.pause_s, self.is_its_word = reason, pause_s, is_its_word


class Unwatchable(StartupError):
    """The service cannot be watched."""


class Refused(Unwatchable):
    """The service refuses the question."""

    def __init__(self, message: str, refusal: str) -> None:
        """`refusal` is the service's own code, empty where somebody else answered."""
        super().__init__(message)
        self.refusal = refusal


class Answer(NamedTuple):
    """A document that was read, where the state stood, and the service's own time in microseconds where it told it."""

    document: dict[str, Any]
    position: str | None
    now_us: int | None


class Service:
    """Asks one service. Nothing of the environment's proxies is used."""

    def __init__(self, session: "aiohttp.ClientSession", url: str) -> None:
        self.session, self.url = session, url.rstrip("/")

    async def read(self, path: str, query: Query = ()) -> Answer:
        """The document at `path`. Raises Away and Refused."""
        async with self.opened(path, query, "application/json") as response:
            position = response.headers.get(POSITION_HEADER)
            body = await _body_of(response)
            now_us = _time_us(response.headers)
        try:
            return Answer(msgspec.json.decode(body, type=dict[str, Any]), position, now_us)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Away(f"{path} is answered by something that is no JSON object") from None

    @asynccontextmanager
    async def opened(
        self,
        path: str,
        query: Query,
        accept: str,
        method: str = "GET",
        content: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> "AsyncIterator[aiohttp.ClientResponse]":
        """The answer, its body unread; closed at the end of the block. Raises Away and Refused before the block."""
        response = await self._ask({"accept": accept, **(headers or {})}, path, query, method, content)
        try:
            if response.status >= 300:
                retry_after = response.headers.get("retry-after", "")
                raise fault(self.url, response.status, retry_after, await _body_of(response))
            yield response
        finally:
            response.close()

    async def tell(self, method: str, path: str, content: object = None) -> dict[str, Any]:
        """What it answers to a change that `content` describes. Raises Away and Refused."""
        async with self.opened(path, (), "application/json", method, content) as response:
            body = await _body_of(response)
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Away(f"{path} is answered by something that is no JSON object") from None

    async def _ask(
        self, headers: Mapping[str, str], path: str, query: Query, method: str, content: object
    ) -> "aiohttp.ClientResponse":
        import aiohttp  # noqa: PLC0415 - loads only where a request is made
        from yarl import URL  # noqa: PLC0415

        try:
            # Encoded already: an id may hold a slash.
            url = URL(self.url + path, encoded=True).extend_query(query)
            body = None if content is None else msgspec.json.encode(content)
            headers = {**headers, **({} if body is None else {"content-type": "application/json"})}
            async with asyncio.timeout(ANSWER_S):
                return await self.session.request(method, url, headers=headers, data=body)
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise Away(reason_of(error)) from error


async def _body_of(response: "aiohttp.ClientResponse") -> bytes:
    import aiohttp  # noqa: PLC0415

    try:
        async with asyncio.timeout(ANSWER_S):
            return await response.read()
    except (aiohttp.ClientError, OSError) as error:
        raise Away(reason_of(error)) from error


@asynccontextmanager
async def open_service(url: str, token: str | None = None) -> AsyncIterator[Service]:
    """The service at `url`, to which `token` is shown."""
    import aiohttp  # noqa: PLC0415

    # A stream has no end, and its silence is judged by whoever reads it.
    limits = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=limits, headers=headers_of(token)) as session:
        yield Service(session, url)


def reason_of(error: Exception) -> str:
    """Why a connection failed, in plain words or those of the system."""
    import aiohttp  # noqa: PLC0415

    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "the connection broke off"
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number is not None and number > 0 else str(error) or type(error).__name__


# --- what a refusal means --------------------------------------------------------------------------------------------


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    code: str = ""


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error = _Error()


def fault(url: str, status: int, retry_after: str, body: bytes) -> Away | Refused:
    """What an answer that is no success means. Pure."""
    try:
        said = msgspec.json.decode(body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Error()
    if status >= 500 or status in _LATER:
        message = said.message or f"it answers with HTTP status {status}"
        return Away(message, pause_s=pause_s(retry_after), is_its_word=bool(said.code))
    if status in (401, 403) and said.code:
        return Refused(f"{said.message.rstrip('.')}; {CURE}", said.code)
    foreign = f"{url} answers with HTTP status {status}, as no such service does; name its address with --url"
    return Refused(said.message or foreign, said.code)


def _time_us(headers: Mapping[str, str]) -> int | None:
    try:
        return round(parsedate_to_datetime(headers.get("date", "")).timestamp() * 1_000_000)
    except ValueError:
        return None
