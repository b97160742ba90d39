"""An endpoint's own headers: what it wants sent along, such as a password for its gateway. They are kept sealed.

Promises: whatever passes `check_headers` can be sent as it is (RFC 9110, section 5), changes neither where a request
goes nor where it ends, and speaks for nobody but the endpoint. No value is ever part of an error.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from monitor.errors import InvalidWebhook

MAX_HEADERS: Final = 20

MAX_HEADERS_BYTES: Final = 4096
"""Names and values together. Servers refuse a request whose headers take more than 8 KiB, ours among them."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")

_BODY: Final = "describes the body, which is ours"
_CONNECTION: Final = "steers the connection, or says where a request ends"
_SENDER: Final = "says who sent the request, or by which way it came"
_REQUEST: Final = "makes another request of it behind some servers"
_PAGE: Final = "is a browser's word on what a page may do"
_CLOUD: Final = "opens a cloud's metadata service, which hands out credentials"

REFUSED: Final = {
    "accept-encoding": "asks for an answer that nobody could read in the log",
    "alt-used": _SENDER,
    "connection": _CONNECTION,
    "content-": _BODY,
    "cookie": "belongs to a session; webhooks have none",
    "expect": _CONNECTION,
    "forwarded": _SENDER,
    "host": "says where the request goes; that is the URL's part",
    "http2-settings": _CONNECTION,
    "keep-alive": _CONNECTION,
    "max-forwards": _CONNECTION,
    "metadata": _CLOUD,
    "metadata-": _CLOUD,
    "origin": _PAGE,
    "proxy-": "is meant for a proxy, and none is used",
    "referer": _PAGE,
    "sec-": _PAGE,
    "set-cookie": "belongs to answers",
    "te": _CONNECTION,
    "trailer": _CONNECTION,
    "transfer-encoding": _CONNECTION,
    "upgrade": _CONNECTION,
    "user-agent": _SENDER,
    "via": _SENDER,
    "webhook-": "is one of those by which a request is verified",
    "x-aws-ec2-metadata-": _CLOUD,
    "x-forwarded-": _SENDER,
    "x-google-metadata-": _CLOUD,
    "x-http-method": _REQUEST,
    "x-http-method-override": _REQUEST,
    "x-method-override": _REQUEST,
    "x-original-": _REQUEST,
    "x-real-ip": _SENDER,
    "x-rewrite-url": _REQUEST,
}
"""Names that an endpoint must not choose, and why; one that ends in `-` stands for all that begin with it."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise InvalidWebhook, with the field `headers.NAME` and the reason, unless all of them can be sent."""
    if len(headers) > MAX_HEADERS:
        raise InvalidWebhook(f"'headers' holds {len(headers)}; at most {MAX_HEADERS} are taken", field="headers")
    seen: set[str] = set()
    for name, value in headers.items():
        if fault := _fault_of_name(name, seen) or _fault_of_value(value):
            raise InvalidWebhook(f"'headers.{name}' {fault}", field=f"headers.{name}")
        seen.add(name.lower())
    size_bytes = sum(len(name) + len(value) for name, value in headers.items())
    if size_bytes > MAX_HEADERS_BYTES:
        raise InvalidWebhook(
            f"'headers' holds {size_bytes} bytes; at most {MAX_HEADERS_BYTES} are taken", field="headers"
        )


def pack(headers: Mapping[str, str]) -> bytes:
    """As they are sealed."""
    return msgspec.msgpack.encode(headers)


def unpack(packed: bytes) -> dict[str, str]:
    """The inverse of `pack`. Raises msgspec.MsgspecError."""
    return _decode(packed)


_decode: Final = msgspec.msgpack.Decoder(dict[str, str]).decode


def _fault_of_name(name: str, seen: set[str]) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is no header's name: it takes letters, digits and !#$%&'*+-.^_`|~"
    if name.lower() in seen:
        return "is there twice: upper and lower case make no difference"
    if reason := _refusal(name.lower()):
        return f"cannot be chosen: it {reason}"
    return None


def _refusal(name: str) -> str | None:
    """The reason of the name itself, or of the words that it begins with."""
    words = name.split("-")
    beginnings = ("-".join((*words[:count], "")) for count in range(1, len(words)))
    return next((REFUSED[it] for it in (name, *beginnings) if it in REFUSED), None)


def _fault_of_value(value: str) -> str | None:
    if not _VALUE.fullmatch(value):
        return "has a value that cannot be sent: it takes printable ASCII, without blanks at its ends"
    return None
