"""Rules for some workflows are read from a file, and a file that cannot be used is refused with the place at fault."""

from pathlib import Path

import pytest

from monitor.access.mask_file import read_mask_file
from monitor.errors import SettingsInvalid


def test_rules_are_read_by_workflow(tmp_path: Path) -> None:
    """As a text with commas or as a list; without a file there are none."""
    path = tmp_path / "mask.toml"
    path.write_text('"payroll-*" = "salary, employee.name"\nwf_7 = ["-type:email", "-metrics.token"]\n')
    assert read_mask_file(path) == {
        "payroll-*": ("salary", "employee.name"),
        "wf_7": ("-type:email", "-metrics.token"),
    }
    assert read_mask_file(None) == {}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"wf_7 = ", "is no TOML"),
        (b"\xff\xfe", "is no TOML"),
        (b"a = " + b"[" * 50_000, "is no TOML"),
        (b"wf_7 = 5", "'wf_7' takes rules"),
        (b"wf_7 = [5]", "'wf_7' takes rules"),
        (b"[wf_7]\nmask = 'x'", "'wf_7' takes rules"),
        (b"wf_7 = 'pass*'", r"'wf_7': 'pass\*' is no name or path"),
        (b"wf_7 = '-'", "'wf_7': '-' is no name or path"),
        (b"wf_7 = 'type:cards'", "'wf_7': 'type:cards' is no type; there are "),
    ],
)
def test_unusable_file_is_refused_by_name(tmp_path: Path, content: bytes, fault: str) -> None:
    """The line names the setting, the file and what is wrong in it."""
    path = tmp_path / "mask.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=rf"MONITOR_MASK_FILE: .*mask.toml: {fault}"):
        read_mask_file(path)
    with pytest.raises(SettingsInvalid, match=r"MONITOR_MASK_FILE: .*missing.toml: No such file"):
        read_mask_file(tmp_path / "missing.toml")
