"""Programs in C that benchmarks need, compiled once a run; and what a machine may lack for them."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_SOURCES: Final = Path(__file__).parent


class CannotMeasure(Exception):
    """This machine lacks something that the benchmark needs; the text names the cure."""


@contextmanager
def compiled(*names: str) -> Iterator[list[Path]]:
    """The programs of these names, as long as the block runs. Raises CannotMeasure."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or compiler is None:
        raise CannotMeasure(
            "the load client needs Linux and a C compiler: install one, as `apt-get install gcc libc6-dev` does"
        )
    with TemporaryDirectory(prefix="monitor-bench-") as folder:
        programs = [Path(folder) / name for name in names]
        for program in programs:
            source = (_SOURCES / program.name).with_suffix(".c")
            subprocess.run([compiler, "-O2", "-std=gnu11", str(source), "-o", str(program)], check=True)
        yield programs


def allow_descriptors(needed: int) -> None:
    """Let this process and those that it starts open so many files. Raises CannotMeasure."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CannotMeasure(
            f"a process may open {hard} files, and {needed} are needed: raise it with `ulimit -Hn {needed}`"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
