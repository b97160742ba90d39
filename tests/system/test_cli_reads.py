"""`monitor ls` and `monitor export` as people and programs call them, against a real service."""

import asyncio
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import dying_with_us
from tests.support.service import Service

EVENTS: list[dict[str, Any]] = [
    *({"type": "execution.started", "n": number} for number in range(130)),
    *({"type": "execution.completed", "n": number, "data": {"duration": 2.5}} for number in range(120)),
    {"type": "execution.failed", "n": 125, "data": {"error": {"type": "=Boom", "message": "two\nlines \x1b[31m"}}},
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With 130 executions, of which one has failed and nine run."""
    service = Service(tmp_path_factory.mktemp("reads") / "data")
    service.launch()
    try:
        asyncio.run(service.ready())
        lines = [json.dumps(event(number, **members)) for number, members in enumerate(EVENTS)]
        assert "251 accepted" in monitor(service, "send", "-", stdin="\n".join(lines)).stdout
        asyncio.run(service.caught_up())
        yield service
    finally:
        service.close()


def event(at: int, type: str, n: int, data: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: A002
    """Of execution `n`."""
    time = f"2026-11-22T10:{at // 60:02}:{at % 60:02}Z"
    return {"type": type, "executionId": f"e{n:03}", "workflowId": "wf", "timestamp": time, "data": data or {}}


def monitor(service: Service, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command line, asked to the service."""
    command = dying_with_us([sys.executable, "-m", "monitor", *arguments, "--url", service.url])
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def test_list_is_a_table(service: Service) -> None:
    """The newest first, on one line each, whatever stands in an error; what is left out is counted."""
    shown = monitor(service, "ls", "--limit", "6")
    head, *rows = shown.stdout.splitlines()
    assert head.split() == ["STATUS", "STARTED", "TOOK", "WORKFLOW", "ID", "ERROR"]
    assert [row.split()[0] for row in rows] == ["running"] * 4 + ["failed", "running"]
    assert "=Boom: two lines " in rows[4]
    assert "\x1b" not in shown.stdout
    assert "124 more" in shown.stderr


def test_list_narrows_and_goes_over_pages(service: Service) -> None:
    """All of them, as one document; by status, condition and order."""
    found = json.loads(monitor(service, "ls", "--all", "--status", "success", "--sort", "startedAt", "--json").stdout)
    assert [row["id"] for row in found["data"]] == [f"e{number:03}" for number in range(120)]
    assert found["total"] == 120
    narrowed = monitor(service, "ls", "--filter", "duration>=2", "--filter", "status!=success", "--workflow", "wf")
    assert [line.split()[5] for line in narrowed.stdout.splitlines()] == ["ERROR", "e125"]


@pytest.mark.parametrize(
    "wrong", [["--status", "faild"], ["--filter", "duration"], ["--within", "2d"], ["--sort", "x"]]
)
def test_wrong_questions_end_with_one_line(service: Service, wrong: list[str]) -> None:
    """On stderr, with what would be right; the exit code says that nothing was done."""
    for command in (["ls"], ["export", "-"]):
        answer = monitor(service, *command, *wrong)
        assert (answer.returncode, answer.stdout, len(answer.stderr.splitlines())) == (2, "", 1)


def test_export_is_complete(service: Service, tmp_path: Path) -> None:
    """A file that was there is replaced; nothing else is left behind."""
    file = tmp_path / "executions.csv"
    file.write_text("old")
    assert monitor(service, "export", str(file), "--columns", "id,errorType").returncode == 0
    with file.open(newline="") as opened:
        head, *rows = csv.reader(opened)
    assert (head, len(rows), rows[4]) == (["id", "errorType"], 130, ["e125", "'=Boom"])
    assert list(tmp_path.iterdir()) == [file]
    piped = monitor(service, "export", "-", "--format", "ndjson", "--status", "failed").stdout.splitlines()
    assert [json.loads(line)["id"] for line in piped] == ["e125"]


def test_export_that_fails_leaves_the_old_file(service: Service, tmp_path: Path) -> None:
    """Whether the question is wrong or the place cannot be written to."""
    file = tmp_path / "executions.json"
    file.write_text("old")
    assert monitor(service, "export", str(file), "--format", "xml").returncode == 2
    nowhere = monitor(service, "export", str(tmp_path / "missing" / "x.csv"))
    assert (nowhere.returncode, len(nowhere.stderr.splitlines())) == (2, 1)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
