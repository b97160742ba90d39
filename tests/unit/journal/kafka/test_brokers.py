"""What clients are made with: one place for all of them, and files that cannot be used are named."""

import ast
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from monitor.errors import StartupError
from monitor.journal.kafka.brokers import Brokers
from monitor.kafka_security import KafkaSecurity
from tests.architecture.source import read_modules
from tests.support.certificates import Authority

CLIENTS = {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaClient", "AIOKafkaAdminClient", "AIOKafkaConnection"}


def test_every_client_is_made_with_what_the_brokers_ask_for() -> None:
    """A client that was forgotten would come without certificate and user, and be the last to be noticed."""
    made = {
        (module, ast.unparse(call.func)): [ast.unparse(it.value) for it in call.keywords if it.arg is None]
        for module, tree in read_modules().items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in CLIENTS
    }
    assert len(made) >= 6
    from_brokers = ("client_settings()", "read_settings(self._brokers)", "settings")
    assert [where for where, given in made.items() if not any(it.endswith(from_brokers) for it in given)] == []


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """With the setting that names them, and what is wrong; a key that asks for a password is not waited for."""
    authority, other = Authority(tmp_path), ec.generate_private_key(ec.SECP256R1())
    (empty := tmp_path / "empty.pem").write_bytes(b"")
    (locked := tmp_path / "locked.pem").write_bytes(_pem(other, serialization.BestAvailableEncryption(b"secret")))
    (foreign := tmp_path / "foreign.pem").write_bytes(_pem(other, serialization.NoEncryption()))
    cert = authority.issue("client")
    cases = {
        KafkaSecurity("ssl", tmp_path / "none.pem"): r"MONITOR_KAFKA_CA: .*none.pem cannot be read \(No such file",
        KafkaSecurity("ssl", empty): r"MONITOR_KAFKA_CA: .*empty.pem cannot be used",
        KafkaSecurity("ssl", tmp_path): r"MONITOR_KAFKA_CA: ",
        KafkaSecurity("ssl", None, tmp_path / "none.pem"): r"MONITOR_KAFKA_CERT: .*none.pem cannot be read",
        KafkaSecurity("ssl", None, authority.file): r"MONITOR_KAFKA_CERT: .*authority.pem cannot be used",
        KafkaSecurity("ssl", None, cert, foreign): r"MONITOR_KAFKA_CERT and MONITOR_KAFKA_KEY: .* cannot be used",
        KafkaSecurity("ssl", None, cert, locked): r"MONITOR_KAFKA_KEY is encrypted; decrypt it with",
    }
    for security, said in cases.items():
        with pytest.raises(StartupError, match=said):
            Brokers("a:1", security).client_settings()


def _pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
