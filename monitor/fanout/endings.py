"""Endings: which followed executions have ended, and when nothing more can be expected of them.

A stream of one execution finishes once the execution has ended and its log is closed (`final`), or has been quiet for a
while: most producers never close it. What revokes an end (a presumed crash, a restart) takes it back here as well.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from monitor.clock import Clock
from monitor.projections.fold import ExecutionId, Release
from monitor.projections.status import is_final

if TYPE_CHECKING:
    from monitor.fanout.attachment import Attachment


@dataclass(slots=True)
class _Ending:
    followers: "set[Attachment]" = field(default_factory=set)
    # Final status, or `deleted`.
    status: str | None = None
    log_is_closed: bool = False
    # The latest life of the execution that was heard of, and when anything was.
    epoch: int = 0
    heard_s: float | None = None


class Endings:
    """Those executions that somebody follows to the end."""

    def __init__(self, clock: Clock, settle_s: float) -> None:
        """`settle_s`: how long a log is quiet before it counts as complete."""
        self._clock, self._settle_s = clock, settle_s
        self._followed: dict[ExecutionId, _Ending] = {}

    def __bool__(self) -> bool:
        return bool(self._followed)

    def follow(self, id_: ExecutionId, follower: "Attachment") -> None:
        """From now on `finish` of `follower` is called when that execution has ended."""
        self._followed.setdefault(id_, _Ending()).followers.add(follower)

    def unfollow(self, id_: ExecutionId, follower: "Attachment") -> None:
        """Undo `follow`. Safe to call twice."""
        ending = self._followed.get(id_)
        if ending is not None:
            ending.followers.discard(follower)
            if not ending.followers:
                del self._followed[id_]

    def found(self, id_: ExecutionId, status: str, quiet_s: float) -> None:
        """The store says that it has had `status` for `quiet_s` seconds; what was heard since counts more."""
        ending = self._followed.get(id_)
        if ending is not None and ending.heard_s is None and is_final(status):
            ending.status, ending.heard_s = status, self._clock.monotonic_s() - quiet_s
            self._check(ending)

    def note(self, release: Release) -> None:
        """Look at what was released."""
        event = release.event
        ending = self._followed.get((event.team, event.execution_id))
        if ending is None:
            return
        ending.heard_s = self._clock.monotonic_s()
        if event.epoch > ending.epoch:
            ending.epoch, ending.log_is_closed = event.epoch, False
        ending.log_is_closed |= event.type == "log.appended" and event.data.get("final") is True
        had_ended = ending.status is not None
        if event.type == "execution.deleted":
            ending.status, ending.log_is_closed = "deleted", True
        else:
            ending.status = release.status if is_final(release.status) else None
        if had_ended and ending.status is None:
            for follower in ending.followers:
                follower.finish(None)  # maybe it was told so, and has not read up to there
        self._check(ending)

    def check(self) -> None:
        """Finish what has been quiet for long enough: called about once a second."""
        for ending in tuple(self._followed.values()):
            self._check(ending)

    def _check(self, ending: _Ending) -> None:
        if ending.status is None or ending.heard_s is None:
            return
        if ending.log_is_closed or self._clock.monotonic_s() - ending.heard_s >= self._settle_s:
            for follower in ending.followers:
                follower.finish(ending.status)
