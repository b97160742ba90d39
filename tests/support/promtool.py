"""Prometheus' own judge of rules: whether they can be read, and which alarms go off over given series."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tests.support.debian import Program, unpacked

MINUTES: Final = 60
"""How long series go on; alarms are looked at ten minutes before the end."""

_RUN_LIMIT_S: Final = 120


def promtool() -> Program:
    """The program. Raises debian.Unavailable."""
    return unpacked("promtool", "prometheus")


def complaints(program: Program, what: str, file: Path) -> str:
    """What it says against a file of `rules` or a `config`; empty when it is well."""
    done = _run(program, "check", what, file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def unreadable(program: Program, expressions: Iterable[str], folder: Path) -> str:
    """What it says against these expressions; empty when all can be read."""
    rules = [{"record": f"expression_{number}", "expr": text} for number, text in enumerate(expressions)]
    (file := folder / "expressions.json").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    return complaints(program, "rules", file)


def wrong_alarms(
    program: Program, rules: Path, cases: Mapping[str, tuple[Mapping[str, str], Iterable[str]]], folder: Path
) -> str:
    """Of each case its series and the alarms that are to go off, no others; what is otherwise, empty when nothing."""
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{MINUTES - 10}m",
                    "exp_samples": [{"labels": f'{{alertname="{alarm}"}}', "value": 1} for alarm in sorted(expected)],
                }
            ],
        }
        for name, (given, expected) in cases.items()
    ]
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    (file := folder / "alarms.json").write_text(json.dumps(document))
    done = _run(program, "test", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _run(program: Program, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [program.path, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=_RUN_LIMIT_S, check=False)
