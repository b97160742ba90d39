"""The runner that the README shows, as written there, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import dying_with_us

README = Path(__file__).parents[2] / "README.md"


def readme_runner() -> str:
    """Its text."""
    [text] = re.findall(r"^```python runner\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return str(text)


class Runner:
    """Started, killed and started again on the same folder."""

    def __init__(self, folder: Path, *, kafka: str, commands: str, events: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "runner.py").write_text(readme_runner())
        self.folder, self.log = folder, folder / "runner.log"
        self._settings = {"KAFKA": kafka, "COMMANDS": commands, "EVENTS": events}
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the process; call it from the main thread, with which it dies."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_us([sys.executable, "runner.py"]),
                cwd=self.folder,
                env=os.environ | self._settings,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """SIGKILL, at whatever instruction it is."""
        assert self._process is not None
        assert self._process.poll() is None, f"the runner ended:\n{self.log.read_text()}"
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End what may still run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
