"""The machine under the figures: which core runs what, and what its disk takes for a flush."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

_CORES = sorted(os.sched_getaffinity(0))
FIRST_CORE, SECOND_CORE = _CORES[0], _CORES[-1]
"""The same one where there is only one."""


def move_to(core: int) -> None:
    """Run this process on `core` from now on, and what it starts as well."""
    os.sched_setaffinity(0, {core})


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes that are started inside run on `core`; this one comes back."""
    before = os.sched_getaffinity(0)
    move_to(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_s(core: int) -> float:
    """CPU seconds of `core` so far, under whatever ran there."""
    spent = psutil.cpu_times(percpu=True)[core]
    return float(spent.user + spent.nice + spent.system + spent.irq + spent.softirq + spent.steal)


def flush_s(folder: Path, times: int = 50) -> float:
    """Median time in which the disk under `folder` takes 4 KiB for good."""
    taken = []
    with (folder / "flush").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return median(taken)
