"""The story of one execution as lines for people: `00:01.204  success    Send to Slack  0.304 s`.

Pure. Times are relative to the execution's start; a frame of the stream and an answer of REST tell the same fact in the
same words. Called by `monitor follow`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.text import Text

from monitor.cli.frame_line import STYLES, announcement, log_lines_in
from monitor.cli.frames import Frame, Progress
from monitor.cli.told_lines import time_us
from monitor.cli.watch import node_key, node_status
from monitor.projections.loglines import level_of
from monitor.projections.members import duration_us
from monitor.projections.members import error as error_of
from monitor.projections.status import is_final
from monitor.telemetry.logs import printable

Members = Mapping[str, Any]

_STYLES: Final = {**STYLES, "progress": "blue", "note": "yellow"}


class Entry(NamedTuple):
    """Something that happened: a status, a log level, `progress` or `note`, and what about."""

    # None = the time is not known, or does not matter.
    at_us: int | None
    word: str
    subject: str
    detail: str = ""


def entry_text(entry: Entry, start_us: int | None) -> Text:
    """The line of an entry. What has several lines itself, as a stack trace, goes on below its first one."""
    line = Text()
    line.append(f"{_elapsed(entry.at_us, start_us):>11}  ", style="dim")
    style = _STYLES.get(entry.word, "")
    line.append(f"{printable(entry.word):9}  ", style=style)
    below = "\n" + " " * 24
    subject = below.join(printable(part.rstrip("\r")) for part in entry.subject.split("\n"))
    line.append(subject, style=style if entry.word in ("error", "warn", "debug", "note") else "")
    line.append(f"  {printable(entry.detail)}" if entry.detail else "", style="dim")
    return line


def _elapsed(at_us: int | None, start_us: int | None) -> str:
    """`01:04.250`, `2:01:04.250`; with a sign for what was before the start."""
    if at_us is None or start_us is None:
        return ""
    sign, elapsed_ms = "-" if at_us < start_us else "", abs(at_us - start_us) // 1000
    minutes, rest_ms = divmod(elapsed_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{f'{hours}:' if hours else ''}{minutes:02}:{rest_ms // 1000:02}.{rest_ms % 1000:03}"


def title(execution_id: str, workflow_id: str | None, execution: Members) -> Text:
    """`exec_42  GitHub to Slack (wf_7)  webhook  2026-11-22T10:30:00.000Z`."""
    line = Text(printable(execution_id), style="bold")
    name = execution.get("workflowName")
    workflow = f"{name} ({workflow_id})" if name else str(workflow_id or "")
    for said in (workflow, execution.get("mode"), execution.get("startedAt")):
        line.append(f"  {printable(str(said))}" if said else "", style="default")
    return line


def start_of(execution: Members) -> int | None:
    """When an execution started, by its own word."""
    return time_us({"timestamp": execution.get("startedAt")})


# --- frames ----------------------------------------------------------------------------------------------------------


def entries_of(frame: Frame) -> list[Entry]:
    """What a frame tells; nothing for signs of life, and for words of the service about its stream."""
    if not frame.is_event:
        said = announcement(frame)
        return [Entry(None, "note", said)] if said else []
    return _READERS.get(frame.type.partition(".")[0], _other)(frame)


def _execution(frame: Frame) -> list[Entry]:
    assert frame.state is not None, "an event has a state"
    word = frame.type.removeprefix("execution.")
    if word == "heartbeat":
        return []
    if word == "progress":
        return [Entry(_at_us(frame), "progress", progress_text(frame.state.progress))]
    return [Entry(_at_us(frame), frame.state.status, f"execution {word}", _execution_detail(frame.data))]


def _node(frame: Frame) -> list[Entry]:
    if frame.type == "node.progress":
        said = " ".join(str(frame.data[name]) for name in ("current", "message") if frame.data.get(name))
        return [Entry(_at_us(frame), "progress", run_name(frame.data), said)]
    status = node_status(frame) or ""
    word = frame.type.removeprefix("node.")
    return [_run_entry(_at_us(frame), status, frame.data, "retrying" if word == "retrying" else "")]


def _log(frame: Frame) -> list[Entry]:
    return [log_entry(line, frame.timestamp) for line in log_lines_in(frame)]


def _other(frame: Frame) -> list[Entry]:
    """Commands, and types outside the catalogue."""
    assert frame.state is not None, "an event has a state"
    said = (frame.data.get("kind"), frame.data.get("reason"))
    return [Entry(_at_us(frame), frame.state.status, frame.type, " ".join(str(word) for word in said if word))]


_READERS: Final[Mapping[str, Callable[[Frame], list[Entry]]]] = {"execution": _execution, "node": _node, "log": _log}


def log_entry(line: Members, timestamp: str = "") -> Entry:
    """A line of the log, from an event with this timestamp or from an answer."""
    node_id = line.get("nodeId")
    at_us = time_us(line) or time_us({"timestamp": timestamp})
    return Entry(at_us, level_of(line.get("level")), str(line.get("message", "")), f"({node_id})" if node_id else "")


def progress_text(progress: Progress) -> str:
    """`3/5  60%  Charge card`."""
    count = f"{progress.completed or 0}/{progress.total}" if progress.total else ""
    said = (count, f"{progress.ratio:.0%}", progress.current, progress.message)
    return "  ".join(part for part in said if part)


def _at_us(frame: Frame) -> int | None:
    return time_us({"timestamp": frame.timestamp})


# --- answers of REST -------------------------------------------------------------------------------------------------


def run_entries(execution: Members, runs: Sequence[Members]) -> list[Entry]:
    """These runs of its nodes in order of time, each by its latest status."""
    entries = [
        _run_entry(
            time_us({"timestamp": run.get("stoppedAt") or run.get("startedAt")}), str(run.get("status", "")), run, ""
        )
        for run in runs
    ]
    more = execution.get("moreNodes")
    entries += [Entry(None, "note", f"and {more} more nodes, too many or too large to be shown")] if more else []
    return sorted(entries, key=lambda entry: entry.at_us or 0)


def status_entry(execution: Members) -> Entry:
    """How an execution stands."""
    status = str(execution.get("status", ""))
    at_us = time_us({"timestamp": execution.get("stoppedAt")}) if is_final(status) else None
    word = "has ended" if is_final(status) else "is under way"
    presumed = ", as is presumed" if execution.get("provisional") is True else ""
    return Entry(at_us, status, f"execution {word}{presumed}", _execution_detail(execution))


# --- words that both share -------------------------------------------------------------------------------------------


def _run_entry(at_us: int | None, status: str, run: Members, detail: str) -> Entry:
    said = [detail, _duration(run), _trouble(run)]
    return Entry(at_us, status, run_name(run), "  ".join(filter(None, said)))


def run_name(run: Members) -> str:
    """`Charge card`, and which run of it where it has several."""
    _, node_id, iteration, attempt = node_key(0, run)
    name = str(run.get("nodeName") or node_id)
    return name + (f" [{iteration}]" if iteration else "") + (f" #{attempt}" if attempt > 1 else "")


def _execution_detail(said: Members) -> str:
    waiting = said.get("waiting") or said
    kind, until = (waiting.get("kind"), waiting.get("until")) if isinstance(waiting, Mapping) else (None, None)
    awaited = f"for {kind}" + (f" until {until}" if until else "") if kind else ""
    return "  ".join(filter(None, [_duration(said), _trouble(said), str(said.get("reason") or ""), awaited]))


def _duration(said: Members) -> str:
    found_us = duration_us(said.get("duration"))
    return "" if found_us is None else f"{found_us / 1_000_000:.3f} s"


def _trouble(said: Members) -> str:
    error = error_of(said.get("error")) or {}
    return ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
