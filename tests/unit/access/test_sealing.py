"""What is sealed here opens here alone, and the key survives whatever ends its making."""

import os
import stat
from pathlib import Path

import pytest

from monitor.access.sealing import KEY_BYTES, Sealer, Unopenable, load_key
from monitor.errors import DataFolderUnusable

SEALER = Sealer(bytes(range(KEY_BYTES)))


def test_token_opens_for_its_purpose_alone() -> None:
    """A token of one kind, or of another deployment, says nothing here."""
    token = SEALER.token("position", b"plain")
    assert SEALER.untoken("position", token) == b"plain"
    with pytest.raises(Unopenable):
        SEALER.untoken("cursor", token)
    with pytest.raises(Unopenable):
        Sealer(bytes(KEY_BYTES)).untoken("position", token)


def test_token_has_one_spelling() -> None:
    """What base64 decoders forgive would make two tokens of one."""
    token = SEALER.token("position", b"plain")
    for other in (token + "=", token + "A", token[:-1], f" {token}", f"{token}\n", "", "é", "="):
        with pytest.raises(Unopenable):
            SEALER.untoken("position", other)


def test_proof_recognises_the_key() -> None:
    """Made again it is the same, and no other key makes it; what was sealed for another purpose is none."""
    assert Sealer(bytes(range(KEY_BYTES))).proof() == SEALER.proof()
    assert Sealer(bytes(KEY_BYTES)).proof() != SEALER.proof()
    assert SEALER.proof() not in {SEALER.seal(purpose, b"execution-monitor") for purpose in ("position", "")}


def test_nothing_prints_the_key() -> None:
    """A sealer in a log line or a traceback gives nothing away."""
    assert repr(SEALER) == "Sealer(...)"


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The second start finds the key of the first; nobody else on the machine can read it."""
    path = tmp_path / "key"
    assert load_key(path) == load_key(path)
    assert (len(load_key(path)), stat.S_IMODE(path.stat().st_mode)) == (KEY_BYTES, 0o600)


def test_process_that_dies_while_it_makes_the_key_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a key under its name would keep the service from ever starting again."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            load_key(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    assert len(load_key(tmp_path / "key")) == KEY_BYTES


def test_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    """It is never replaced: what was sealed under the lost key would be lost with it."""
    path = tmp_path / "key"
    path.write_bytes(b"short")
    with pytest.raises(DataFolderUnusable, match=r"key is no key of this service \(5 bytes\)"):
        load_key(path)
    assert path.read_bytes() == b"short"


def test_key_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    """One line for whoever starts the service, not a traceback."""
    (tmp_path / "key").mkdir()
    with pytest.raises(DataFolderUnusable, match="key cannot be read: Is a directory"):
        load_key(tmp_path / "key")
