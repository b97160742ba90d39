"""Receivers behind TLS that proves nothing get nothing: each kind fails with its word, and no body leaves in clear."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from monitor.webhooks.delivery import Answer
from monitor.webhooks.sender import MAX_ANSWER_BYTES, Sender, open_sender
from monitor.webhooks.targets import Targets
from tests.support.certificates import Authority
from tests.support.receiver import LOOPBACK, answering, cutting, receiving, saying_then_resetting, saying_without_end

PATIENT_S = 15.0
BODY = b'{"event":"execution.failed"}'


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The only one that the sender trusts."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
async def sender(authority: Authority) -> AsyncIterator[Sender]:
    """A sender that may reach receivers here."""
    async with open_sender(Targets(LOOPBACK)) as opened:
        yield opened


async def post(sender: Sender, url: str) -> Answer:
    """What came of one send, without the time that it took."""
    return replace(await sender.send(url, {"webhook-id": "msg_1"}, BODY, PATIENT_S), phases_us={})


async def test_case_29_receiver_that_is_vouched_for_is_reached(authority: Authority, sender: Sender) -> None:
    """The connection is kept, as any other; its phases contain the handshake."""
    async with receiving(authority.vouch()) as receiver:
        answers = [await sender.send(receiver.url, {}, BODY, PATIENT_S) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        assert [(request.body, request.connection) for request in receiver.requests] == [(BODY, 1), (BODY, 1)]
        assert list(answers[0].phases_us) == ["dns", "connect", "first_byte", "body", "total"]


def expired(authority: Authority) -> ssl.SSLContext:
    """Its certificate was good until yesterday."""
    return authority.vouch(until_days=-1)


def somebody_elses(authority: Authority) -> ssl.SSLContext:
    """Its certificate is good, for another address."""
    return authority.vouch("127.0.0.2")


def of_another_name(authority: Authority) -> ssl.SSLContext:
    """Its certificate is good, for a name."""
    return authority.vouch("receiver.example")


def self_signed(authority: Authority) -> ssl.SSLContext:
    """Nobody else vouches for it."""
    return authority.vouch(itself=True)


def outdated(authority: Authority) -> ssl.SSLContext:
    """It speaks TLS 1.0 only."""
    context = authority.vouch()
    # Of those ciphers the library allows none by default; without them it would not even begin.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


@pytest.mark.parametrize("kind", [expired, somebody_elses, of_another_name, self_signed, outdated])
async def test_case_29_receiver_that_proves_nothing_gets_nothing(
    authority: Authority, sender: Sender, kind: Callable[[Authority], ssl.SSLContext]
) -> None:
    """Each kind of bad certificate, and a protocol that can be broken: no request arrives."""
    async with receiving(kind(authority)) as pretender:
        assert await post(sender, pretender.url) == Answer(None, "tls")
        assert pretender.requests == []


async def test_case_29_outdated_receiver_works_for_a_lax_client(authority: Authority) -> None:
    """The refusal above is the sender's: somebody who asks for no more can talk to it."""
    lax = ssl.create_default_context(cafile=authority.file)
    lax.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        lax.minimum_version = ssl.TLSVersion.TLSv1
    async with receiving(outdated(authority)) as receiver:
        _, writer = await asyncio.open_connection("127.0.0.1", receiver.port, ssl=lax)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1"
        writer.transport.abort()


ALERTS = {"no_application_protocol": 120, "protocol_version": 70, "handshake_failure": 40}


@pytest.mark.parametrize(
    "said",
    [*(bytes([21, 3, 3, 0, 2, 2, code]) for code in ALERTS.values()), b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    ids=[*ALERTS, "no TLS at all"],
)
async def test_case_29_handshake_that_fails_sends_nothing_in_clear(sender: Sender, said: bytes) -> None:
    """A receiver that wants another protocol above TLS or another TLS, or none: what it gets is a greeting."""
    arrived = []

    async def answer_a_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await reader.readuntil(b"http/1.1"))
        writer.write(said)
        arrived.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(answer_a_greeting, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await post(sender, f"https://127.0.0.1:{port}/") == Answer(None, "tls")
    greeting = b"".join(arrived)
    assert greeting[0] == 22  # a handshake record, which offers HTTP/1.1 and nothing else
    assert b"\x00\x0b\x00\x09\x08http/1.1" in greeting
    assert BODY not in greeting
    assert b"msg_1" not in greeting


async def test_case_29_cut_connections_are_told_apart_by_when(authority: Authority, sender: Sender) -> None:
    """In the handshake, before an answer and in one."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await post(sender, f"https://127.0.0.1:{port}/") == Answer(None, "tls")
    async with receiving(authority.vouch()) as receiver:
        receiver.behave(cutting, saying_then_resetting(b"HTTP/1.1 500 X\r\ncontent-length: 9\r\n\r\n"))
        assert await post(sender, receiver.url) == Answer(None, "disconnected")
        assert await post(sender, receiver.url) == Answer(500, is_truncated=True)


async def test_case_21_endless_answers_cost_16_kib_behind_tls_too(authority: Authority, sender: Sender) -> None:
    """What was decrypted and is not wanted is dropped with its connection."""
    async with receiving(authority.vouch()) as receiver:
        receiver.behave(saying_without_end(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096))
        assert await post(sender, receiver.url) == Answer(200, body=b"x" * MAX_ANSWER_BYTES, is_truncated=True)
        await receiver.left()


async def test_case_36_proxies_are_ignored_behind_tls_too(
    authority: Authority, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No CONNECT goes anywhere."""
    async with receiving(authority.vouch()) as receiver, receiving() as proxy:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        receiver.behave(answering(204))
        assert await post(sender, receiver.url) == Answer(204)
        assert proxy.connections == 0
