"""`monitor doctor`: one line per thing that was looked at, ok, warn or fail, each trouble with its cure.

It changes nothing, makes no file or topic, and may run beside a service, or ask one that runs elsewhere.
"""

from collections.abc import AsyncIterator
from itertools import chain

from rich.console import Console

from monitor.cli.checks import check_dependencies, check_folder, check_lock, check_open_files, check_python
from monitor.cli.findings import Finding, exit_code, json_of, print_finding
from monitor.cli.inspection import inspect_journal_and_store
from monitor.cli.service_checks import inspect_service
from monitor.cli.setting_checks import check_settings
from monitor.errors import SettingsInvalid
from monitor.settings import read_settings
from monitor.telemetry.logs import configure_logs


async def examine(*, url: str | None = None, as_json: bool) -> int:
    """Look over everything here, or over the service at `url`, and print what was found.

    Returns 0 when all is well, 1 when something deserves a look, 2 when something is wrong.
    """
    findings = []
    console = Console(highlight=False)
    async for finding in inspect_service(url) if url else _findings():
        findings.append(finding)
        if not as_json:
            print_finding(finding, console)
    if as_json:
        print(json_of(findings))  # noqa: T201
    return exit_code(findings)


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
    of_machine = (check_lock(settings.data), check_open_files(settings.streams))
    for finding in chain(check_settings(settings), check_folder(settings.data), of_machine):
        yield finding
    async for finding in inspect_journal_and_store(settings):
        yield finding
