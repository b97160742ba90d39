"""A slice: the frames that go out together, of which those that outdo each other become one.

Lifecycle frames pass as they are. Of the progress of one execution or node the latest stays, unless something happened
to the execution in between. Log lines that follow each other share a frame, and those beyond the budget become a
`stream.log-gap` that names them. Slower readers have longer slices, so they get less of what can be done without.

Every prefix of a slice is safe to be cut off after: what a token claims was sent, or is outdone by a later frame; a gap
stands where its first line would.
"""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from monitor.events.codec import format_time
from monitor.events.model import Event
from monitor.events.payloads import without_payloads
from monitor.fanout.controls import LogGap
from monitor.fanout.frames import Cut, Entry, Frame, encode_body
from monitor.fanout.wires import Wire
from monitor.projections.loglines import read_lines

MAX_LINES: Final = 256
"""Log lines of one execution in one slice: with a slice every few milliseconds, more than anybody reads."""

MAX_LINE_BYTES: Final = 32 * 1024
"""And their bytes: half a chunk, so that a talkative execution never keeps the others out."""


class _Latest:
    """The latest of some progress frames."""

    def __init__(self, frame: Frame, token: str) -> None:
        self.frame, self.token, self.coalesced = frame, token, 1

    def encoded(self, wire: Wire) -> bytes:
        return self.frame.encoded_at(wire, self.token, self.coalesced)


class _Lines:
    """Log events of one execution, one behind the other."""

    def __init__(self, frame: Frame, token: str) -> None:
        self.frames, self.token = [frame], token

    def encoded(self, wire: Wire) -> bytes:
        last = self.frames[-1]
        if len(self.frames) == 1:
            return last.encoded_at(wire, self.token)
        events = [frame.release.event for frame in self.frames]
        data = {**events[-1].data, "lines": [line for event in events for line in _whole_lines(event)]}
        data.pop("nodeId", None)
        if any(event.data.get("final") is True for event in events):
            data["final"] = True
        shown = data if wire.shows_payloads else without_payloads(data)
        body = b'%b,"coalesced":%d' % (encode_body(last.release, shown), len(events))
        return wire.event("log.appended", body, self.token)


def _whole_lines(event: Event) -> Iterator[dict[str, Any]]:
    """The lines of an event as they are without it: what they left to it stands in each of them."""
    left_to_it = {"timestamp": event.timestamp}
    if "nodeId" in event.data:
        left_to_it["nodeId"] = event.data["nodeId"]
    for line in event.data["lines"]:
        yield left_to_it | line


class _Omitted:
    """Log lines that are left out."""

    def __init__(self, execution_id: str, token: str) -> None:
        self.execution_id, self.token = execution_id, token
        self.times_us: list[int] = []

    def encoded(self, wire: Wire) -> bytes:
        first, last = format_time(min(self.times_us)), format_time(max(self.times_us))
        href = f"/v1/executions/{quote(self.execution_id, safe='')}/logs?from={first}&to={last}&limit=1000"
        members: LogGap = {
            "executionId": self.execution_id,
            "count": len(self.times_us),
            "from": first,
            "to": last,
            "href": href,
        }
        return wire.control("stream.log-gap", members, self.token)


class _Budget:
    """What an execution's log took of the slice, and the gap once that is too much."""

    def __init__(self) -> None:
        self.lines = self.size_bytes = 0
        self.omitted: _Omitted | None = None


class Slice:
    """Collects the frames of one chunk. Events are of one team."""

    def __init__(self) -> None:
        # How much `frames` will make of it, about.
        self.size_bytes = 0
        # Frames that were merged into a later one, and log lines left out.
        self.merged = self.omitted_lines = 0
        self._parts: list[bytes | _Latest | _Lines | _Omitted | None] = []
        self._latest: dict[str, dict[tuple[str, str | None], int]] = {}
        self._budgets: dict[str, _Budget] = {}
        # The token behind lines left out, as long as no frame tells it.
        self._untold: str | None = None

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, entry: Entry, wire: Wire, token: str) -> None:
        """Take the next frame; `token` is where a client stands behind it."""
        self._untold = None
        if isinstance(entry, Cut) or entry.stream_class == "lifecycle":
            self._append(entry.encoded_at(wire, token))
            if self._latest and not isinstance(entry, Cut):
                self._latest.pop(entry.release.event.execution_id, None)
        elif entry.stream_class == "progress":
            self._add_progress(entry, token)
        else:
            self._add_lines(entry, token)

    def add_control(self, frame: bytes) -> None:
        """Take a frame of the service's own."""
        self._append(frame)

    def frames(self, wire: Wire) -> list[bytes]:
        """Everything, in order."""
        made = [part if isinstance(part, bytes) else part.encoded(wire) for part in self._parts if part is not None]
        return made if self._untold is None else [*made, wire.checkpoint(self._untold)]

    def _append(self, frame: bytes) -> None:
        self._parts.append(frame)
        self.size_bytes += len(frame)

    def _add_progress(self, frame: Frame, token: str) -> None:
        event = frame.release.event
        held = self._latest.setdefault(event.execution_id, {})
        node_id = event.data.get("nodeId")
        # Producers may write anything there, also what is no key.
        key = (event.type, node_id if isinstance(node_id, str) else None)
        latest, before = _Latest(frame, token), held.get(key)
        if before is not None:
            outdone = self._parts[before]
            assert isinstance(outdone, _Latest)
            latest.coalesced += outdone.coalesced
            self.size_bytes -= len(outdone.frame.body)
            self._parts[before] = None
            self.merged += 1
        held[key] = len(self._parts)
        self._parts.append(latest)
        self.size_bytes += len(frame.body)

    def _add_lines(self, frame: Frame, token: str) -> None:
        event = frame.release.event
        budget = self._budgets.setdefault(event.execution_id, _Budget())
        lines, size_bytes = len(event.data["lines"]), len(frame.body)
        # A single event passes however large it is, and so does what closes the log.
        fits = budget.lines + lines <= MAX_LINES and budget.size_bytes + size_bytes <= MAX_LINE_BYTES
        if budget.lines and not fits and event.data.get("final") is not True:
            self._omit(frame, token, budget)
            return
        budget.lines += lines
        budget.size_bytes += size_bytes
        self.size_bytes += size_bytes
        last = self._parts[-1] if self._parts else None
        if isinstance(last, _Lines) and last.frames[-1].release.event.execution_id == event.execution_id:
            last.frames.append(frame)
            last.token = token
            self.merged += 1
        else:
            self._parts.append(_Lines(frame, token))

    def _omit(self, frame: Frame, token: str, budget: _Budget) -> None:
        event = frame.release.event
        if budget.omitted is None:
            budget.omitted = _Omitted(event.execution_id, token)
            self._parts.append(budget.omitted)
        else:
            self._untold = token
        times_us = [line.time_us for line in read_lines(event, 0)]
        budget.omitted.times_us += times_us
        self.omitted_lines += len(times_us)
