"""What one client of the soak was told, in the form in which it can be held against the journal.

A stretch is what came between two positions under one subscription. It begins where the service says that everything
wanted is delivered from; the next one must begin where it ends, unless a loss was announced.
"""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.soak.telling import Told
from tests.support.soak.wanted import Wanted
from tests.support.soak.wires import Frame


class Shown(NamedTuple):
    """A snapshot."""

    # Versions of its executions.
    rows: Mapping[str, int]
    # Whether it shows the moment of its position; one that is for an added subscription may be newer.
    is_cut: bool
    # Whether it shows everything in flight.
    is_active: bool


@dataclass(slots=True)
class Stretch:
    """Everything that was delivered from one position to another."""

    wanted: Wanted
    begins: str
    # How many events had been told when its beginning was.
    told: int
    # The loss that was announced before it, by the name of its frame; None = it goes on where the last one ended.
    loss: str | None
    shown: Shown | None = None
    ends: str = ""
    # Whether it ended with its connection.
    is_cut: bool = False
    # Numbers of the events, and the version of the execution behind each.
    events: "array[int]" = field(default_factory=lambda: array("I"))
    versions: "array[int]" = field(default_factory=lambda: array("Q"))
    # Ids of the events that the service concluded itself.
    derived: list[str] = field(default_factory=list)
    # Numbers of log lines.
    lines: "array[int]" = field(default_factory=lambda: array("Q"))


class Diary:
    """Kept by a client with every frame that it reads."""

    def __init__(self, told: Told) -> None:
        self.stretches: list[Stretch] = []
        self.counts: Counter[str] = Counter()
        self.gaps: dict[str, int] = {}
        """Addresses of log lines that were left out, and how many."""
        self.complaints: list[str] = []
        """What a client may not be sent."""
        self._told = told
        self._open: Stretch | None = None

    @property
    def is_open(self) -> bool:
        """Whether everything wanted is being delivered."""
        return self._open is not None

    def begin(self, wanted: Wanted, position: str, loss: str | None, shown: Shown | None) -> None:
        """A stretch begins. The one before was ended."""
        assert self._open is None
        self._open = Stretch(wanted, position, self._told.count, loss, shown)
        self.stretches.append(self._open)
        self.counts["snapshot rows"] += len(shown.rows) if shown is not None else 0

    def end(self, position: str | None, *, is_cut: bool) -> None:
        """The stretch ends, if there is one."""
        if self._open is not None:
            assert position is not None
            self._open.ends, self._open.is_cut = position, is_cut
            self._open = None

    def take(self, frame: Frame) -> None:
        """An event was read."""
        stretch = self._open
        if stretch is None:
            self.complaints.append(f"{frame['type']} before anything was subscribed")
            return
        number = self._told.numbers.get(frame["id"])
        if number is None:
            stretch.derived.append(frame["id"])
        else:
            stretch.events.append(number)
            stretch.versions.append(frame["version"])
        if frame["type"] == "log.appended":
            stretch.lines.extend(self._told.line_number(line["message"]) for line in frame["data"]["lines"])

    def omit(self, frame: Frame) -> None:
        """Log lines were left out; an address returns them."""
        self.gaps[frame["href"]] = self.gaps.get(frame["href"], 0) + frame["count"]
