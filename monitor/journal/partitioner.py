"""Which partition a key belongs to, exactly as Kafka's Java client decides it.

The embedded journals use the same rule, so that a log keeps its order per execution when it moves to Kafka, and so that
producers of other makes that use murmur2 meet ours on the same partition.
"""

from functools import lru_cache
from struct import iter_unpack
from typing import Final

# MurmurHash2, 32 bit, little endian, with the seed of org.apache.kafka.common.utils.Utils.murmur2.
_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The unsigned 32-bit hash of `key`."""
    whole = len(key) & ~3
    state = _SEED ^ len(key)
    for (word,) in iter_unpack("<I", key[:whole]):
        mixed = word * _MULTIPLIER & _MASK
        mixed = (mixed ^ mixed >> 24) * _MULTIPLIER & _MASK
        state = state * _MULTIPLIER & _MASK ^ mixed
    if tail := key[whole:]:
        state = (state ^ int.from_bytes(tail, "little")) * _MULTIPLIER & _MASK
    state = (state ^ state >> 13) * _MULTIPLIER & _MASK
    return state ^ state >> 15


# The events of one execution come close together; 4096 keys of the usual 40 characters are half a megabyte.
@lru_cache(maxsize=4096)
def partition_for(key: bytes, partitions: int) -> int:
    """The partition, of `partitions` many, that keeps all entries with this key."""
    # Java has signed integers, and Kafka clears the sign bit instead of taking the absolute value.
    return (murmur2(key) & 0x7FFFFFFF) % partitions
