"""Chooses the Kafka of a test run from what the machine has; the `kafka` fixture is made of it.

In this order: `MONITOR_TEST_KAFKA=host:port`, a broker from jars, a container of an image that is at hand.
`MONITOR_TEST_KAFKA=off` wants none, `MONITOR_TEST_KAFKA_VIA=jars` (or `docker`) forces one way.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.support.kafka import READY_LIMIT_S, READY_MARK, Broker, Kafka, prepare
from tests.support.kafka_jars import DEFAULT_VERSION, KafkaUnavailable, new_id
from tests.support.kafka_settings import BROKER_PROPERTIES
from tests.support.processes import free_ports

DEFAULT_IMAGE = f"apache/kafka:{DEFAULT_VERSION}"


def choose_kafka() -> AbstractContextManager[Kafka]:
    """A Kafka to be entered; raises `KafkaUnavailable` with the reason of every way that is closed.

    A broker that was asked for by address and does not answer raises `ConnectionError`: nothing replaces it.
    """
    asked_for = os.environ.get("MONITOR_TEST_KAFKA", "")
    if asked_for == "off":
        raise KafkaUnavailable("MONITOR_TEST_KAFKA=off")
    if asked_for:
        return _existing(asked_for)
    return _first_open_way(os.environ.get("MONITOR_TEST_KAFKA_VIA", ""))


def _first_open_way(forced: str) -> AbstractContextManager[Kafka]:
    # Jars first: ready three times sooner than a container, and such a broker can be killed and paused.
    ways: dict[str, Callable[[], AbstractContextManager[Kafka]]] = {"jars": _from_jars, "docker": _in_docker}
    reasons = []
    for name, way in ways.items():
        if forced in ("", name):
            try:
                return way()
            except KafkaUnavailable as error:
                reasons.append(str(error))
    if not reasons:
        reasons.append(f"MONITOR_TEST_KAFKA_VIA={forced} is none of {', '.join(ways)}")
    raise KafkaUnavailable("; ".join(reasons))


@contextmanager
def _existing(bootstrap: str) -> Iterator[Kafka]:
    host, _, port = bootstrap.split(",", 1)[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise ConnectionError(f"MONITOR_TEST_KAFKA={bootstrap} does not answer: {error}") from error
    yield Kafka(bootstrap, frozenset({"admin"}))


def _from_jars() -> Broker:
    return Broker(prepare())


def _in_docker() -> AbstractContextManager[Kafka]:
    image = os.environ.get("MONITOR_TEST_KAFKA_IMAGE") or DEFAULT_IMAGE
    _require_image(image)
    return _container(image)


def _require_image(image: str) -> None:
    """Ask the engine for an image that is there: a pull could hang behind a silent firewall."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        _require_engine_socket()
        engine = docker.from_env(timeout=2)
        try:
            engine.images.get(image)
        finally:
            engine.close()
    except ImageNotFound as error:
        raise KafkaUnavailable(f"the image {image} is not at hand (docker pull {image})") from error
    except (DockerException, OSError) as error:
        raise KafkaUnavailable(f"no Docker engine answers ({error})") from error


def _require_engine_socket() -> None:
    """Connect once ourselves: the client library leaves its socket open when nobody listens."""
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if path.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path.removeprefix("unix://"))


@contextmanager
def _container(image: str) -> Iterator[Kafka]:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    testcontainers_config.ryuk_disabled = True  # the reaper's own image may not be at hand
    # Bound to the same port on both sides, so that the advertised address is known before the start.
    [port] = free_ports(1)
    settings = {
        **BROKER_PROPERTIES,
        "node.id": 1,
        "controller.quorum.voters": "1@127.0.0.1:9093",
        "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
    }
    container = DockerContainer(image).with_env("CLUSTER_ID", new_id())
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", str(value))
    # `with_bind_ports` takes no address and would open the broker to the network.
    container.ports[f"{port}/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment]
    started = LogMessageWaitStrategy(READY_MARK).with_startup_timeout(int(READY_LIMIT_S))
    with container.waiting_for(started):
        yield Kafka(f"127.0.0.1:{port}", frozenset({"admin"}))
