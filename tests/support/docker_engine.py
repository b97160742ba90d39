"""A Docker engine of the tests' own, which leaves the machine as it was.

It is unpacked, not installed; its processes, mounts and containers have namespaces that end with it, and its containers
a network without a way out of it. Its images stay in the cache. Only root on Linux can have one; others use the engine
that `docker` finds.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

from tests.support.cache import cache_folder, locked
from tests.support.debian import Unavailable, unpacked_root
from tests.support.processes import Output, dying_with_us, free_ports, scratch_folder

STARTED_WITHIN_S: Final = 60
STOPPED_WITHIN_S: Final = 60
CGROUP: Final = "execution-monitor-tests"

_PACKAGES: Final = ("docker.io", "iptables", "iproute2", "debootstrap")
_COMPOSE: Final = str(Path(sys.executable).parent / "docker-compose")


class Engine:
    """An engine that answers."""

    def __init__(self, environment: Mapping[str, str], pid: int | None = None) -> None:
        """`environment` leads to it; `pid` is of the process whose network namespace its containers publish in."""
        self.environment = {**os.environ, **environment, "DOCKER_BUILDKIT": "0"}
        self.pid = pid

    def docker(self, *words: str, within_s: float = 60) -> str:
        """What `docker WORDS` prints; it must succeed."""
        return self.run(["docker", *words], within_s)

    def run(self, command: list[str], within_s: float, **environment: str) -> str:
        """What a command that talks to the engine prints; it must succeed, within a time."""
        done = subprocess.run(
            ["timeout", "--kill-after=10", f"{within_s:.0f}", *command],
            env={**self.environment, **environment},
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command} -> {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        return done.stdout

    @contextmanager
    def reached(self, port: int) -> Iterator[int]:
        """A port of this machine's loopback that leads to what containers publish at `port` of theirs."""
        if self.pid is None:
            yield port
            return
        [here] = free_ports(1)
        relay = [sys.executable, "-m", "tests.support.relay", str(here), f"/proc/{self.pid}/ns/net", str(port)]
        process = subprocess.Popen(dying_with_us(relay), stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield here
        finally:
            process.terminate()
            process.communicate()


class Compose:
    """The containers of one compose file, as a project of their own; they and their volumes end with the block."""

    def __init__(self, engine: Engine, file: Path, environment: Mapping[str, str]) -> None:
        self.engine, self._file, self._environment = engine, file, environment

    def __call__(self, *words: str, within_s: float = 120) -> str:
        """What `docker compose WORDS` prints; it must succeed."""
        return self.engine.run([_COMPOSE, "-f", str(self._file), *words], within_s, **self._environment)

    def log(self, *services: str) -> str:
        """What the services have printed."""
        return self("logs", "--no-color", "--no-log-prefix", *services)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self("down", "--volumes", "--timeout", "15")


def understood(file: Path, **environment: str) -> dict[str, Any]:
    """The compose file as Compose reads it, with every setting filled in; no engine is asked."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    said = subprocess.run(
        [_COMPOSE, "-f", str(file), "config", "--format", "json"],
        env={**plain, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (said.returncode, said.stderr) == (0, "")
    return dict(json.loads(said.stdout))


@contextmanager
def answering_engine() -> Iterator[Engine]:
    """The engine that `docker` finds on this machine. Raises Unavailable where none answers."""
    try:
        subprocess.run(["docker", "version"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"no Docker engine answers ({error})") from error
    yield Engine({})


@contextmanager
def own_engine(*, for_building: bool = False) -> Iterator[Engine]:
    """An engine of our own, one at a time: with this machine's network to build, or with one of its own to run.

    Raises Unavailable, with what it said, when it does not start here.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unavailable("only root on Linux can start a Docker engine of its own")
    root = unpacked_root(*_PACKAGES)
    cache = cache_folder("docker")
    with locked(cache / "engine.lock"):
        scratch = scratch_folder("monitor-docker")
        try:
            environment = {**_programs(root, scratch), "DOCKER_HOST": f"unix://{scratch}/socket"}
            with _running(environment, cache / "data", scratch, for_building=for_building) as pid:
                engine = Engine(environment, pid)
                _remove_leftovers(engine)
                yield engine
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            _remove_cgroups()


def _programs(root: Path, scratch: Path) -> dict[str, str]:
    """What finds the unpacked programs, among them two whose names Debian sets when it installs them."""
    names = scratch / "bin"
    names.mkdir()
    for name in ("iptables", "ip6tables"):
        if (program := root / "usr/sbin/xtables-nft-multi").exists():
            (names / name).symlink_to(program)
    if (debootstrap := root / "usr/sbin/debootstrap").exists():
        (names / "debootstrap").write_text(
            f'#!/bin/sh\nDEBOOTSTRAP_DIR={root}/usr/share/debootstrap exec {debootstrap} "$@"\n'
        )
        (names / "debootstrap").chmod(0o755)
    libraries = sorted({str(library.parent) for library in root.rglob("*.so*")})
    return {
        "PATH": os.pathsep.join([str(names), f"{root}/usr/bin", f"{root}/usr/sbin", os.environ["PATH"], "/usr/sbin"]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        **(
            {"XTABLES_LIBDIR": next(iter(plugins))}
            if (plugins := [one for one in libraries if "xtables" in one])
            else {}
        ),
    }


@contextmanager
def _running(environment: Mapping[str, str], data: Path, scratch: Path, *, for_building: bool) -> Iterator[int]:
    data.mkdir(parents=True, exist_ok=True)
    network = ["--bridge=none", "--iptables=false", "--ip-masq=false", "--ip-forward=false"] if for_building else []
    daemon = [
        *("dockerd", "--host", environment["DOCKER_HOST"], "--data-root", str(data)),
        *("--exec-root", str(scratch / "exec"), "--pidfile", str(scratch / "pid"), *network),
        # Beside the groups of whatever else there is, so that the empty ones can be removed afterwards.
        *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{CGROUP}"),
    ]
    spaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *([] if for_building else ["--net"])]
    process = subprocess.Popen(
        dying_with_us(["unshare", *spaces, "sh", "-c", 'ip link set lo up; exec "$@"', "engine", *daemon]),
        env={**os.environ, **environment, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = Output(process.stdout, "API listen on")
    try:
        output.wait_settled(STARTED_WITHIN_S)
        if not output.is_ready:
            raise Unavailable(f"a Docker engine does not start here: {output.tail[-2000:]}")
        yield _child_of(process.pid)
    finally:
        # Asked first, so that what it keeps is whole; with it ends everything in its namespaces.
        with suppress(OSError, IndexError):
            os.kill(_child_of(process.pid), signal.SIGTERM)
        try:
            process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        output.wait_closed()


def _child_of(pid: int) -> int:
    """The one process that `unshare` has forked."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _remove_leftovers(engine: Engine) -> None:
    """Of a run that was killed: the data folder is ours alone."""
    if containers := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", "--volumes", *containers)
    engine.docker("volume", "prune", "--force")
    engine.docker("network", "prune", "--force")


def _remove_cgroups() -> None:
    for group in [*Path("/sys/fs/cgroup").glob(f"*/{CGROUP}"), Path("/sys/fs/cgroup") / CGROUP]:
        for folder in sorted((one for one in group.rglob("*") if one.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            group.rmdir()
