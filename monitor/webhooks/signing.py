"""Standard Webhooks 1.0, symmetric: what a receiver verifies, with any of that specification's libraries.

Signed is `id.timestamp.body`, by HMAC-SHA256. The timestamp is that of the attempt and gives away an old request sent
again; the id is that of the delivery and gives away a repeated one. While a secret is replaced, old and new sign.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field
from typing_extensions import TypedDict

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the mark of a secret is none

KEY_BYTES: Final = 32
"""Of a new secret: the block of security that SHA-256 gives. The specification takes 24 to 64."""

_SMALLEST_KEY_BYTES: Final = 24
_LARGEST_KEY_BYTES: Final = 64


def secret_of(key: bytes) -> str:
    """The key as its owner sees it: `whsec_...`."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def key_of(secret: str) -> bytes:
    """The inverse of `secret_of`. Raises ValueError with a plain sentence."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"does not start with {SECRET_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is not base64 after {SECRET_PREFIX}") from None
    if not _SMALLEST_KEY_BYTES <= len(key) <= _LARGEST_KEY_BYTES:
        raise ValueError(f"holds {len(key)} bytes; it takes {_SMALLEST_KEY_BYTES} to {_LARGEST_KEY_BYTES}")
    return key


SignedHeaders = TypedDict(
    "SignedHeaders",
    {
        "webhook-id": Annotated[str, Field(description="Of the delivery: the same on every attempt.")],
        "webhook-timestamp": Annotated[
            str, Field(pattern="^[0-9]+$", description="Of the attempt: seconds since 1970 in UTC.")
        ],
        "webhook-signature": Annotated[
            str,
            Field(
                pattern=r"^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$",
                description="HMAC-SHA256 of `id.timestamp.body` in base64, by each secret that is good now.",
            ),
        ],
    },
)
"""What a receiver verifies: Standard Webhooks 1.0."""


def signed_headers(delivery_id: str, timestamp_s: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The `SignedHeaders` of an attempt made at `timestamp_s` (Unix seconds), signed with each of `keys`."""
    content = b"%b.%d.%b" % (delivery_id.encode(), timestamp_s, body)
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(_signature(key, content) for key in keys),
    }


def _signature(key: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
