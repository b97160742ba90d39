"""Where a consumer stands in one partition, and whether a batch continues from there."""

from dataclasses import dataclass
from enum import Enum, auto


class Trust(Enum):
    """How far a partition's next batch can be believed to begin where it should."""

    # Just sought: the client may still deliver from where it stood before.
    SOUGHT = auto()
    # Sought again, after a batch began elsewhere: the next one begins with the first record that there is.
    SOUGHT_AGAIN = auto()
    # Went on from there: what is left out now is no record (transaction markers, compaction).
    STEADY = auto()
    # Its expected record is gone, as was reported: it stands still until the caller reloads.
    CUT = auto()


@dataclass(slots=True)
class Reading:
    """The next offset that one partition owes us."""

    expected: int
    trust: Trust = Trust.SOUGHT
    # Where the client stood when it was last asked: it also passes what is no record.
    position: int = 0

    @property
    def reached(self) -> int:
        """Below it nothing is left to come."""
        return max(self.expected, self.position)

    def accepts(self, head: int) -> bool:
        """Whether a batch that begins at `head` continues this partition: nothing repeated, nothing left out."""
        may_skip = self.trust in {Trust.STEADY, Trust.SOUGHT_AGAIN}
        return self.trust is not Trust.CUT and (head == self.expected or (head > self.expected and may_skip))

    def went_on_to(self, next_offset: int) -> None:
        """Note that a batch was taken."""
        self.expected, self.trust = next_offset, Trust.STEADY
