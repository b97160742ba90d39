"""Where a command takes the token from that it shows to a service: never from its arguments, which others can list."""

import os
from pathlib import Path
from typing import Final

from monitor.errors import StartupError

VARIABLE: Final = "MONITOR_TOKEN"

CURE: Final = f"show one that does by {VARIABLE} or --token-file"
"""The end of a sentence about a token that does not open this."""


class TokenUnreadable(StartupError):
    """The token cannot be read."""


def client_token(file: Path | None) -> str | None:
    """The token in `file`, else in the environment; None where there is neither. Raises TokenUnreadable."""
    if file is None:
        return _checked(os.environ.get(VARIABLE, ""), VARIABLE) or None
    try:
        said = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnreadable(f"{file} cannot be read: {error}") from None
    if not said.strip():
        raise TokenUnreadable(f"{file} is empty; put a token into it, as `monitor token create` prints it")
    return _checked(said, str(file))


def _checked(said: str, where: str) -> str:
    """Headers take one word of ASCII; what is wrong with it is told without showing it."""
    token = said.strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise TokenUnreadable(f"{where} holds something else than one token")
    return token


def headers_of(token: str | None) -> dict[str, str]:
    """What shows it; none where there is none."""
    return {} if token is None else {"authorization": f"Bearer {token}"}
