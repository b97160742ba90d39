"""The doctor's look at the machine: each state is told from the others, each trouble has a cure."""

import os
import resource
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import NamedTuple

import pytest

from monitor.cli import checks
from monitor.cli.checks import check_dependencies, check_folder, check_open_files, check_python


class Usage(NamedTuple):
    free: int


def states(folder: Path) -> dict[str, str]:
    """State by subject."""
    return {finding.subject: finding.state for finding in check_folder(folder)}


def test_this_environment_is_well() -> None:
    """It runs these tests."""
    assert (check_python().state, check_dependencies().state) == ("ok", "ok")


def test_old_python_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the version that is wanted."""
    monkeypatch.setattr("sys.version_info", (3, 10, 9))
    assert check_python().cure == "install Python 3.11 or newer"


def test_missing_package_is_a_failure_unless_it_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that nobody installed is none of the doctor's business."""
    wanted = ["orjson>=3", "starlette>=1.0", 'aiokafka<0.15; extra == "kafka"']
    monkeypatch.setattr(checks, "requires", lambda _: wanted)

    def installed(name: str) -> str:
        if name == "orjson":
            return "3.11"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(checks, "version", installed)
    finding = check_dependencies()
    assert (finding.state, finding.text) == ("fail", "missing: starlette")
    wanted.remove("starlette>=1.0")
    assert check_dependencies().text == "orjson 3.11"


def test_folder_that_is_there_or_can_be_made_is_well(tmp_path: Path) -> None:
    """And is not made by looking."""
    assert states(tmp_path) == {"data folder": "ok", "disk": "ok"}
    assert states(tmp_path / "a" / "b") == {"data folder": "ok", "disk": "ok"}
    assert list(tmp_path.iterdir()) == []


def test_file_in_its_place_is_a_failure(tmp_path: Path) -> None:
    """Named with the setting that moves it."""
    (tmp_path / "file").write_text("")
    [finding] = check_folder(tmp_path / "file")
    assert (finding.state, finding.cure) == ("fail", "name a folder with MONITOR_DATA")


@pytest.fixture
def not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that this user may not write: told by the system's answer, since the tests may run as root."""
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)


def test_folder_that_cannot_be_written_is_a_failure(tmp_path: Path, not_writable: None) -> None:
    """Before the first event is refused for it."""
    assert states(tmp_path)["data folder"] == "fail"


@pytest.mark.parametrize(("free_mib", "state"), [(5000, "ok"), (1000, "warn"), (50, "fail")])
def test_room_on_the_disk_is_judged(tmp_path: Path, free_mib: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Early enough to do something."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free_mib << 20))
    assert states(tmp_path)["disk"] == state


@pytest.mark.parametrize(
    ("most", "state"), [(1 << 20, "ok"), (resource.RLIM_INFINITY, "ok"), (10_500, "ok"), (10_499, "warn")]
)
def test_streams_need_files(most: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before the ten-thousandth subscriber is refused by the system."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, most))
    assert check_open_files(10_000).state == state
