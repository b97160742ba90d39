"""The file with rules of masking for some workflows: TOML, a workflow's id (or ids with `*`) and its rules a line.

"payroll-*" = "salary, employee.name"
"wf_7" = ["-type:email", "-metrics.token"]
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from monitor.access.mask_rules import rule_of
from monitor.errors import SettingsInvalid
from monitor.settings import check_mask_rule

_MOST_BYTES = 1 << 20


def read_mask_file(path: Path | None) -> Mapping[str, tuple[str, ...]]:
    """The rules by workflow; none without a file. Raises SettingsInvalid, naming the file and the line at fault."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            document = tomllib.loads(file.read(_MOST_BYTES + 1)[:_MOST_BYTES].decode())
    except OSError as error:
        raise _invalid(path, error.strerror or "cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(path, f"is no TOML: {error}") from error
    return {workflow: _rules(path, workflow, said) for workflow, said in document.items()}


def _rules(path: Path, workflow: str, said: object) -> tuple[str, ...]:
    words = said.split(",") if isinstance(said, str) else said
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _invalid(path, f"'{workflow}' takes rules: a text with commas, or a list of texts")
    rules = tuple(rule for word in words if (rule := word.strip()))
    for rule in rules:
        try:
            check_mask_rule(rule)
            rule_of(rule)
        except ValueError as error:
            raise _invalid(path, f"'{workflow}': {error}") from None
        except SettingsInvalid as error:
            raise _invalid(path, f"'{workflow}': {error.message.removeprefix('MONITOR_MASK: ')}") from None
    return rules


def _invalid(path: Path, what: str) -> SettingsInvalid:
    return SettingsInvalid(f"MONITOR_MASK_FILE: {path}: {what}")
