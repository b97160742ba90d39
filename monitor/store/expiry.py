"""The part of the store port that forgets executions: which have been kept long enough, and what is left of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Erasure(NamedTuple):
    """A deleted execution of which the journal may still hold bytes."""

    key: int
    team: str
    id: str
    partition: int
    # Offsets of its records, the ones in between included.
    first: int
    last: int


class Sweep(NamedTuple):
    """A part of looking through the executions of a list, in the order in which they began."""

    # Executions that are found at most, and that are looked at.
    most: int
    looked_at: int
    # Behind this one, by when it began and its key.
    after: tuple[int, int] = (-1, 0)


class ExpiryReader(Protocol):
    """Questions about executions that have ended."""

    def lists(self) -> Mapping[tuple[str, str, str], int]:
        """How many executions there are by team, workflow and status, without deleted ones."""
        ...

    def ended_before(
        self, of: tuple[str, str, str], before_us: int, without_tag: str, page: Sweep
    ) -> tuple[Sequence[str], Sweep | None]:
        """Ids of executions of a team, workflow and final status that ended before, those that began first; a crash
        that is only presumed ended when it was changed last. Those with the tag are left out.

        Also says where to go on, so that nothing is looked at twice; None = that was all.
        """
        ...

    def erasures(self, limit: int) -> Sequence[Erasure]:
        """Deleted executions whose records are still to be blanked, those that came first."""
        ...


class ExpiryWriter(Protocol):
    """Changes to what is left of deleted executions."""

    def forget_tombstones(
        self, starts: Mapping[int, int], ended_before_us: int, after_key: int, limit: int
    ) -> tuple[int, int]:
        """Remove deleted executions whose records all stand below the journal's `starts` and that ended before, of the
        first `limit` behind `after_key`. Statistics stay, but for minutes, which are counted from executions. Returns
        how many, and the key up to which it looked; 0 = to the end.
        """
        ...

    def blank_releases(self, partition: int, offsets: Sequence[int]) -> None:
        """Take what the records at these offsets told out of what history keeps of them. Some tens at a time: the
        release of a whole batch is written anew for each.
        """
        ...

    def erased(self, erasures: Sequence[Erasure]) -> None:
        """Records of these up to `last` are blanked; of what came since, more is to be."""
        ...
