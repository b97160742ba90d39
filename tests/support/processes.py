"""What the launchers of real servers share: ports, folders, output and an end together with the tests."""

import os
import random
import shutil
import socket
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO

# Below the ephemeral range (from 32768), so that no outgoing connection takes a port between choice and bind.
PORTS = range(20_000, 32_000)

# Whoever was given one may listen on it only later, and again after a while without.
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on right now, and that nobody else here was given."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                ports.append(port)
    return ports


def dying_with_us(command: list[str]) -> list[str]:
    """The command, to be killed by the system when the launching thread ends, however it ends.

    Launch from the main thread: a thread of a pool may end long before the tests do.
    """
    return ["setpriv", "--pdeathsig", "KILL", *command] if shutil.which("setpriv") else command


def scratch_folder(prefix: str) -> Path:
    """A fresh folder for a server's data; those of test runs that no longer live are removed first."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}-*-*"):
        owner_pid = folder.name.removeprefix(f"{prefix}-").split("-")[0]
        if owner_pid.isdigit() and not Path("/proc", owner_pid).exists():
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-{os.getpid()}-"))


class Output:
    """Follows what a server prints: notes that it is ready, keeps the last lines for an error's text."""

    def __init__(self, stream: IO[str], ready_mark: str) -> None:
        self.is_ready = False
        self._settled = threading.Event()
        self._ready_mark = ready_mark
        self._lines: deque[str] = deque(maxlen=100)
        self._thread = threading.Thread(target=self._follow, args=[stream], name="server output", daemon=True)
        self._thread.start()

    @property
    def tail(self) -> str:
        """The last hundred lines."""
        return "".join(self._lines)

    def wait_settled(self, timeout_s: float) -> bool:
        """Whether the server said that it is ready, or ended without, within `timeout_s`."""
        return self._settled.wait(timeout_s)

    def wait_closed(self) -> None:
        """Return when the server has closed its output, as its end does."""
        self._thread.join()

    def _follow(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.append(line)
                if self._ready_mark in line:
                    self.is_ready = True
                    self._settled.set()
        self._settled.set()
