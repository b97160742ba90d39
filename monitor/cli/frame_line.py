"""A frame of the stream as coloured lines for people, one execution among many. Pure; called by `tail` and `demo`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.text import Text

from monitor.cli.frames import CONTROL_PREFIX, Frame
from monitor.projections.loglines import level_of
from monitor.telemetry.logs import printable

STYLES: Final[Mapping[str, str]] = {
    # statuses
    "queued": "white",
    "running": "cyan",
    "waiting": "yellow",
    "success": "green",
    "failed": "bold red",
    "timeout": "bold red",
    "crashed": "bold red",
    "cancelled": "magenta",
    "skipped": "dim",
    # levels of log lines
    "debug": "dim",
    "info": "default",
    "warn": "yellow",
    "error": "red",
}

_ANNOUNCEMENTS: Final = {
    "stream.gap": "events are missing",
    "stream.reset": "events may be missing: the service does not know our position any more",
    "stream.log-gap": "log lines were left out",
    "stream.slow": "we read too slowly",
    "stream.stale": "the service stands still; what it shows is stale",
    "stream.fresh": "the service goes on",
}


def lines_of(frame: Frame) -> Iterator[Text]:
    """The lines that a frame is worth: one for an event or a row of a snapshot, one for each line of a log, and one
    for a word of the service that says something about what is shown. The others are worth none.
    """
    if frame.type == "log.appended":
        yield from (_log_line(frame, line) for line in log_lines_in(frame))
    elif frame.state is not None:
        yield _state_line(frame)
    elif said := announcement(frame):
        yield Text(f"-- {said}", style="yellow")


def announcement(frame: Frame) -> str:
    """What a word of the service says to people who watch; empty when it is none of their business."""
    said = _ANNOUNCEMENTS.get(frame.type, "")
    if said and frame.reason:
        said += f" ({printable(frame.reason)})"
    if said and frame.count:
        said += f": {frame.count}"
    return f"{said}; {printable(frame.href)} returns them" if said and frame.href else said


def log_lines_in(frame: Frame) -> list[dict[str, Any]]:
    """The lines of a `log.appended` that are any."""
    lines = frame.data.get("lines")
    return [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []


def _state_line(frame: Frame) -> Text:
    """`10:30:01.204  demo:3f2a…  demo-flaky  node.completed  Charge card  running  60%`."""
    assert frame.state is not None, "an event or a row has a state"
    status = frame.state.status
    line = _line_begun(frame, frame.timestamp or str(frame.execution.get("startedAt") or ""))
    line.append(f"{printable(frame.type.removeprefix(CONTROL_PREFIX)):20}  ")
    line.append(f"{_shortened(_subject(frame), 22):22}  ", style="dim")
    line.append(f"{printable(status):9}", style=STYLES.get(status, ""))
    line.append(f"  {frame.state.progress.ratio:4.0%}")
    return line


def _log_line(frame: Frame, said: Mapping[str, Any]) -> Text:
    """`10:30:01.204  demo:3f2a…  demo-flaky  warn   Card declined  (charge)`."""
    level, node_id = level_of(said.get("level")), said.get("nodeId")
    line = _line_begun(frame, str(said.get("timestamp") or frame.timestamp))
    line.append(f"{level:5}  {printable(str(said.get('message', '')))}", style=STYLES[level])
    line.append(f"  ({printable(str(node_id))})" if node_id else "", style="dim")
    return line


def _line_begun(frame: Frame, timestamp: str) -> Text:
    line = Text()
    line.append(f"{_time_of_day(timestamp):12}  ", style="dim")
    line.append(f"{_shortened(frame.execution_id, 13):13}  {_shortened(frame.workflow_id or '-', 12):12}  ")
    return line


def _subject(frame: Frame) -> str:
    """What the event is about, beside its execution: its node, or else what went wrong."""
    error = frame.data.get("error")
    trouble = error.get("message") if isinstance(error, dict) else error
    names = (frame.data.get("nodeName"), frame.data.get("nodeId"), trouble, frame.execution.get("workflowName"))
    return str(next(filter(None, names), ""))


def _shortened(text: str, most: int) -> str:
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _time_of_day(timestamp: str) -> str:
    return printable(timestamp[11:23].rstrip("Zz"))
