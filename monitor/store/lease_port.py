"""The store port's part for leases: who of several processes does what one alone should do."""

from typing import NamedTuple, Protocol


class Lease(NamedTuple):
    """Who holds something, and until when unless it is renewed."""

    holder: str
    until_us: int


class LeaseReader(Protocol):
    """Questions about leases."""

    def lease(self, name: str) -> Lease | None:
        """Who has it, or had it last; None when nobody ever did, or gave it back."""
        ...


class LeaseWriter(LeaseReader, Protocol):
    """Taking leases, renewing them and giving them back."""

    def take_lease(self, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        """Have it until `until_us`, whether for the first time or once more; False while somebody else has it.

        One that ended before `now_us`, or at it, is anybody's.
        """
        ...

    def give_back_lease(self, name: str, holder: str) -> None:
        """Let others have it at once. Whoever does not hold it changes nothing."""
        ...

    def forget_leases(self, before_us: int) -> int:
        """Remove those that ended before `before_us`, and nobody renewed; returns how many."""
        ...
