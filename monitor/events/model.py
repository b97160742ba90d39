"""The words that every room shares: a record of the journal, the event inside it, and the poison that is none.

Wire names and shapes are those of the canonical JSON event: `type`, `executionId`, `timestamp` are required, all else
is optional. Times inside the service are integers: microseconds since 1970-01-01 UTC, named `..._us`.
"""

from typing import Any, Final, NamedTuple

import msgspec

MAX_EVENT_BYTES: Final = 1 << 20
"""One event on any door: 1 MiB, the usual ceiling of a Kafka message."""

MAX_ID_CHARACTERS: Final = 256

DEFAULT_TEAM: Final = "default"

TEAM_HEADER: Final = "monitor-team"
"""Journal header with the team that an entry came in for; believed only where this service alone can append."""


class Entry(NamedTuple):
    """Bytes on their way into the journal. Entries with one `key` keep their order."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    # When another journal took it, in microseconds, which a topic keeps to the millisecond; None: it is new.
    stored_us: int | None = None


class Original(NamedTuple):
    """What is known of the bytes in whose place a blank stands."""

    # CRC-32 of the producer's bytes.
    checksum: int
    # Of the record, as `blanking.anchor_of` makes it.
    anchor: bytes


class Record(NamedTuple):
    """Event bytes at their place in the journal, exactly as the producer wrote them, unless they were blanked."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    # When the journal took it (Kafka: the record's timestamp); microseconds.
    stored_us: int
    # Of a blank, see `events/blanking`; only a journal that this service alone writes has any.
    original: Original | None = None


NOWHERE: Final = -1
"""The offset of what no journal holds any more: below all that are."""


class Place(NamedTuple):
    """Where a record stands in the journal, or stood."""

    partition: int
    # NOWHERE for one that was gone from an earlier journal before the rest was moved to this one.
    offset: int


class Refusal(Exception):
    """Why bytes are no event: a stable word, the member at fault, a sentence. `codec.decode` turns it into a Poison."""

    def __init__(self, reason: str, field: str | None, message: str) -> None:
        super().__init__(message)
        self.reason, self.field, self.message = reason, field, message


class Event(msgspec.Struct, frozen=True, gc=False):
    """An immutable fact about one execution, decoded and checked."""

    record: Record
    team: str
    type: str
    execution_id: str
    # None where the producer left it out: the execution's own workflow then holds.
    workflow_id: str | None
    time_us: int
    # As the producer wrote it.
    timestamp: str
    id: str
    # 16 bytes that stand for `id` in the duplicates check; their first 8 break ties of order.
    digest: bytes
    # CRC-32 of the producer's bytes: tells a repeat from another event under the same id.
    checksum: int
    source: str
    # Dense per (source, execution, epoch) from 1; 0 = the producer does not count.
    sequence: int
    epoch: int
    backfill: bool
    data: dict[str, Any]
    traceparent: str | None = None
    tracestate: str | None = None


class Poison(msgspec.Struct, frozen=True, gc=False):
    """A record that holds no event. It is quarantined with these words and its bytes."""

    record: Record
    # Stable word: malformed_json, invalid_field, missing_field, too_large, empty, forbidden_type, id_reused ...
    reason: str
    # Name of the offending member, where there is one.
    field: str | None
    message: str
    # Whose it is, where that can be told; else those who run the service look after it.
    team: str = DEFAULT_TEAM
