"""A real Apache Kafka for the tests: one KRaft node per `Broker`, started from jars in about a second.

A broker can be killed, paused, stopped and started again on the same port and data; several make a cluster
(`tests.support.kafka_cluster`). It dies with the process that launched it, and a folder that a killed test run left
behind is swept by the next. Run as a module, this fills the cache.
"""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from tests.support.cache import locked
from tests.support.kafka_jars import (
    OLDEST_JAVA,
    KafkaJars,
    KafkaUnavailable,
    java_version,
    kafka_jars,
    new_id,
    properties_text,
)
from tests.support.kafka_settings import BROKER_PROPERTIES
from tests.support.processes import Output, dying_with_us, free_ports, scratch_folder

Ability = Literal["admin", "kill", "pause"]

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0

PORT_CONFLICT = "Address already in use"
READY_MARK = "Kafka Server started"


class BrokerEnded(Exception):
    """The broker's process ended instead of becoming ready; the message is its last output."""


class Seat(NamedTuple):
    """Which node of which cluster a broker is, and where it listens."""

    node_id: int
    cluster_id: str
    port: int
    controller_port: int
    # Every node of the cluster, as Kafka spells it.
    voters: str


def seats(count: int) -> list[Seat]:
    """Those of a new cluster; nodes are numbered from 1."""
    cluster_id, ports, controller_ports = new_id(), free_ports(count), free_ports(count)
    voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controller_ports, 1))
    places = zip(ports, controller_ports, strict=True)
    return [Seat(number, cluster_id, *place, voters) for number, place in enumerate(places, 1)]


class Kafka:
    """A Kafka that answers at `bootstrap`; `can` says what a test may do to it besides using it."""

    def __init__(self, bootstrap: str, can: frozenset[Ability]) -> None:
        self.bootstrap = bootstrap
        self.can = can

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A new admin client: an old one never leaves a node that has died."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await client.start()
            yield client
        finally:
            await client.close()

    async def create_topic(self, *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """The name of a new topic that no other test knows, with these topic settings."""
        name = f"test-{uuid.uuid4().hex}"
        topic = NewTopic(name, partitions, replication_factor=1, topic_configs=dict(config or {}))
        async with self.admin() as admin:
            answer = await admin.create_topics([topic])
        for _, code, message in answer.topic_errors:
            if code:  # the client hands a refusal over like an answer
                raise for_code(code)(message)
        return name


class Broker(Kafka):
    """A Kafka node of the test's own, made from jars; `start` it, or use it as a context manager.

    Launch from the main thread: the broker dies with the thread that launched it. In a coroutine:
    `broker.launch(); await asyncio.to_thread(broker.wait_ready)`.
    """

    def __init__(
        self, jars: KafkaJars, *, properties: Mapping[str, object] | None = None, seat: Seat | None = None
    ) -> None:
        """Without a `seat` it is a cluster of its own."""
        self._jars, self._seat = jars, seat
        self._properties = {**BROKER_PROPERTIES, **(properties or {})}
        self._folder = scratch_folder("monitor-kafka")
        self._process: subprocess.Popen[str] | None = None
        self._output: Output | None = None
        super().__init__("", frozenset({"admin", "kill", "pause"}))
        self._lay_out()

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
        """The process id, or None before the first launch."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout_s: float = READY_LIMIT_S) -> None:
        """Launch and wait until it answers; the first start chooses new ports when one was taken."""
        first = self._process is None
        for _ in range(3):
            self.launch()
            try:
                return self.wait_ready(timeout_s=timeout_s)
            except BrokerEnded as error:
                if not (first and PORT_CONFLICT in str(error)):
                    raise
                self._lay_out()
        raise KafkaUnavailable("three pairs of ports in a row were taken")

    def launch(self, *, options: tuple[str, ...] = ()) -> None:
        """Start the process, with further JVM options, and return at once; `wait_ready` is the other half."""
        assert not self.is_running, "one process at a time works on the data"
        if not options and self._jars.archive.exists():
            options = (f"-XX:SharedArchiveFile={self._jars.archive}", "-Xshare:auto", "-Xlog:disable")
        # Codecs unpack their native parts there; a killed broker would leave them behind anywhere else.
        options = (*options, f"-Djava.io.tmpdir={self._folder}")
        settings = str(self._folder / "server.properties")
        command = self._jars.java_command("kafka.Kafka", settings, options=options)
        self._process = subprocess.Popen(
            dying_with_us(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the tests, which then close the broker
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},  # 25 MB less resident
        )
        assert self._process.stdout
        self._output = Output(self._process.stdout, READY_MARK)

    def wait_ready(self, *, timeout_s: float = READY_LIMIT_S) -> None:
        """Return when the launched broker answers.

        Raises `BrokerEnded` or `TimeoutError` with its last output.
        """
        assert self._output, "launch it first"
        if not self._output.wait_settled(timeout_s):
            raise TimeoutError(f"the broker was not ready within {timeout_s} s:\n{self._output.tail}")
        if not self._output.is_ready:
            raise BrokerEnded(self._output.tail)

    def kill(self) -> None:
        """End it by SIGKILL: what was acknowledged is there after the next start."""
        self._signal(signal.SIGKILL)
        self._wait_ended(STOP_LIMIT_S)

    def stop(self, *, timeout_s: float = STOP_LIMIT_S) -> None:
        """End it by SIGTERM, cleanly; kill it when that takes longer than `timeout_s`."""
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._wait_ended(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def pause(self) -> None:
        """Freeze it by SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        # The signal is on its way: a thread may still answer until the last one has stopped.
        assert self._process
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused broker run on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it at once and remove its folder; repeatable."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self.is_running:
            self._process.send_signal(number)

    def _wait_ended(self, timeout_s: float) -> None:
        if self._process and self._output:
            self._process.wait(timeout_s)
            self._output.wait_closed()

    def _lay_out(self) -> None:
        """Choose ports and make a fresh data folder with the settings for them."""
        seat = self._seat or seats(1)[0]
        self.bootstrap = f"127.0.0.1:{seat.port}"
        data = self._folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self._jars.template, data)
        identity = {
            "version": 1,
            "node.id": seat.node_id,
            "cluster.id": seat.cluster_id,
            "directory.id": new_id(),
        }
        (data / "meta.properties").write_text(properties_text(identity))
        place = {
            "node.id": seat.node_id,
            "log.dirs": data,
            "controller.quorum.voters": seat.voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{seat.port},CONTROLLER://127.0.0.1:{seat.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{seat.port}",
        }
        settings = properties_text({**self._properties, **place})
        (self._folder / "server.properties").write_text(settings)


def prepare() -> KafkaJars:
    """The filled cache: made on the first call on a machine (20 s), then there at once.

    Raises `KafkaUnavailable` when Java or Maven is missing or the jars cannot be had.
    """
    version = java_version()
    if version is None or version < OLDEST_JAVA:
        found = "none" if version is None else f"version {version}"
        raise KafkaUnavailable(f"Java {OLDEST_JAVA} is needed, found {found} (Debian: default-jre-headless)")
    jars = kafka_jars()
    with locked(jars.folder.parent / f"{jars.version}.lock"):
        jars.make()
        if not jars.archive.exists():
            _write_archive(jars)
    return jars


def _write_archive(jars: KafkaJars) -> None:
    """Start a broker once so that the JVM notes its classes: every later start takes half the time."""
    fresh = jars.archive.with_suffix(".making")
    broker = Broker(jars)
    try:
        broker.launch(options=(f"-XX:ArchiveClassesAtExit={fresh}",))
        broker.wait_ready()  # a broker that dies at once would write an archive too, of nothing
        broker.stop()
    finally:
        broker.close()
    if fresh.exists():
        fresh.rename(jars.archive)


if __name__ == "__main__":
    try:
        prepare()
    except KafkaUnavailable as error:
        sys.exit(f"No Kafka from jars: {error}")
