"""Keys go where Kafka's Java client would send them."""

import pytest
from aiokafka.partitioner import murmur2 as their_murmur2
from hypothesis import given
from hypothesis import strategies as st

from monitor.journal.partitioner import murmur2, partition_for


# org.apache.kafka.common.utils.UtilsTest.testMurmur2, signed there.
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_agrees_with_the_java_client(key: bytes, expected: int) -> None:
    """The vectors of Kafka's own test."""
    assert expected % 2**32 == murmur2(key)


@given(st.binary(max_size=300))
def test_murmur2_agrees_with_another_implementation(key: bytes) -> None:
    """Any bytes hash as aiokafka hashes them."""
    assert their_murmur2(key) == murmur2(key)


@given(st.binary(max_size=50), st.integers(1, 1000))
def test_partition_exists(key: bytes, partitions: int) -> None:
    """Hashes with the sign bit set stay in the range, too."""
    assert partition_for(key, partitions) in range(partitions)
