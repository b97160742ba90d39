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

Seeded = Callable[[str | None], Awaitable[Response]]
"""Carries a request out; equal seeds name equal commands, None names new ones."""


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Packed).decode


async def once(idempotency: Idempotency, request: Request, who: Principal, most_bytes: int, work: Seeded) -> Response:
    """The answer of `work`; where the request has a key, that of the first one with it.

    `most_bytes` is how large a body may be that `work` reads. Raises InvalidRequest for a key that is none, and
    IdempotencyKeyReused.
    """
    key = _key(request)
    if key is None:
        return await work(None)
    fingerprint = blake2b(digest_size=16)
    for part in (request.method, request.url.path, request.url.query):
        fingerprint.update(part.encode() + b"\0")
    fingerprint.update(await read_body(request, most_bytes))

    async def packed(seed: str) -> bytes:
        return _pack(await work(seed))

    answered = await idempotency.once(who, key, fingerprint.digest(), packed)
    return _unpack(answered.answer, is_repeated=answered.is_repeated)


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


def _pack(response: Response) -> bytes:
    headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
    return _encode(_Packed(response.status_code, headers, bytes(response.body)))


def _unpack(answer: bytes, *, is_repeated: bool) -> Response:
    packed = _decode(answer)
    headers = packed.headers | ({REPLAYED_HEADER: "true"} if is_repeated else {})
    return Response(packed.body, packed.status, headers)
