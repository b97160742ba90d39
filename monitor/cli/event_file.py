"""Events in a file or a pipe: a JSON array, one event a line (NDJSON), or a single event over several lines.

Promises: lines are passed on byte for byte and read one by one, so that a file may be larger than memory; what is no
event is left to the service's verdict, under its place in the file. Called by `monitor send`.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, Final, NamedTuple

import msgspec

from monitor.errors import InvalidRequest

BATCH_EVENTS: Final = 1000
"""Several hundred events share one commit of the journal; beyond a thousand nothing gets cheaper."""

BATCH_BYTES: Final = 2 << 20
"""Well below what one request may hold. A larger event goes alone, for the service to judge."""


class Item(NamedTuple):
    """What should be an event: its bytes on one line, and where they stand (`file:line`, or `file[index]`)."""

    place: str
    raw: bytes


def read_items(name: str, file: BinaryIO) -> Iterator[Item]:
    """The items of `file` in order; empty lines are no items. Raises InvalidRequest for an array that is no JSON."""
    number, first = _first_line(file)
    if first.lstrip().startswith(b"["):
        yield from _items_of_array(name, first + file.read())
    elif _is_json(first):
        yield from _items_of_lines(name, number, chain([first], file))
    else:
        rest = file.read()
        whole = first + rest
        if _is_json(whole):
            yield Item(f"{name}:{number}", _on_one_line(whole))
        else:
            yield from _items_of_lines(name, number, whole.splitlines())


def batched(items: Iterable[Item]) -> Iterator[list[Item]]:
    """`items` in order, in groups that fit one request; none is empty."""
    batch: list[Item] = []
    size_bytes = 0
    for item in items:
        if batch and (len(batch) == BATCH_EVENTS or size_bytes + len(item.raw) > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += len(item.raw)
    if batch:
        yield batch


def _first_line(file: BinaryIO) -> tuple[int, bytes]:
    """Number and bytes of the first line that is not empty; no bytes for an empty file."""
    for number, line in enumerate(file, 1):
        if line.strip():
            return number, line
    return 1, b""


def _items_of_lines(name: str, first: int, lines: Iterable[bytes]) -> Iterator[Item]:
    for number, line in enumerate(lines, first):
        if line.strip():
            yield Item(f"{name}:{number}", line.strip())


def _items_of_array(name: str, whole: bytes) -> Iterator[Item]:
    try:
        items = msgspec.json.decode(whole, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{name} begins like a JSON array and is none: {error}") from None
    for index, raw in enumerate(items):
        yield Item(f"{name}[{index}]", _on_one_line(bytes(raw)))


def _on_one_line(raw: bytes) -> bytes:
    return msgspec.json.format(raw, indent=-1)


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
