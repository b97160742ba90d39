"""Positions: how far somebody has read the journal, as a set of records.

A position is the journal's incarnation and, for every partition, the next offset: it covers each record below.
Positions of one incarnation form a lattice: `merged` is the union, `includes` asks for containment. Ingest answers
name only the partitions that they touched; the others stand at 0, which covers nothing and delays nobody. The bytes
made here are sealed before strangers see them (`access/sealing`).
"""

from typing import Final, NamedTuple

from monitor.errors import InvalidPosition

_VERSION: Final = 1
INCARNATION_BYTES: Final = 6
"""48 bits name a journal's life: few, because every frame carries them; never guessed, because tokens are sealed."""

_LARGEST_OFFSET: Final = (1 << 63) - 1


class Position(NamedTuple):
    """Every record of `incarnation` below `offsets[partition]`."""

    incarnation: str
    offsets: tuple[int, ...]

    def covers(self, partition: int, offset: int) -> bool:
        """Whether the record at `offset` of `partition` is in the set."""
        return offset < self.offsets[partition]

    def includes(self, other: "Position") -> bool:
        """Whether every record of `other` is in this set too. Raises ValueError across incarnations."""
        self._require_comparable(other)
        return all(mine >= theirs for mine, theirs in zip(self.offsets, other.offsets, strict=True))

    def merged(self, other: "Position") -> "Position":
        """The union of both sets. Raises ValueError across incarnations."""
        self._require_comparable(other)
        return Position(self.incarnation, tuple(map(max, self.offsets, other.offsets)))

    def advanced(self, partition: int, next_offset: int) -> "Position":
        """This set and every record of `partition` below `next_offset`."""
        if next_offset <= self.offsets[partition]:
            return self
        offsets = list(self.offsets)
        offsets[partition] = next_offset
        return Position(self.incarnation, tuple(offsets))

    def is_comparable(self, other: "Position") -> bool:
        """Whether both are of one journal's life."""
        return self.incarnation == other.incarnation and len(self.offsets) == len(other.offsets)

    def _require_comparable(self, other: "Position") -> None:
        if not self.is_comparable(other):
            raise ValueError("positions of two incarnations cannot be compared")


def beginning(incarnation: str, partitions: int) -> Position:
    """The empty set: nothing read yet."""
    return Position(incarnation, (0,) * partitions)


def to_bytes(position: Position) -> bytes:
    """Compact form: version, incarnation, partition count and one variable-length integer (LEB128) per partition."""
    out = bytearray((_VERSION,))
    out += bytes.fromhex(position.incarnation)
    for number in (len(position.offsets), *position.offsets):
        _put_varint(out, number)
    return bytes(out)


def from_bytes(raw: bytes) -> Position:
    """The inverse of `to_bytes`. Raises InvalidPosition for anything that it did not write."""
    start = 1 + INCARNATION_BYTES
    if len(raw) <= start or raw[0] != _VERSION:
        raise InvalidPosition
    count, at = _take_varint(raw, start)
    offsets = []
    for _ in range(count):
        number, at = _take_varint(raw, at)
        offsets.append(number)
    position = Position(raw[1:start].hex(), tuple(offsets))
    # Also refuses rests, and numbers that are spelled longer than need be.
    if to_bytes(position) != raw:
        raise InvalidPosition
    return position


def _put_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _take_varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(raw) or number > _LARGEST_OFFSET:
            raise InvalidPosition
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80 and number <= _LARGEST_OFFSET:
            return number, at
        shift += 7
