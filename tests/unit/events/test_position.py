"""Positions are sets of records: a lattice under union, and bytes that read back exactly or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.access.positions import open_position, position_token
from monitor.access.sealing import Sealer
from monitor.errors import InvalidPosition
from monitor.events.position import Position, beginning, from_bytes, to_bytes

LIFE = "0123456789ab"
PARTITIONS = 3
OFFSETS = st.integers(0, (1 << 63) - 1)
POSITIONS = st.tuples(*[st.integers(0, 5)] * PARTITIONS).map(lambda offsets: Position(LIFE, offsets))


@given(POSITIONS, POSITIONS, POSITIONS)
def test_union_is_that_of_a_lattice(a: Position, b: Position, c: Position) -> None:
    """Commutative, associative, idempotent; the beginning adds nothing."""
    assert a.merged(b) == b.merged(a)
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
    assert a.merged(a) == a
    assert a.merged(beginning(LIFE, PARTITIONS)) == a


@given(POSITIONS, POSITIONS)
def test_containment_follows_from_union(a: Position, b: Position) -> None:
    """One set includes another exactly when their union is itself, and when it covers each of its records."""
    assert a.includes(b) is (a.merged(b) == a)
    records = [(partition, offset) for partition in range(PARTITIONS) for offset in range(5)]
    assert a.includes(b) is all(a.covers(*place) for place in records if b.covers(*place))


@given(POSITIONS, st.integers(0, PARTITIONS - 1), st.integers(0, 9))
def test_advancing_covers_everything_below(position: Position, partition: int, next_offset: int) -> None:
    """It never goes back, and touches one partition."""
    advanced = position.advanced(partition, next_offset)
    assert advanced.includes(position)
    assert next_offset == 0 or advanced.covers(partition, next_offset - 1)
    assert advanced.covers(partition, next_offset) is position.covers(partition, next_offset)
    others = [index for index in range(PARTITIONS) if index != partition]
    assert all(advanced.offsets[index] == position.offsets[index] for index in others)


@pytest.mark.parametrize("other", [Position("ba9876543210", (0, 0, 0)), Position(LIFE, (0, 0))])
def test_positions_of_two_lives_do_not_compare(other: Position) -> None:
    """Another journal, or the same with other partitions."""
    position = beginning(LIFE, PARTITIONS)
    with pytest.raises(ValueError, match="two incarnations"):
        position.merged(other)
    with pytest.raises(ValueError, match="two incarnations"):
        position.includes(other)


@given(st.binary(min_size=6, max_size=6), st.lists(OFFSETS, min_size=1, max_size=40))
def test_bytes_read_back(incarnation: bytes, offsets: list[int]) -> None:
    """Whatever the offsets, up to the largest that a journal can have."""
    position = Position(incarnation.hex(), tuple(offsets))
    assert from_bytes(to_bytes(position)) == position


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda rest: b"\x01" + bytes(6) + rest))
def test_other_bytes_are_refused(raw: bytes) -> None:
    """There is one spelling of each position: what reads at all is what would be written."""
    try:
        position = from_bytes(raw)
    except InvalidPosition:
        return
    assert to_bytes(position) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01" + bytes(6),
        b"\x02" + bytes(6) + b"\x01\x05",
        b"\x01" + bytes(6) + b"\x02\x05",
        b"\x01" + bytes(6) + b"\x01\x05\x05",
        b"\x01" + bytes(6) + b"\x01\x85",
        b"\x01" + bytes(6) + b"\x01\x85\x00",
        b"\x01" + bytes(6) + b"\x01" + b"\xff" * 9 + b"\x01",
        b"\x01" + bytes(6) + b"\x01" + b"\xff" * 1000,
        b"\x01" + bytes(6) + b"\xff" * 8 + b"\x7f",
    ],
    ids=("nothing", "cut", "version", "short", "long", "open", "padded", "64 bits", "endless", "count"),
)
def test_hostile_bytes_are_refused(raw: bytes) -> None:
    """Quickly, and with the one error that callers expect."""
    with pytest.raises(InvalidPosition):
        from_bytes(raw)


def test_a_token_of_twelve_partitions_fits_128_characters() -> None:
    """With two million million records in each."""
    position = Position(LIFE, ((1 << 41) - 1,) * 12)
    sealer = Sealer(bytes(32))
    token = position_token(sealer, position)
    assert len(token) <= 128
    assert open_position(sealer, token) == position
