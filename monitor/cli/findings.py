"""What checks report: a state, what was looked at, one line about it, and what to do. Printed alike by all of them."""

import json
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from rich.console import Console
from rich.text import Text

from monitor.telemetry.logs import printable

State = Literal["ok", "warn", "fail"]

_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}

EXIT_CODES: Final[dict[State, int]] = {"ok": 0, "warn": 1, "fail": 2}
"""The worst of the findings decides."""


class Finding(NamedTuple):
    """Something that was looked at. `cure` says what to do, and is empty where nothing is wrong."""

    state: State
    subject: str
    text: str
    cure: str = ""


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when all is well, 1 when something deserves a look, 2 when something is wrong."""
    return max((EXIT_CODES[finding.state] for finding in findings), default=0)


def print_finding(finding: Finding, console: Console) -> None:
    """One line for people."""
    line = Text(f"{finding.state:5}", style=_COLOURS[finding.state])
    line.append(f"{finding.subject:13} ", style="bold")
    line.append(printable(finding.text), style="default")
    if finding.cure:
        line.append(f"; {printable(finding.cure)}", style="italic")
    console.print(line, soft_wrap=True)


def json_of(findings: Sequence[Finding], **beside: object) -> str:
    """One document for programs."""
    is_well = all(finding.state != "fail" for finding in findings)
    return json.dumps({"ok": is_well, **beside, "findings": [finding._asdict() for finding in findings]})
