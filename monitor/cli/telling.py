"""Tells the story of an execution: to people as a timeline, to programs as the stream's own frames.

A teller is given only what was not told yet, in the order in which it became known; past log lines and past runs of
nodes are put in order of time. Called by `monitor follow`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from monitor.cli.frames import Frame
from monitor.cli.screen import Move, Screen
from monitor.cli.subscription import Sent
from monitor.cli.timeline import Entry, entries_of, entry_text, log_entry, run_entries, start_of, status_entry, title

Members = Mapping[str, Any]


class Teller(Protocol):
    """Somebody who tells."""

    def execution(self, execution: Members, runs: Sequence[Members]) -> None:
        """How it stands by REST, and the runs of its nodes that are news."""
        ...

    def lines(self, execution_id: str, lines: Sequence[Members]) -> None:
        """Log lines that were read, the next ones in order of time."""
        ...

    def caught_up(self) -> None:
        """REST has told everything."""
        ...

    def frame(self, sent: Sent, news: Frame) -> None:
        """A frame, and what of it is news."""
        ...


class JsonTeller:
    """One JSON document per line: the frames as they came, and what REST told in the form of frames."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def execution(self, execution: Members, _runs: Sequence[Members]) -> None:
        state = {"status": execution.get("status"), "progress": execution.get("progress")}
        members = {"executionId": execution.get("id"), "workflowId": execution.get("workflowId")}
        version = {"version": execution.get("version"), "state": state, "execution": execution}
        self._show({"type": "stream.snapshot", **members, **version})

    def lines(self, execution_id: str, lines: Sequence[Members]) -> None:
        if lines:
            self._show({"type": "log.appended", "executionId": execution_id, "data": {"lines": lines}})

    def caught_up(self) -> None:
        return

    def frame(self, sent: Sent, news: Frame) -> None:
        if news is sent.frame:
            self._screen.show_json(sent.line)
        else:
            self._show({**msgspec.json.decode(sent.line), "data": news.data})

    def _show(self, document: Members) -> None:
        self._screen.show_json(msgspec.json.encode(document))


class TimelineTeller:
    """Lines with times relative to the start."""

    def __init__(self, screen: Screen, execution_id: str, move: Move | None) -> None:
        """`move` moves a bar that shows the progress; None where it is told in lines."""
        self._screen, self._execution_id, self._move = screen, execution_id, move
        self._start_us: int | None = None
        self._is_titled = False
        # Runs that REST told, until the log lines before them are read.
        self._runs: list[Entry] = []
        self._standing: Entry | None = None
        self._told_status = self._told_progress = ""

    def execution(self, execution: Members, runs: Sequence[Members]) -> None:
        self._begin(execution.get("workflowId"), execution)
        self._start_us = start_of(execution) or self._start_us
        self._runs += run_entries(execution, runs)
        self._standing = status_entry(execution)

    def lines(self, _execution_id: str, lines: Sequence[Members]) -> None:
        entries = [log_entry(line) for line in lines]
        if entries:
            until_us = entries[-1].at_us or 0
            entries += [run for run in self._runs if (run.at_us or 0) <= until_us]
            self._runs = [run for run in self._runs if (run.at_us or 0) > until_us]
        for entry in sorted(entries, key=lambda entry: entry.at_us or 0):
            self._show(entry)

    def caught_up(self) -> None:
        runs, self._runs = self._runs, []
        for run in runs:
            self._show(run)
        if self._standing is not None and self._standing.word != self._told_status:
            self._show(self._standing)
            self._told_status = self._standing.word

    def frame(self, _sent: Sent, news: Frame) -> None:
        if news.is_event:
            self._note_state(news)
        elif news.type == "stream.end" and news.status != self._told_status:
            self._show(Entry(None, news.status, "execution has ended"))
        # What a log left out is fetched, and told then.
        for entry in entries_of(news) if news.type != "stream.log-gap" else ():
            self._tell(entry)

    def _note_state(self, frame: Frame) -> None:
        assert frame.state is not None, "an event has a state"
        self._begin(frame.workflow_id, {})
        start_us = start_of({"startedAt": frame.timestamp})
        if self._start_us is None or frame.type == "execution.started":
            self._start_us = start_us
        self._told_status = frame.state.status
        if self._move is not None:
            self._move(frame.state.progress)

    def _tell(self, entry: Entry) -> None:
        if entry.word == "progress":
            said = entry.subject + entry.detail
            if self._move is not None or said == self._told_progress:
                return
            self._told_progress = said
        self._show(entry)

    def _begin(self, workflow_id: str | None, execution: Members) -> None:
        if not self._is_titled:
            self._screen.show(title(self._execution_id, workflow_id, execution))
            self._is_titled = True

    def _show(self, entry: Entry) -> None:
        self._screen.show(entry_text(entry, self._start_us))


@contextmanager
def open_teller(screen: Screen, execution_id: str, *, as_json: bool) -> Iterator[Teller]:
    """Who tells this execution's story in this form."""
    if as_json:
        yield JsonTeller(screen)
    elif screen.is_terminal:
        with screen.bar() as move:
            yield TimelineTeller(screen, execution_id, move)
    else:
        yield TimelineTeller(screen, execution_id, None)
