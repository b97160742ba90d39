"""Where the records of a log with one partition stand once they were appended, in order, to a log with several. Pure.

Partitions of the other log begin at 0 and get nothing else meanwhile, so that the places are known beforehand. Used by
`keeping.move`, which checks that they came true.
"""

from array import array
from typing import Final

from monitor.events.model import NOWHERE, Place

_OFFSET_BITS: Final = 48


class Relocation:
    """Ten million records take 80 MB."""

    def __init__(self, start: int, partitions: int) -> None:
        """`start`: the first offset that is left of the old log."""
        self._start, self._ends = start, [0] * partitions
        self._places = array("Q")
        self._known: dict[int, dict[int, int]] = {}

    def add(self, partition: int) -> Place:
        """The place of the next record, whose key belongs to `partition`."""
        place = Place(partition, self._ends[partition])
        self._ends[partition] += 1
        self._places.append(partition << _OFFSET_BITS | place.offset)
        return place

    def of(self, old: Place) -> Place:
        """Where the record stands that stood there."""
        index = old.offset - self._start
        return self._unpacked(index) if 0 <= index < len(self._places) else Place(0, NOWHERE)

    @property
    def end(self) -> int:
        """The next offset of the old log."""
        return self._start + len(self._places)

    def ends(self, before: int) -> dict[int, int]:
        """The next offset of each partition when all old records below `before` are there."""
        at = max(0, min(before, self.end) - self._start)
        if at not in self._known:
            self._known[at] = self._ends_at(at)
        return self._known[at]

    def _ends_at(self, at: int) -> dict[int, int]:
        ends = dict.fromkeys(range(len(self._ends)), 0)
        left = {partition for partition, end in enumerate(self._ends) if end}
        while left and at:
            at -= 1
            partition, offset = self._unpacked(at)
            if partition in left:
                ends[partition] = offset + 1
                left.discard(partition)
        return ends

    def _unpacked(self, index: int) -> Place:
        packed = self._places[index]
        return Place(packed >> _OFFSET_BITS, packed & (1 << _OFFSET_BITS) - 1)
