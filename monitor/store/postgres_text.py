"""Text on its way to PostgreSQL and back: what it refuses is told in other words, and read as it was.

It knows no character 0, which events may hold. So that is stored as character 1 and `0`, and character 1 as itself and
`1`: every text that has none of the two stays as it is, and all of them keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psycopg

_SIGN: Final = "\x01"


def to_stored(text: str) -> str:
    """As PostgreSQL takes it."""
    if "\x00" not in text and _SIGN not in text:
        return text
    return text.replace(_SIGN, "\x011").replace("\x00", "\x010")


def from_stored(text: str) -> str:
    """The inverse of `to_stored`."""
    if _SIGN not in text:
        return text
    return text.replace("\x010", "\x00").replace("\x011", _SIGN)


def adapt(connection: psycopg.Connection[Any]) -> None:
    """Have a connection carry every text so; and sums, which are `numeric` there, come as integers."""
    dumper, loaders = _adapters()
    connection.adapters.register_dumper(str, dumper)
    for name, loader in loaders:
        connection.adapters.register_loader(name, loader)


@cache
def _adapters() -> tuple[type[Any], Sequence[tuple[str, type[Any]]]]:
    from psycopg.adapt import Loader  # noqa: PLC0415 - the driver loads only where it is used
    from psycopg.pq import Format  # noqa: PLC0415
    from psycopg.types.string import StrDumperUnknown  # noqa: PLC0415

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> bytes | bytearray | memoryview | None:
            return to_stored(obj).encode()

    class TextLoader(Loader):
        def load(self, data: Any) -> str:
            return from_stored(bytes(data).decode())

    class NumberLoader(Loader):
        def load(self, data: Any) -> int | float:
            said = bytes(data)
            return float(said) if b"." in said else int(said)

    class BinaryTextLoader(TextLoader):
        format = Format.BINARY

    texts = [(name, loader) for name in ("text", "varchar") for loader in (TextLoader, BinaryTextLoader)]
    return Dumper, (*texts, ("numeric", NumberLoader))
