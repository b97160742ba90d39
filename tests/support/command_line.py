"""The command line in a process of its own, run to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

INHERITED = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}


class Answer:
    """How a command ended."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def document(self) -> Any:
        """Its output, read as JSON."""
        return json.loads(self.out)


def monitor(*arguments: str | Path, **settings: str | Path) -> Answer:
    """Run a command to its end, with `MONITOR_*` settings."""
    return monitor_reading("", *arguments, **settings)


def monitor_reading(stdin: str, *arguments: str | Path, **settings: str | Path) -> Answer:
    """The same with something to read."""
    environment = INHERITED | {f"MONITOR_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "monitor", *map(str, arguments)]
    return Answer(
        subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, timeout=120, check=False)
    )
