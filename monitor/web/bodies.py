"""Request bodies, read with a ceiling: what a stranger sends costs at most so much memory."""

from typing import Final

from starlette.requests import ClientDisconnect, Request

from monitor.errors import InvalidRequest, TooLarge

_KEPT: Final = "monitor.body"


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The whole body, also when it was read before.

    Raises TooLarge as soon as it is announced or seen to be larger than `most_bytes`.
    """
    if (known := request.scope.get(_KEPT)) is not None:
        body: bytes = known
        return body
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most_bytes:
        raise _too_large(most_bytes)
    chunks, size_bytes = [], 0
    try:
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > most_bytes:
                raise _too_large(most_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        raise InvalidRequest("the connection ended before the body did") from None
    body = request.scope[_KEPT] = b"".join(chunks)
    return body


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"the body is larger than {most_bytes} bytes; send it in parts", maxBytes=most_bytes)
