"""The part of the store port that holds what could not be applied, and what people decided about it. Ledger.

A commit puts records here (`Changes.poison`), as does `pass_cut`; nothing takes them away again. It also halts
partitions (`Commit.halts`): nothing moves one that stands still, whoever tries, until somebody lets it go on.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from monitor.projections.bursts import Halt

Decision = Literal["accepted", "replayed"]
"""What was decided about a record: it is left out for good, or its bytes were put into the journal once more."""


RETENTION_CUT: Final = "retention_cut"
"""The reason of records that were gone before anybody read them."""


class QuarantineRow(NamedTuple):
    """A record that could not be applied, without its bytes."""

    id: int
    team: str
    partition: int
    offset: int
    stored_us: int
    # A stable word, the member at fault where there is one, and a sentence.
    reason: str
    field: str | None
    message: str
    # None while nobody has decided.
    decision: Decision | None
    decided_us: int | None
    decided_by: str | None
    # Of its value; None where it has none.
    size_bytes: int | None


class Quarantined(NamedTuple):
    """The same with its bytes, as they came."""

    row: QuarantineRow
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class QuarantineQuery(NamedTuple):
    """Which records; every test that is None lets all of them through."""

    team: str | None = None
    reason: str | None = None
    partition: int | None = None
    is_decided: bool | None = None
    decision: Decision | None = None
    # When the journal took them: from `since_us` up to, not including, `until_us`.
    since_us: int | None = None
    until_us: int | None = None
    # Only those with smaller ids.
    before_id: int | None = None


EVERYTHING: Final = QuarantineQuery()


class HaltRow(NamedTuple):
    """That a partition halted, the last time it did."""

    halt: Halt
    # From here on records without an event count again; None while it stands still.
    until: int | None = None
    resumed_us: int | None = None
    resumed_by: str | None = None

    @property
    def stands(self) -> bool:
        """Whether the partition stands still."""
        return self.until is None


class QuarantineReader(Protocol):
    """Questions about what could not be applied."""

    def quarantine(self, limit: int, query: QuarantineQuery = EVERYTHING) -> Sequence[QuarantineRow]:
        """The latest records that fit, newest first."""
        ...

    def quarantined(self, id_: int) -> Quarantined | None:
        """One record with its bytes, of whatever team; None when there is none."""
        ...

    def undecided(self) -> int:
        """How many records nobody has decided about."""
        ...

    def undecided_in(self, partition: int, start: int) -> Sequence[int]:
        """Offsets from `start` on of a partition's records that nobody has decided about, growing; without what
        is no part of a burst.
        """
        ...

    def halts(self) -> Mapping[int, HaltRow]:
        """Every partition that halted, also those that go on."""
        ...


class QuarantineWriter(QuarantineReader, Protocol):
    """Decisions."""

    def decide(self, id_: int, decision: Decision, decided_us: int, decided_by: str) -> None:
        """Note what was decided about a record, in place of what was before."""
        ...

    def resume(self, partition: int, until: int, resumed_us: int, resumed_by: str) -> int:
        """Let a partition go on that stands still; returns how many records of its burst that accepts.

        Those are the undecided ones from the burst's first on. Of the records below `until` none counts any more: what
        of them holds no event is accepted as it is quarantined.
        """
        ...
