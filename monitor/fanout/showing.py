"""What one client is still to be shown: snapshots due, one after the other, and how far the first of them is sent."""

from collections.abc import Sequence
from typing import NamedTuple

from monitor.events.position import Position
from monitor.fanout.channels import SnapshotWish, Subscription
from monitor.fanout.snapshots import Rows, Snapshot, Snapshots
from monitor.fanout.wires import Wire


class Due(NamedTuple):
    """A snapshot that is to be sent before anything else."""

    shown: frozenset[Subscription]
    wish: SnapshotWish
    # What the client has beside what the snapshot shows; None = nothing that counts.
    has: Position | None = None
    # Whether the connection's position stays where it is: other subscriptions depend on it.
    stays: bool = False


class Showing:
    """The snapshots due on one connection."""

    def __init__(self, snapshots: Snapshots, team: str, wire: Wire) -> None:
        self.due: list[Due] = []
        self._snapshots, self._team, self._wire = snapshots, team, wire
        self._snapshot: Snapshot | None = None
        self._sent_frames = 0

    @property
    def has_position(self) -> bool:
        """Whether the connection's position counts already, though something is still to be shown."""
        return all(due.stays for due in self.due)

    def keep(
        self,
        due: Sequence[Due],
        wanted: frozenset[Subscription] = frozenset(),
        new: frozenset[Subscription] = frozenset(),
    ) -> None:
        """Only `due` is still to be shown, as far as it is `wanted`; `new` subscriptions stand in for the others."""
        kept = [each._replace(shown=shown) for each in due if (shown := _still(each.shown, wanted, new))]
        if self._snapshot is not None and kept[:1] != self.due[:1]:
            self._snapshots.give_back(self._snapshot)
            self._snapshot = None
        self.due = kept

    async def read(self, position: Position, base: Position) -> None:
        """Read the first snapshot that is due, unless that is done. Raises StoreUnavailable.

        The connection stands at `position`; what lies behind `base` costs no query.
        """
        due = self.due[0]
        if self._snapshot is not None:
            return
        at_least = position if due.stays else base if due.has is None else due.has.merged(base)
        snapshot = await self._snapshots.take(self._team, due.shown, due.wish, self._wire, at_least)
        if self.due[:1] == [due] and self._snapshot is None:
            self._snapshot, self._sent_frames = snapshot, 0
        else:  # not wanted any more
            self._snapshots.give_back(snapshot)

    def take(self, limit_bytes: int) -> tuple[list[bytes], Rows | None]:
        """The next frames of what was read, about `limit_bytes` of them; with the last ones, all that it brought."""
        if self._snapshot is None:
            return [], None
        rows, frames, size_bytes = self._snapshot.rows, list[bytes](), 0
        while self._sent_frames < len(rows.frames) and size_bytes < limit_bytes:
            frames.append(rows.frames[self._sent_frames])
            size_bytes += len(frames[-1])
            self._sent_frames += 1
        return frames, rows if self._sent_frames == len(rows.frames) else None

    def done(self) -> Due:
        """The first snapshot is sent."""
        due = self.due[0]
        assert self._snapshot is not None
        self._snapshots.give_back(self._snapshot)
        self._snapshot = None
        self.due = self.due[1:]
        return due


def _still(
    shown: frozenset[Subscription], wanted: frozenset[Subscription], new: frozenset[Subscription]
) -> frozenset[Subscription]:
    """What is altered before it was shown is shown as it is then: its owner still waits for it."""
    return shown & wanted | (new if shown - wanted else frozenset())
