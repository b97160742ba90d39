"""Sealing: bytes that strangers carry but can neither read nor forge (positions), and secrets at rest.

AES-SIV (RFC 5297): deterministic, so equal bytes give equal tokens and no nonce can ever repeat; authenticated, so a
changed token does not open. The purpose is authenticated too: a token of one kind never opens as another.
"""

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from monitor.errors import DataFolderUnusable

KEY_BYTES: Final = 32
"""AES-SIV splits its key in two halves of 128 bits."""


class Unopenable(ValueError):
    """The token was not sealed here, or not for this purpose."""


class Sealer:
    """Seals and opens under the deployment's key. Every process of a deployment has the same key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def __repr__(self) -> str:
        return "Sealer(...)"

    def seal(self, purpose: str, plain: bytes) -> bytes:
        """`plain` sealed for `purpose`: 16 bytes longer."""
        return self._cipher.encrypt(plain, [purpose.encode()])

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """The inverse of `seal`. Raises Unopenable."""
        try:
            return self._cipher.decrypt(sealed, [purpose.encode()])
        except (InvalidTag, ValueError):
            raise Unopenable("not sealed here") from None

    def proof(self) -> bytes:
        """Recognises the key without giving anything of it away: equal for equal keys, and for no others."""
        return self.seal("proof", b"execution-monitor")

    def token(self, purpose: str, plain: bytes) -> str:
        """`plain` sealed, in `[A-Za-z0-9_-]`: fit for URLs, headers and SSE ids."""
        return base64.urlsafe_b64encode(self.seal(purpose, plain)).rstrip(b"=").decode()

    def untoken(self, purpose: str, token: str) -> bytes:
        """The inverse of `token`. Raises Unopenable for anything else, including other spellings of a valid token."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Unopenable("not a token") from None
        plain = self.open(purpose, raw)
        if self.token(purpose, plain) != token:
            raise Unopenable("not a token")
        return plain


def load_key(path: Path) -> bytes:
    """The deployment's key in `path`; made there, readable by its owner alone, at the first start.

    Called by one process at a time. Raises DataFolderUnusable when the file holds no key or cannot be read or made.
    """
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise DataFolderUnusable(f"{path} cannot be read: {error.strerror}; see that this user owns it") from error
    if len(key) != KEY_BYTES:
        raise DataFolderUnusable(f"{path} is no key of this service ({len(key)} bytes); restore it from a backup")
    return key


def _make_key(path: Path) -> None:
    """Under its name it is whole: it gets it last, when the disk has it."""
    fresh = path.with_name(f"{path.name}.new")
    with open(fresh, "wb", opener=_private) as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
