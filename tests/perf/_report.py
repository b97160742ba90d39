"""Figures on stdout, one JSON object a line; progress on stderr, so that a pipe gets figures only."""

import datetime as dt
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rival:
    """What a figure is held against, measured in the same run and unit."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Report:
    """Prints the figures of one benchmark, each with the conditions of the run."""

    bench: str
    is_quick: bool

    def figure(
        self,
        metric: str,
        value: float,
        unit: str,
        *,
        target: str | None = None,
        baseline: Rival | None = None,
        bound: Rival | None = None,
        conditions: Mapping[str, object] | None = None,
    ) -> None:
        """One line. `ratio` is value / baseline; `bound` is what the machine would allow. Both are of the same unit."""
        line: dict[str, Any] = {"bench": self.bench, "metric": metric, "value": rounded(value), "unit": unit}
        if target:
            line["target"] = target
        if baseline:
            line |= {"baseline": baseline.name, "baseline_value": rounded(baseline.value)}
            line["ratio"] = rounded(value / baseline.value)
        if bound:
            line |= {"bound": rounded(bound.value), "bound_by": bound.name}
        print(json.dumps(line | dict(conditions or {}) | self._machine()), flush=True)

    def progress(self, what: str) -> None:
        """Tell whoever waits what is going on."""
        print(f"{self.bench}: {what}", file=sys.stderr, flush=True)

    def _machine(self) -> dict[str, object]:
        return {
            "quick": self.is_quick,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
        }


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
