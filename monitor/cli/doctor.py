"""`monitor doctor`: one line per thing that was looked at, ok, warn or fail, each trouble with its cure.

It changes nothing, makes no file or topic, and may run beside a service.
"""

import json
from collections.abc import AsyncIterator
from typing import Final

from rich.console import Console
from rich.text import Text

from monitor.cli.checks import Finding, check_dependencies, check_folder, check_lock, check_python, check_settings
from monitor.cli.inspection import inspect_journal_and_store
from monitor.errors import SettingsInvalid
from monitor.settings import Settings, read_settings
from monitor.telemetry.logs import configure_logs, printable

_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


async def examine(*, as_json: bool) -> int:
    """Look over everything and print what was found; returns 1 when anything failed, else 0."""
    findings = []
    console = Console(highlight=False)
    async for finding in _findings():
        findings.append(finding)
        if not as_json:
            _print(finding, console)
    is_well = all(finding.state != "fail" for finding in findings)
    if as_json:
        print(json.dumps({"ok": is_well, "findings": [finding._asdict() for finding in findings]}))  # noqa: T201
    return 0 if is_well else 1


async def _findings() -> AsyncIterator[Finding]:
    yield check_python()
    yield check_dependencies()
    try:
        settings = read_settings()
    except SettingsInvalid as error:
        # Nothing else can be looked at: nobody knows where it is.
        yield Finding("fail", "settings", error.message, "correct or remove that variable")
        return
    configure_logs(settings.log)
    yield check_settings(settings)
    for finding in _of_folder(settings):
        yield finding
    async for finding in inspect_journal_and_store(settings):
        yield finding


def _of_folder(settings: Settings) -> list[Finding]:
    return [*check_folder(settings.data), check_lock(settings.data)]


def _print(finding: Finding, console: Console) -> None:
    line = Text(f"{finding.state:5}", style=_COLOURS[finding.state])
    line.append(f"{finding.subject:13} ", style="bold")
    line.append(printable(finding.text), style="default")
    if finding.cure:
        line.append(f"; {finding.cure}", style="italic")
    console.print(line, soft_wrap=True)
