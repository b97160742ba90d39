"""Kafka over TLS, with certificates, with users: everything works through each door; a closed one is explained."""

import asyncio
import dataclasses
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from monitor.clock import SystemClock
from monitor.engines.base import Cancel
from monitor.engines.kafka import open_kafka_engine
from monitor.errors import JournalUnavailable, StartupError
from monitor.journal import open_kafka_journal
from monitor.journal.kafka.brokers import Brokers
from monitor.kafka_security import PLAINTEXT, KafkaSecurity
from tests.contracts.journal_contract import from_the_start, numbered, places, poll_until, read_all
from tests.support.certificates import Authority
from tests.support.command_line import monitor
from tests.support.kafka import Broker, prepare
from tests.support.kafka_jars import KafkaJars, KafkaUnavailable
from tests.support.kafka_secure import PASSWORD, STRANGER, USER, Listener, SecureBroker, secure_broker
from tests.support.processes import free_ports
from tests.support.service import LATE_S, Service, eventually

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def jars() -> KafkaJars:
    """What brokers are made of."""
    try:
        return prepare()
    except KafkaUnavailable as error:
        pytest.skip(f"no Kafka with listeners of its own: {error}")


@pytest.fixture(scope="module")
def broker(jars: KafkaJars, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """A broker with a listener of each kind."""
    with secure_broker(jars, tmp_path_factory.mktemp("certificates")) as broker:
        yield broker


@pytest.mark.parametrize(
    ("listener", "mechanism"),
    [
        *(("tls", ""), ("mutual", "")),
        *(("login", "SCRAM-SHA-256"), ("login", "PLAIN"), ("tls_login", "SCRAM-SHA-512"), ("tls_login", "PLAIN")),
    ],
)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a group"])
async def test_every_client_comes_through_every_door(
    broker: SecureBroker, listener: Listener, mechanism: str, alone: bool
) -> None:
    """Topics are made, records appended, read, picked, consumed and followed, and commands submitted."""
    security = broker.security(listener, mechanism)
    url = f"kafka://{broker.at[listener]}/{uuid.uuid4().hex}"
    journal = await open_kafka_journal(
        url, clock=SystemClock(), group=uuid.uuid4().hex, alone=alone, partitions=2, security=security
    )
    appended = await journal.append(numbered(50))
    assert sorted(places(await read_all(journal))) == sorted(appended)
    assert len(await journal.pick(appended[0].partition, [appended[0].offset])) == 1
    for consumer in (await journal.consumer(from_the_start), await journal.tail(from_the_start)):
        assert sorted(places(await poll_until(consumer, 50))) == sorted(appended)
        await consumer.close()
    await journal.check_life()
    await journal.close()

    engine = await open_kafka_engine(f"{url}.commands", clock=SystemClock(), partitions=1, security=security)
    await engine.submit(Cancel("c1", "default", "exec_1", "wf_1"))
    await engine.close()


@dataclass(frozen=True)
class Door:
    """Who comes to which listener, and what is said."""

    listener: Listener
    said: str
    # Of what gets in there; and whose certificates are taken for the right ones.
    change: Any = None

    def security(self, broker: SecureBroker, other: Authority) -> KafkaSecurity:
        """What the client brings along."""
        right = broker.security(self.listener, "SCRAM-SHA-512" if "login" in self.listener else "")
        changed: KafkaSecurity = self.change(right, other)
        return changed


def _with(**changes: Any) -> Any:
    return lambda right, _: dataclasses.replace(right, **changes)


DOORS = {
    "an unknown authority": Door(
        "tls", "not trusted .*MONITOR_KAFKA_CA", lambda right, other: dataclasses.replace(right, ca=other.file)
    ),
    "no authority": Door("tls", "not trusted .*MONITOR_KAFKA_CA", _with(ca=None)),
    "no TLS": Door("tls", "speaks TLS; set MONITOR_KAFKA_SECURITY=ssl", lambda *_: PLAINTEXT),
    "a login without TLS": Door(
        "tls_login", "speaks TLS; set MONITOR_KAFKA_SECURITY=sasl_ssl", _with(protocol="sasl_plaintext", ca=None)
    ),
    "TLS where there is none": Door(
        "plain", "does not speak TLS; .*=plaintext", lambda _, other: KafkaSecurity("ssl", other.file)
    ),
    "an encrypted login where there is no TLS": Door(
        "login", "does not speak TLS; .*=sasl_plaintext", _with(protocol="sasl_ssl")
    ),
    "no certificate": Door("mutual", "asks for a certificate .*MONITOR_KAFKA_CERT", _with(cert=None)),
    "a certificate of others": Door(
        "mutual", "does not take the certificate", lambda right, other: dataclasses.replace(right, cert=other.issue())
    ),
    "nobody": Door("login", "wants a user .*=sasl_plaintext", lambda *_: PLAINTEXT),
    "nobody over TLS": Door("tls_login", "wants a user .*=sasl_ssl", lambda right, _: KafkaSecurity("ssl", right.ca)),
    "a user where there are none": Door(
        "tls",
        "lets nobody log in; set MONITOR_KAFKA_SECURITY=ssl",
        lambda right, _: KafkaSecurity("sasl_ssl", right.ca, None, None, "PLAIN", USER, PASSWORD),
    ),
    "a wrong password": Door("tls_login", "does not let user monitor in", _with(password="guessed")),
    "an unknown user": Door("login", "does not let user nobody in", _with(username="nobody")),
    "a wrong password by PLAIN": Door(
        "tls_login", "does not let user monitor in", _with(mechanism="PLAIN", password="guessed")
    ),
    "a user without rights": Door("tls_login", "not let this user see topic", _with(username=STRANGER)),
}


@pytest.mark.parametrize("case", DOORS)
async def test_closed_door_is_explained_at_once(broker: SecureBroker, tmp_path: Path, case: str) -> None:
    """One line that names the setting to change, never a hang; and no word of the password."""
    door = DOORS[case]
    security = door.security(broker, Authority(tmp_path))
    started_s = time.monotonic()
    with pytest.raises(StartupError, match=door.said) as refused:
        await open_kafka_journal(
            f"kafka://{broker.at[door.listener]}/events", clock=SystemClock(), group="test", security=security
        )
    assert time.monotonic() - started_s < LATE_S
    assert refused.value.message.startswith(f"Kafka at {broker.at[door.listener]}")
    assert PASSWORD not in refused.value.message
    assert "guessed" not in refused.value.message


async def test_server_that_is_not_there_does_not_hide_the_one_that_refuses(broker: SecureBroker) -> None:
    """The first that answers decides; when none does, a later try may succeed."""
    wrong = dataclasses.replace(broker.security("tls_login", "PLAIN"), password="guessed")
    with pytest.raises(StartupError, match="does not let user monitor in"):
        await open_kafka_journal(
            f"kafka://127.0.0.1:9,{broker.at['tls_login']}/events", clock=SystemClock(), group="test", security=wrong
        )
    with pytest.raises(JournalUnavailable):
        await open_kafka_journal("kafka://127.0.0.1:9/events", clock=SystemClock(), group="test", security=wrong)


class Astray(Broker):
    """Names an address where nobody is."""

    def _lay_out(self) -> None:
        super()._lay_out()
        file = self._folder / "server.properties"
        [elsewhere] = free_ports(1)
        file.write_text(f"{file.read_text()}advertised.listeners=PLAINTEXT://127.0.0.1:{elsewhere}\n")


async def test_brokers_that_are_named_and_not_reached_are_explained(jars: KafkaJars) -> None:
    """The first fault of every Kafka in containers: it answers, and sends its clients to where they cannot go."""
    with Astray(jars) as broker, pytest.raises(StartupError, match=r"names 127.*advertised\.listeners"):
        await open_kafka_journal(f"kafka://{broker.bootstrap}/events", clock=SystemClock(), group="test")


async def test_certificate_renewed_on_disk_is_shown_by_clients_of_before(broker: SecureBroker, tmp_path: Path) -> None:
    """A service outlives its certificates: nobody has to start it again. Half a file does no harm."""
    shown = tmp_path / "client.pem"
    shown.write_bytes(Authority(tmp_path).issue().read_bytes())
    brokers = Brokers(broker.at["mutual"], dataclasses.replace(broker.security("mutual"), cert=shown))
    client = AIOKafkaClient(**brokers.client_settings())
    with pytest.raises(KafkaConnectionError):
        await client.bootstrap()
    renewed = broker.authority.issue("client").read_bytes()
    for content in (b"half of", renewed, b"", renewed):
        shown.write_bytes(content)
        os.utime(shown, ns=(0, time.monotonic_ns()))
        brokers.client_settings()  # as whoever checks the topic does every few seconds
        if content == renewed:
            await client.bootstrap()
    await client.close()


async def test_service_over_tls_with_users(broker: SecureBroker, tmp_path: Path) -> None:
    """From a topic that is made to a state that others read; its log says nothing of the password."""
    events, commands = uuid.uuid4().hex, uuid.uuid4().hex
    (secret := tmp_path / "password").write_text(f"{PASSWORD}\n")
    settings = {
        "journal": f"kafka://{broker.at['tls_login']}/{events}",
        "commands": f"kafka://{broker.at['tls_login']}/{commands}",
        "kafka_security": "sasl_ssl",
        "kafka_ca": str(broker.authority.file),
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_sasl_username": USER,
        "kafka_sasl_password_file": str(secret),
    }
    made = await asyncio.to_thread(monitor, "topics", "--json", "--partitions", "2", **settings)
    assert [(it["use"], it["partitions"]) for it in made.document["topics"]] == [("events", 2), ("commands", 2)]
    service = Service(tmp_path / "data", **settings)
    service.launch()
    try:
        await service.ready()
        async with service.client() as client:
            event = {"type": "execution.started", "executionId": "e1", "timestamp": "2026-11-22T10:00:00Z"}
            assert (await client.post("/v1/events", json={**event, "workflowId": "wf_1"})).status_code == 200

            async def is_there() -> bool:
                return (await client.get("/v1/executions/e1")).status_code == 200

            await eventually(is_there)
            asked = await client.post("/v1/workflows/wf_theirs/execute", json={})
            assert asked.status_code in (200, 202), asked.text
        looked = await asyncio.to_thread(monitor, "doctor", "--json", data=service.data, **settings)
        found = {it["subject"]: it["state"] for it in looked.document["findings"]}
        assert (found["journal"], found["anchors"], found[events]) == ("ok", "ok", "warn")  # one replica
        assert await service.stop() == 0
    finally:
        service.close()
    written = await open_kafka_journal(f"kafka://{broker.bootstrap}/{commands}", clock=SystemClock(), group="check")
    assert [b"wf_theirs" in (record.value or b"") for record in await read_all(written)] == [True]
    await written.close()
    assert PASSWORD not in service.log.read_text() + made.out + made.err + looked.out + looked.err


async def test_service_that_is_not_let_in_ends_at_once(broker: SecureBroker, tmp_path: Path) -> None:
    """Exit code 2 and one line; the same for every command that asks Kafka."""
    settings = {
        "journal": f"kafka://{broker.at['tls_login']}/events",
        "kafka_security": "sasl_ssl",
        "kafka_ca": str(broker.authority.file),
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": "guessed",
        "data": str(tmp_path),
    }
    for command in (["serve", "--port", "0"], ["topics"]):
        answer = await asyncio.to_thread(monitor, *command, **settings)
        assert answer.code == 2
        assert "does not let user monitor in; look at MONITOR_KAFKA_SASL_USERNAME" in answer.err
        assert "guessed" not in answer.err + answer.out
