"""`Idempotency-Key`: a request that is sent again under its key is answered again, and carried out once.

As in the IETF's draft of the header (draft-ietf-httpapi-idempotency-key-header): the key is the client's, the same key
with another request is refused with 422, and a repeated answer says so.
"""

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.errors import InvalidRequest
from monitor.executions.idempotency import Idempotency
from monitor.web.bodies import read_body
from monitor.web.params import Text

REPLAYED_HEADER: Final = "idempotency-replayed"

IDEMPOTENCY_KEY: Final = Text(
    "Idempotency-Key",
    "Of your making, one for each request: sent again under its key, it is answered again.",
    pattern="^[!-~]([ -~]{0,253}[!-~])?$",
)

_MOST_CHARACTERS: Final = 255

_KEPT_HEADERS: Final = frozenset({"content-type", "location", "cache-control", "preference-applied"})

Seeded = Callable[[str | None], Awaitable[Response | str]]
"""Carries a request out; equal seeds name equal commands, None names new ones. Of an answer that shows an execution
the id alone is kept: what it told is stored, masked and deleted in one place.
"""

Show = Callable[[str], Awaitable[Response]]
"""Makes the answer about the execution of this id."""


_OF_EXECUTION: Final = 0
"""In place of a status: the body is the id of the execution that the answer shows."""


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Packed).decode


async def once(
    idempotency: Idempotency,
    request: Request,
    who: Principal,
    most_bytes: int,
    work: Seeded,
    *,
    show: Show | None = None,
) -> Response:
    """The answer of `work`; where the request has a key, that of the first one with it.

    `most_bytes` is how large a body may be that `work` reads; `show` is there where `work` answers with an id. Raises
    InvalidRequest for a key that is none, IdempotencyKeyReused, TooManyIdempotencyKeys, and what `work` and `show` do.
    """
    key = _key(request)
    if key is None:
        done = await work(None)
        return done if isinstance(done, Response) else await _shown(done, show)
    fingerprint = blake2b(digest_size=16)
    for part in (request.method, request.url.path, request.url.query):
        fingerprint.update(part.encode() + b"\0")
    fingerprint.update(await read_body(request, most_bytes))

    async def packed(seed: str) -> bytes:
        return _pack(await work(seed))

    answered = await idempotency.once(who, key, fingerprint.digest(), packed)
    packed_answer = _decode(answered.answer)
    if packed_answer.status == _OF_EXECUTION:
        response = await _shown(packed_answer.body.decode(), show)
    else:
        response = Response(packed_answer.body, packed_answer.status, packed_answer.headers)
    if answered.is_repeated:
        response.headers[REPLAYED_HEADER] = "true"
    return response


async def _shown(execution_id: str, show: Show | None) -> Response:
    assert show is not None
    return await show(execution_id)


def _key(request: Request) -> str | None:
    said = request.headers.getlist("idempotency-key")
    if not said:
        return None
    key = said[0].strip()
    # The draft spells it as a quoted string; most clients leave the quotes out.
    key = key[1:-1] if len(key) > 1 and key.startswith('"') and key.endswith('"') else key
    if len(said) > 1 or not 0 < len(key) <= _MOST_CHARACTERS or not (key.isascii() and key.isprintable()):
        message = f"'Idempotency-Key' takes one key of 1 to {_MOST_CHARACTERS} printable ASCII characters"
        raise InvalidRequest(message, field="Idempotency-Key")
    return key


def _pack(response: Response | str) -> bytes:
    if isinstance(response, str):
        return _encode(_Packed(_OF_EXECUTION, {}, response.encode()))
    headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
    return _encode(_Packed(response.status_code, headers, bytes(response.body)))
