"""A real PostgreSQL for the tests: a throw-away server, ready in about a second, and a fresh database for each test.

A server can be killed, paused, stopped and started again on the same port and data. It dies with the process that
launched it, and a folder that a killed test run left behind is swept by the next. Run as a module, this sees to it that
one can be started.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from tests.support.debian import Unavailable, install
from tests.support.processes import dying_with_us, free_ports, scratch_folder

READY_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 30.0

_LOOK_EVERY_S: Final = 0.02

# What was committed outlives a killed server, not a killed machine.
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Postgres:
    """A PostgreSQL that answers at `url`, in which databases can be made."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def database(self, name: str = "", *, template: str = "template0") -> Iterator[str]:
        """The address of a new database, like the template or empty; dropped in the end whoever still uses it."""
        name = name or f"test_{uuid.uuid4().hex}"
        self.do(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.address(name)
        finally:
            self.do(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def address(self, database: str) -> str:
        """The address of a database of this server."""
        base, _, question = self.url.partition("?")
        at = base.rpartition("/")[0] if base.count("/") > 2 else base
        return f"{at}/{database}" + (f"?{question}" if question else "")

    def do(self, statement: str) -> None:
        """Run a statement by itself, beside all databases of tests."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(statement)


class Server(Postgres):
    """A server of the test's own; `start` it, or use it as a context manager.

    Launch from the main thread: the server dies with the thread that launched it.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """`settings`: of the server, over those of tests."""
        self._settings = {**_SETTINGS, **(settings or {})}
        self._user = _unprivileged()
        self._folder = scratch_folder("monitor-postgres")
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        [self.port] = free_ports(1)
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process id, or None before the first start."""
        return self._process.pid if self._process else None

    def start(self, *, timeout_s: float = READY_LIMIT_S) -> None:
        """Launch and wait until it answers; after the first time on the data that it left."""
        if not self._data.exists():
            self._make_data()
        until = time.monotonic() + timeout_s
        while not self._launch(until):
            # Children of a killed one hold its memory for a moment.
            if time.monotonic() > until:
                raise TimeoutError(f"the server was not ready within {timeout_s} s:\n{self.log()}")

    def mend(self) -> None:
        """It runs again, whatever a test did to it."""
        self.resume()
        if self._process is None or self._process.poll() is not None:
            self.start()

    def kill(self) -> None:
        """End it by SIGKILL: what was committed is there after the next start."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it cleanly at once, whoever is connected."""
        self.resume()
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """Freeze it by SIGSTOP, with all who serve connections: these stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server run on."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End it at once and remove its folder; repeatable."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """The end of what it printed."""
        path = self._folder / "log"
        return path.read_text(errors="replace")[-4_000:] if path.exists() else ""

    def _make_data(self) -> None:
        self._folder.chmod(0o755)
        self._data.mkdir(mode=0o700)
        (self._folder / "socket").mkdir()
        if self._user:
            for folder in (self._data, self._folder / "socket"):
                os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        done = subprocess.run(
            [_command("initdb"), "-D", str(self._data), *options],
            check=False,
            capture_output=True,
            text=True,
            **self._as_user(),
        )
        if done.returncode:
            raise Unavailable(f"initdb failed: {done.stderr.strip()}")

    def _launch(self, until: float) -> bool:
        """Whether it came up; False when it ended at once."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        place = ("-D", str(self._data), "-p", str(self.port), "-k", str(self._folder / "socket"))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_us([_command("postgres"), *place, *settings]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then close the server
                **self._as_user(),
            )
        while self._process.poll() is None and time.monotonic() < until:
            if self._is_ready(self._process.pid):
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def _is_ready(self, pid: int) -> bool:
        """Whether the server's own note says so: of this process, for a killed one left its note behind."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            children = _children(self._process.pid)
            self._process.send_signal(number)
            self._process.wait(STOP_LIMIT_S)
            for pid in children if number == signal.SIGKILL else ():
                _send(pid, number)

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            for pid in (self._process.pid, *_children(self._process.pid)):
                _send(pid, number)

    def _as_user(self) -> dict[str, Any]:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        options: dict[str, Any] = {"cwd": "/", "env": environment}
        if self._user:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options


@contextmanager
def choose_postgres() -> Iterator[Postgres]:
    """The server at `MONITOR_TEST_POSTGRES=postgresql://...`, else one of our own. Raises Unavailable."""
    if given := os.environ.get("MONITOR_TEST_POSTGRES"):
        psycopg.connect(given, connect_timeout=10).close()
        yield Postgres(given)
    else:
        prepare()
        with Server() as server:
            yield server


def prepare() -> None:
    """See to it that a server can be started: Debian's package is installed where it is missing. Raises Unavailable."""
    if _found("initdb") is None:
        install("postgresql")


def _command(name: str) -> str:
    found = _found(name)
    if found is None:
        raise Unavailable(f"there is no {name} (Debian: apt-get install postgresql)")
    return found


def _found(name: str) -> str | None:
    """Debian keeps a server's commands off the path, by version."""
    if on_path := shutil.which(name):
        return str(Path(on_path).resolve())
    installed = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    return max(map(str, installed), key=lambda path: int(path.split("/")[4]), default=None)


def _unprivileged() -> pwd.struct_passwd | None:
    """As whom to run, for the server refuses to be run by root; None for who we are."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    try:
        prepare()
    except Unavailable as error:
        sys.exit(f"No PostgreSQL: {error}")
