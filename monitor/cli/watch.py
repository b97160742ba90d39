"""What a follower knows of its execution, and what each frame and each answer of REST means for it.

Pure. Promises: nothing is told twice, whether it comes by stream, by REST or by both: frames are known by id and
version, runs of nodes by their status, log lines by what they say. Called by `follow`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import msgspec

from monitor.cli.frame_line import log_lines_in
from monitor.cli.frames import Frame
from monitor.cli.told_lines import ToldLines
from monitor.events.codec import parse_time_us
from monitor.events.types import TYPES, reported_status
from monitor.projections.status import is_final

SETTLED_S: Final = 2.0
"""How long an execution that has ended must have been quiet: as long as the service itself waits for last log lines."""

SETTLED_PRESUMED_S: Final = 30.0
"""The same for a crash that is only presumed: a worker that was cut off comes back within half a minute or not."""

_REMEMBERED_FRAMES: Final = 10_000
"""Frames come twice when a connection broke between them: the last few would do."""

_REMEMBERED_NODES: Final = 10_000

NodeKey = tuple[int, str, int, int]
"""Epoch, node, iteration, attempt."""


class Step(Enum):
    """What to do about a frame."""

    SKIP = "it says nothing new"
    SHOW = "tell it"
    FETCH = "tell it, and get the log lines that it left out"
    REFRESH = "tell it if it is no snapshot, and ask REST for everything: the stream has left something out"
    END = "tell it: the execution has ended, and nothing follows"


_STEPS: Final = {
    "stream.gap": Step.REFRESH,
    "stream.reset": Step.REFRESH,
    "stream.log-gap": Step.FETCH,
    "stream.end": Step.END,
    "stream.slow": Step.SHOW,
    "stream.stale": Step.SHOW,
    "stream.fresh": Step.SHOW,
}


class Watch:
    """One execution's. `take` is called with every frame, `judge` with every answer of REST."""

    def __init__(self) -> None:
        # As told last.
        self.version, self.status = 0, ""
        self.is_provisional = False
        # Whether the stream cannot tell everything from where it stands: REST has to, before it goes on.
        self.is_behind = True
        # REST said that it has ended, and the stream did not yet.
        self.is_overdue = False
        self._frames: OrderedDict[str, None] = OrderedDict()
        self._nodes: OrderedDict[NodeKey, str] = OrderedDict()
        self.lines = ToldLines()

    @property
    def is_known(self) -> bool:
        """Whether the execution was there at some time."""
        return self.version > 0

    @property
    def is_ending(self) -> bool:
        """Whether nothing but last words is expected: silence now is the end."""
        return self.is_overdue or is_final(self.status)

    def take(self, frame: Frame) -> tuple[Step, Frame]:
        """What to do about `frame`, and what of it is news."""
        if frame.type == "stream.snapshot":
            return (self._refresh() if frame.version > self.version else Step.SKIP), frame
        if not frame.is_event:
            step = _STEPS.get(frame.type, Step.SKIP)
            is_lost = step is Step.REFRESH or (step is Step.FETCH and not frame.href.startswith("/"))
            return (self._refresh() if is_lost else step), frame
        if frame.version < self.version or (frame.id or "") in self._frames:
            return Step.SKIP, frame
        self._note(frame)
        if frame.type == "execution.deleted":
            # REST shows it no more; what that means is decided there.
            return self._refresh(), frame
        return self._news(frame) if frame.type == "log.appended" else (Step.SHOW, frame)

    def ended(self, frame: Frame) -> str | None:
        """The status with which `stream.end` says that all is over; None when REST has to confirm it."""
        if is_final(frame.status) and not self.is_provisional:
            return frame.status
        self._refresh()
        return None

    def judge(self, execution: Mapping[str, Any], now_us: int) -> str | None:
        """The status with which all is over, by what REST says; None while more is to come.

        `now_us` is the service's own time. When the stream has not told the end yet it gets one more chance; after
        that `is_behind` asks for the rest by REST.
        """
        status = str(execution.get("status", ""))
        if not is_final(status):
            self.is_overdue = False
            return None
        if not _is_settled(execution, now_us):
            return None
        if is_final(self.status):
            return status
        if self.is_overdue:
            self._refresh()
        self.is_overdue = True
        return None

    def catch_up(self, execution: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Take over what REST shows; returns the runs of nodes that are news."""
        self.version = int(execution.get("version", 0))
        self.status = str(execution.get("status", ""))
        self.is_provisional = execution.get("provisional") is True
        epoch = int(execution.get("epoch", 0))
        runs = execution.get("executionData") or []
        return [run for run in runs if self._note_node(node_key(epoch, run), str(run.get("status", "")))]

    def _refresh(self) -> Step:
        self.is_behind = True
        return Step.REFRESH

    def _note(self, frame: Frame) -> None:
        assert frame.state is not None, "an event has a state"
        self.version, self.status = frame.version, frame.state.status
        if frame.type.startswith("execution."):
            self.is_provisional = frame.state.status == "crashed" and frame.data.get("provisional") is True
        if frame.id:
            self._frames[frame.id] = None
            if len(self._frames) > _REMEMBERED_FRAMES:
                self._frames.popitem(last=False)
        if status := node_status(frame):
            self._note_node(node_key(frame.epoch, frame.data), status)

    def _news(self, frame: Frame) -> tuple[Step, Frame]:
        lines = self.lines.told(frame)
        if len(lines) == len(log_lines_in(frame)):
            return Step.SHOW, frame
        news = msgspec.structs.replace(frame, data={**frame.data, "lines": lines})
        return (Step.SHOW if lines else Step.SKIP), news

    def _note_node(self, key: NodeKey, status: str) -> bool:
        """Whether that is news."""
        is_news = self._nodes.get(key) != status
        self._nodes[key] = status
        if len(self._nodes) > _REMEMBERED_NODES:
            self._nodes.popitem(last=False)
        return is_news


def node_key(epoch: int, run: Mapping[str, Any]) -> NodeKey:
    """Which run of a node an event or an answer tells of."""
    iteration, attempt = run.get("iteration"), run.get("attempt")
    return (
        epoch,
        str(run.get("nodeId", "")),
        iteration if isinstance(iteration, int) else 0,
        attempt if isinstance(attempt, int) else 1,
    )


def node_status(frame: Frame) -> str | None:
    """The status of the node that an event tells of; None for events that tell of none."""
    kind = TYPES.get(frame.type)
    return reported_status(kind, frame.data.get("status")) if kind and kind.family == "node" else None


def _is_settled(execution: Mapping[str, Any], now_us: int) -> bool:
    """Whether what ended has been quiet for long enough that nothing more is to be expected."""
    quiet_s = SETTLED_PRESUMED_S if execution.get("provisional") is True else SETTLED_S
    try:
        return now_us - parse_time_us(str(execution.get("updatedAt"))) >= quiet_s * 1_000_000
    except ValueError:
        return True
