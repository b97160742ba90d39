"""The smallest piece of `scripts/bench api`: stores built by the product itself, every kind of request answered."""

import json
import os
from pathlib import Path

import pytest

from tests.perf._report import Report
from tests.perf.api import Scale, main

_TINY = Scale((60, 120), 5, 0.3, page=3)
_KINDS = {
    *("nothing", "list", "deep_page", "filter", "get"),
    *("statistics.day", "statistics.month", "statistics.workflow"),
}


async def test_every_figure_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Times of every kind for each store, the export's rows, and both kinds of load side by side."""
    cores = os.sched_getaffinity(0)
    try:
        await main(Report("api", is_quick=True), _TINY, tmp_path)
    finally:
        os.sched_setaffinity(0, cores)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {(line["metric"], line["executions"]): line["value"] for line in lines}
    for executions in _TINY.stores:
        for kind in _KINDS:
            assert 0 < told[f"{kind}.p50", executions] <= told[f"{kind}.p99", executions]
        assert told["export", executions] > 0
    assert told["mixed.events", 60] > 0
    assert {name for name, _ in told} - {f"{kind}.{p}" for kind in _KINDS for p in ("p50", "p99")} == {
        *("export", "export.memory", "mixed.p50", "mixed.p99", "mixed.events"),
    }
    assert len(kept(tmp_path)) == 2, "what was built is kept, and nothing else"


def kept(folder: Path) -> list[Path]:
    """What is left in the cache."""
    return list(folder.iterdir())
