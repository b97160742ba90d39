"""Members of an event's `data`, read without trusting them: what has the wrong type says nothing.

The codec checks only what identifies a fact; all else in `data` is the producer's word. Called by the fold's rules.
"""

from typing import Any

from monitor.events.codec import parse_time_us
from monitor.events.model import MAX_ID_CHARACTERS


def text(said: object) -> str | None:
    """The member if it is a string that says something."""
    return said if isinstance(said, str) and said else None


def word(said: object) -> str | None:
    """The member if it is a word that can be asked for, which no one is that is longer than an id may be."""
    return said if isinstance(said, str) and 0 < len(said) <= MAX_ID_CHARACTERS else None


def whole(said: object) -> int | None:
    """The member if it is a count."""
    return said if type(said) is int and 0 <= said < 1 << 53 else None


def text_or_whole(said: object) -> str | int | None:
    """The member if it is a string that says something, or a count."""
    return text(said) if isinstance(said, str) else whole(said)


def number(said: object) -> int | float | None:
    """The member if it is a number."""
    return said if isinstance(said, int | float) and not isinstance(said, bool) else None


def duration_us(said: Any) -> int | None:
    """Microseconds of a duration on the wire, which is in seconds; None for what is no duration (also below zero)."""
    if type(said) not in (int, float) or not 0 <= said < 1e10:
        return None
    seconds: float = said
    return round(seconds * 1_000_000)


def moment_us(said: object) -> int | None:
    """Microseconds of a time on the wire."""
    try:
        return parse_time_us(said) if isinstance(said, str) else None
    except ValueError:
        return None


def error(said: object) -> dict[str, Any] | None:
    """The error object; a bare sentence becomes its message."""
    if isinstance(said, dict):
        return said
    return {"message": said} if isinstance(said, str) and said else None


def mapping(said: object) -> dict[str, Any] | None:
    """The member if it is an object."""
    return said if isinstance(said, dict) else None


def strings(said: object) -> list[str] | None:
    """The strings of a list; None where there is no list."""
    return [item for item in said if isinstance(item, str)] if isinstance(said, list) else None
