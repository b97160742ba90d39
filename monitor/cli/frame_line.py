"""A frame of the stream as one coloured line for people. Pure; called by `monitor demo`."""

from collections.abc import Mapping
from typing import Any, Final

from rich.text import Text

from monitor.telemetry.logs import printable

Frame = Mapping[str, Any]

_COLOURS: Final = {
    "queued": "white",
    "running": "cyan",
    "waiting": "yellow",
    "success": "green",
    "failed": "bold red",
    "timeout": "bold red",
    "crashed": "bold red",
    "cancelled": "magenta",
}


def is_event(frame: Frame) -> bool:
    """Whether it tells of an execution; the others (`stream.*`) are words of the service about the stream itself."""
    return not frame["type"].startswith("stream.")


def line_of(frame: Frame) -> Text:
    """`10:30:01.204  demo:3f2a…  demo-flaky  node.completed  Charge card  running  60%`."""
    if not is_event(frame):
        return Text(frame["type"], style="dim")
    state = frame["state"]
    line = Text()
    line.append(f"{_time_of_day(frame['timestamp'])}  ", style="dim")
    line.append(f"{_shortened(frame['executionId'], 13):13}  {frame.get('workflowId') or '-':12}  ")
    line.append(f"{printable(frame['type']):20}  ")
    line.append(f"{_subject(frame['data']):22}  ", style="dim")
    line.append(f"{state['status']:9}", style=_COLOURS.get(state["status"], ""))
    line.append(f"  {state['progress']['ratio']:4.0%}")
    return line


def _subject(data: Mapping[str, Any]) -> str:
    """What the event is about, beside its execution: its node, or else what went wrong."""
    error = data.get("error")
    trouble = error.get("message") if isinstance(error, dict) else error
    return _shortened(printable(str(data.get("nodeName") or data.get("nodeId") or trouble or "")), 22)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _time_of_day(timestamp: str) -> str:
    return timestamp[11:].rstrip("Zz")
