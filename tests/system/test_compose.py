"""compose/: its images are built, a real engine starts its files, and clients find the whole service behind them."""

import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest
from standardwebhooks import Webhook

from monitor.settings import read_settings
from tests.support.debian import Unavailable
from tests.support.docker_engine import Compose, Engine, understood
from tests.support.followers import Follower, Followers, following
from tests.support.images import MONITOR, TOP, engine_with_images
from tests.support.service import eventually
from tests.support.tokens import bearer

FILES: Final = ("kafka.yaml", "scale.yaml")
UP_WITHIN_S: Final = 300.0
SMALL_JVM: Final = "-Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
SHOWN_WITHIN_S: Final = 120.0

_TOKEN: Final = re.compile(r"mon_[0-9a-f]{16}_[0-9a-f]{64}")

RECEIVER: Final = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        print(json.dumps({"headers": dict(self.headers), "body": body}), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *said):
        pass
HTTPServer(("", 9000), Receiver).serve_forever()
"""
"""Runs beside the service, and prints each webhook as a line."""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that compose/make-secrets has filled, twice: the second time changes nothing."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    make = [str(TOP / "compose/make-secrets"), str(folder)]
    subprocess.run(make, check=True, capture_output=True)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert subprocess.run(make, check=True, capture_output=True).stdout == b""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made
    return folder


@pytest.fixture(scope="module")
def docker(secrets: Path) -> Iterator[tuple[Engine, Mapping[str, str]]]:
    """An engine, and the settings that start the compose files in it."""
    try:
        with engine_with_images() as (engine, images):
            # What a container's address is follows from the engine and from scale.yaml.
            yield engine, {**images, "SECRETS": str(secrets), "WEBHOOK_ALLOW": "172.16.0.0/12", "KAFKA_HEAP": SMALL_JVM}
    except Unavailable as error:
        pytest.skip(f"no containers: {error}")


@pytest.mark.parametrize("name", FILES)
def test_files_say_what_the_service_takes(name: str, secrets: Path, tmp_path: Path) -> None:
    """Every container is bounded and comes back by itself; the service's have no rights, and settings that it knows."""
    read = understood(TOP / "compose" / name, SECRETS=str(secrets))
    for service, said in read["services"].items():
        assert {"mem_limit", "restart", "logging", "healthcheck"} <= set(said), service
        assert ("disable" in said["healthcheck"]) == (service == "init")
        if said["image"] != "execution-monitor":
            continue
        assert (said["read_only"], said["cap_drop"], said["stop_grace_period"]) == (True, ["ALL"], "20s"), service
        handed = {f"/run/secrets/{path.name}": str(path) for path in secrets.iterdir()}
        settings = read_settings({key: handed.get(value, value) for key, value in said["environment"].items()})
        assert settings.shares_store
        assert settings.key_bytes
        assert not settings.create_topics


def test_both_files_say_the_same_of_what_they_share(secrets: Path) -> None:
    """Whoever moves from one to the other sets what he has set before."""
    small, large = (understood(TOP / "compose" / name, SECRETS=str(secrets))["services"] for name in FILES)
    apart = {"MONITOR_JOURNAL", "MONITOR_COMMANDS", "MONITOR_ROLE", "MONITOR_TRUSTED_PROXIES"}
    one, many = small["monitor"]["environment"], large["gateway-1"]["environment"]
    assert {key: one[key] for key in one.keys() - apart} == {key: many[key] for key in many.keys() - apart}
    assert one["MONITOR_JOURNAL"].rpartition("/")[2] == many["MONITOR_JOURNAL"].rpartition("/")[2]


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_one_of_each_serves(docker: tuple[Engine, Mapping[str, str]]) -> None:
    """kafka.yaml: every door works, secrets are in no environment, and the service drains within its grace time."""
    async with started(docker, "kafka.yaml") as (compose, url):
        # The administrator's, which the first start has printed.
        [token] = set(_TOKEN.findall(compose.log("monitor")))
        async with spectators(compose, url, token) as tell:
            await tell(1)
        monitor = compose("ps", "--quiet", "monitor").strip()
        assert compose("exec", "monitor", "id", "-u").strip() == "10001"
        assert "read-only" in compose("exec", "monitor", "sh", "-c", "touch /opt/x 2>&1 || true").lower()
        inspected = json.loads(compose.engine.docker("inspect", monitor))[0]
        held = [line.partition("=")[2] for line in inspected["Config"]["Env"]]
        assert not any("postgresql://" in value for value in held)
        compose("stop", "monitor")
        # As a new version is begun with.
        assert "there is nothing to do" in compose("run", "--rm", "init", "migrate")
        assert json.loads(compose.engine.docker("inspect", monitor))[0]["State"]["ExitCode"] == 0


@pytest.mark.timeout(900)
async def test_many_serve_behind_nginx_and_any_gateway_may_die(docker: tuple[Engine, Mapping[str, str]]) -> None:
    """scale.yaml: every door works through nginx; a dead gateway costs nobody an answer, and subscribers come back."""
    async with started(docker, "scale.yaml") as (compose, url):
        token = compose("exec", "gateway-1", "monitor", "token", "create", "--role", "admin").strip()
        async with spectators(compose, url, token) as tell, client_of(url, token) as client:
            await tell(1)
            assert (await client.get("/metrics")).status_code == 404
            compose("kill", "gateway-1")
            await tell(2)
            compose("kill", "gateway-2")
            await tell(3)
            compose("kill", "gateway-3")
            await nobody_home(client)
            compose("start", "gateway-1", "gateway-2", "gateway-3")
            await eventually(lambda: somebody_home(client), within_s=SHOWN_WITHIN_S)
            await tell(4)


@asynccontextmanager
async def started(docker: tuple[Engine, Mapping[str, str]], name: str) -> AsyncIterator[tuple[Compose, str]]:
    """The containers of a file, all of them healthy, and the URL that they publish; its last words where it fails."""
    engine, environment = docker
    with Compose(engine, TOP / "compose" / name, environment) as compose:
        try:
            compose("up", "--detach", "--wait", "--wait-timeout", f"{UP_WITHIN_S:.0f}", within_s=UP_WITHIN_S + 60)
            with engine.reached(8080) as port:
                yield compose, f"http://127.0.0.1:{port}"
        except BaseException:
            print(compose("ps", "--all"), compose("logs", "--tail", "30"))
            raise


def client_of(url: str, token: str) -> httpx.AsyncClient:
    """A client that shows the token."""
    return httpx.AsyncClient(base_url=url, headers=bearer(token), trust_env=False, verify=False, timeout=60)  # noqa: S501


@asynccontextmanager
async def spectators(compose: Compose, url: str, token: str) -> AsyncIterator[Any]:
    """Followers of all three forms, and a webhook; gives what tells of an execution, and waits until all know of it."""
    network = json.loads(compose("config", "--format", "json"))["networks"]["default"]["name"]
    program = ["--entrypoint", "python3", MONITOR, "-c", RECEIVER]
    receiver = compose.engine.docker("run", "--detach", "--network", network, "--network-alias", "receiver", *program)
    try:
        async with client_of(url, token) as client:
            hook = {"url": "http://receiver:9000/", "events": ["execution.completed"]}
            made = await client.post("/v1/webhooks", json=hook)
            assert made.status_code == 201, made.text
            verifier = Webhook(made.json()["secret"])
            followers = Followers(url, ("executions",), headers=bearer(token)).plain()

            async with following(followers) as shown:

                async def tell(number: int) -> None:
                    await told(client, number)
                    for follower in shown.values():
                        await follower.until(lambda one: f"e{number}" in ended(one))
                        assert ended(follower) == [f"e{n}" for n in range(1, number + 1)]

                    async def has_arrived() -> bool:
                        came = [
                            json.loads(line) for line in compose.engine.docker("logs", receiver.strip()).splitlines()
                        ]
                        bodies = [verifier.verify(one["body"], one["headers"]) for one in came]
                        return [body["executionId"] for body in bodies] == [f"e{n}" for n in range(1, number + 1)]

                    await eventually(has_arrived, within_s=SHOWN_WITHIN_S)

                yield tell
    finally:
        compose.engine.docker("rm", "--force", "--volumes", receiver.strip())


async def told(client: httpx.AsyncClient, number: int) -> None:
    """Post an execution in two requests; it is visible, at the position that the second one was answered with."""
    for moment, kind in enumerate(("started", "completed")):
        event = {"type": f"execution.{kind}", "executionId": f"e{number}", "workflowId": "wf_1"}
        answer = await client.post("/v1/events", json={**event, "timestamp": f"2026-11-22T10:30:0{moment}Z"})
        assert answer.json()["accepted"] == 1, answer.text

    async def is_visible() -> bool:
        read = await client.get(f"/v1/executions/e{number}", params={"minPosition": answer.json()["position"]})
        return read.status_code == 200 and orjson.loads(read.content)["status"] == "success"

    await eventually(is_visible, within_s=SHOWN_WITHIN_S)


def ended(follower: Follower) -> list[str]:
    """The executions whose end it was shown, in order."""
    return [shown.frame["executionId"] for shown in follower.events if shown.frame["type"] == "execution.completed"]


async def nobody_home(client: httpx.AsyncClient) -> None:
    """While no gateway lives, an EventSource is told to come back, and programs get an error that they know."""
    waiting = await client.get("/v1/executions/stream", headers={"accept": "text/event-stream"})
    assert (waiting.status_code, waiting.headers["content-type"], waiting.text) == (
        200,
        "text/event-stream",
        "retry: 2000\n\n",
    )
    refused = await client.get("/v1/executions")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert refused.headers["retry-after"] == "2"


async def somebody_home(client: httpx.AsyncClient) -> bool:
    """Whether a gateway is ready."""
    return (await client.get("/readyz")).status_code == 200
