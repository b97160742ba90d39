"""The sender tells what became of a POST, whatever receiver it meets; each one here listens on a real socket."""

import asyncio
import datetime as dt
import gzip
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from monitor.webhooks.delivery import Answer
from monitor.webhooks.sender import MAX_ANSWER_BYTES, Limits, Sender, open_sender
from monitor.webhooks.targets import Targets
from tests.support.receiver import (
    LOOPBACK,
    Receiver,
    answering,
    cutting,
    hanging,
    receiving,
    saying,
    saying_then_hanging,
    saying_without_end,
)

# Long enough for an answer on a busy machine, short enough to wait for the lack of one.
HASTY = Limits(connect_s=1.0, total_s=1.0)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A sender that may reach the receiver."""
    async with open_sender(Targets(LOOPBACK)) as opened:
        yield opened


@pytest.fixture
async def hasty() -> AsyncIterator[Sender]:
    """The same with little patience."""
    async with open_sender(Targets(LOOPBACK), HASTY) as opened:
        yield opened


async def test_request_arrives_as_it_was_given(sender: Sender, receiver: Receiver) -> None:
    """The bytes of the body, the headers, the path in its own spelling, and nothing that was not asked for."""
    answer = await sender.send(f"{receiver.url}?a=%2F%7e", {"webhook-id": "msg_1"}, b"\0\xff{}")
    (request,) = receiver.requests
    assert answer == Answer(200)
    assert (request.path, request.body) == ("/hook?a=%2F%7e", b"\0\xff{}")
    assert {**request.headers, "user-agent": ""} == {
        "host": f"127.0.0.1:{receiver.port}",
        "webhook-id": "msg_1",
        "content-type": "application/json",
        "content-length": "4",
        "user-agent": "",
        "accept": "*/*",
    }


async def test_connection_is_kept(sender: Sender, receiver: Receiver) -> None:
    """The second delivery goes over the first one's connection."""
    for _ in range(2):
        await sender.send(receiver.url, {}, b"{}")
    assert [request.connection for request in receiver.requests] == [1, 1]


@pytest.mark.parametrize("status", [200, 204, 299, 404, 410, 429, 500, 503])
async def test_status_is_what_the_receiver_said(sender: Sender, receiver: Receiver, status: int) -> None:
    """Judging it is left to the schedule."""
    receiver.behave(answering(status, retry_after="120"))
    assert await sender.send(receiver.url, {}, b"{}") == Answer(status, retry_after="120")


async def test_first_of_two_retry_after_counts(sender: Sender, receiver: Receiver) -> None:
    """Case 25: a header that is there twice is read once."""
    receiver.behave(saying(b"HTTP/1.1 429 X\r\nretry-after: 5\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n"))
    assert (await sender.send(receiver.url, {}, b"{}")).retry_after == "5"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(sender: Sender, receiver: Receiver, status: int) -> None:
    """Case 23: wherever it points, the answer is the redirect itself."""
    receiver.behave(answering(status, location="/elsewhere"))
    answer = await sender.send(receiver.url, {}, b"{}")
    assert (answer.status, len(receiver.requests)) == (status, 1)


async def test_cookies_are_not_kept(sender: Sender, receiver: Receiver) -> None:
    """Case 31: what one endpoint sets never reaches another on the same host."""
    receiver.behave(answering(200, set_cookie="a=b; Path=/"))
    for _ in range(2):
        await sender.send(receiver.url, {}, b"{}")
    assert "cookie" not in receiver.requests[1].headers


async def test_proxies_of_the_environment_are_ignored(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 36: the address that was judged is the one that is connected to."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await sender.send(receiver.url, {}, b"{}")).status == 200


async def test_credentials_of_a_netrc_are_not_sent(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Passwords of the user that runs the service are nobody else's."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await sender.send(receiver.url, {}, b"{}")
    assert "authorization" not in receiver.requests[0].headers


# --- slow and hostile receivers --------------------------------------------------------------------------------------


async def test_silence_ends_at_the_deadline(hasty: Sender, receiver: Receiver) -> None:
    """Case 19: no answer in time is a timeout."""
    receiver.behave(hanging)
    started = time.monotonic()
    assert await hasty.send(receiver.url, {}, b"{}") == Answer(None, "timeout")
    assert time.monotonic() - started < HASTY.total_s + 1


async def test_body_that_does_not_end_costs_no_more_than_the_deadline(hasty: Sender, receiver: Receiver) -> None:
    """Case 20: once the status is said, a slow body changes nothing."""
    receiver.behave(saying_then_hanging(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun"))
    assert await hasty.send(receiver.url, {}, b"{}") == Answer(200, body=b"begun")


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 500 X\r\ncontent-length: 1000000000\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    ],
)
async def test_endless_answer_is_cut(sender: Sender, receiver: Receiver, head: bytes, part: bytes) -> None:
    """Case 21: sixteen KiB are kept, the rest is not even read."""
    receiver.behave(saying_without_end(head, part))
    assert await sender.send(receiver.url, {}, b"{}") == Answer(500, body=b"x" * MAX_ANSWER_BYTES)


async def test_compressed_answer_stays_compressed(sender: Sender, receiver: Receiver) -> None:
    """Case 21: a bomb that is not inflated does not go off."""
    bomb = gzip.compress(bytes(1 << 20))
    receiver.behave(answering(500, bomb, content_encoding="gzip"))
    assert (await sender.send(receiver.url, {}, b"{}")).body == bomb


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"\0\xff\xfe\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    ],
)
async def test_broken_protocol_has_its_word(sender: Sender, receiver: Receiver, answer: bytes) -> None:
    """Cases 22 and 30: what is no HTTP is no delivery."""
    receiver.behave(saying(answer))
    assert await sender.send(receiver.url, {}, b"{}") == Answer(None, "protocol")


async def test_interim_answer_alone_is_none(hasty: Sender, receiver: Receiver) -> None:
    """Case 22: 100 announces an answer; without one it is a timeout."""
    receiver.behave(saying_then_hanging(b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert await hasty.send(receiver.url, {}, b"{}") == Answer(None, "timeout")


async def test_fresh_connection_that_is_cut_is_a_failure(sender: Sender, receiver: Receiver) -> None:
    """Case 28: the receiver may have seen the request, so repeating it at once is not free."""
    receiver.behave(cutting)
    assert (await sender.send(receiver.url, {}, b"{}"), len(receiver.requests)) == (Answer(None, "disconnected"), 1)


async def test_idle_connection_that_was_cut_costs_a_free_resend(sender: Sender, receiver: Receiver) -> None:
    """Case 28: the race with a server that closes idle connections is nobody's failure."""
    receiver.behave(answering(200), cutting, answering(201))
    answers = [(await sender.send(receiver.url, {}, b"{}")).status for _ in range(2)]
    assert answers == [200, 201]
    assert [request.connection for request in receiver.requests] == [1, 1, 2]


# --- ways that do not lead to a receiver -----------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nobody listens, and nobody else will either."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_refused_connection_has_its_word(sender: Sender, closed_port: int) -> None:
    """Nobody listens there."""
    assert await sender.send(f"http://127.0.0.1:{closed_port}/", {}, b"{}") == Answer(None, "connect")


async def test_unknown_name_has_its_word(sender: Sender) -> None:
    """A name that is guaranteed not to exist (RFC 6761)."""
    assert await sender.send("https://receiver.invalid/", {}, b"{}") == Answer(None, "dns")


@pytest.mark.parametrize("address", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "0x7f.1"])
async def test_blocked_address_is_never_connected_to(receiver: Receiver, address: str) -> None:
    """Cases 33 and 35: literals, odd spellings and names are judged at the socket; no packet leaves."""
    async with open_sender(Targets()) as confined:
        for scheme in ("https", "http"):
            answer = await confined.send(f"{scheme}://{address}:{receiver.port}/", {}, b"{}")
            assert answer == Answer(None, "blocked_address")
    assert receiver.requests == []


async def test_of_several_addresses_only_admitted_ones_are_dialled(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 34: a name with a forbidden and an allowed address leads to the latter."""
    look_up = socket.getaddrinfo

    def both(host: str, port: int, *rest: int, **more: int) -> list[object]:
        return [found for address in ("127.0.0.2", "127.0.0.1") for found in look_up(address, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    async with open_sender(Targets(["127.0.0.1/32"])) as confined:
        answer = await confined.send(f"http://two.example:{receiver.port}/", {}, b"{}")
    assert (answer.status, len(receiver.requests)) == (200, 1)


async def test_name_that_changes_its_address_is_judged_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 35: whatever the name meant before, the socket that is opened now counts."""
    look_up, meanings = socket.getaddrinfo, iter(["127.0.0.1", "127.0.0.2"])

    def flipping(host: str, port: int, *rest: int, **more: int) -> list[object]:
        return list(look_up(next(meanings), port, *rest, **more))

    monkeypatch.setattr(socket, "getaddrinfo", flipping)
    answers = []
    for _ in range(2):
        async with open_sender(Targets(["127.0.0.1/32"])) as confined:
            answers.append(await confined.send(f"http://flipping.example:{receiver.port}/", {}, b"{}"))
    assert answers == [Answer(200), Answer(None, "blocked_address")]


def self_signed(folder: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "receiver.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


async def test_untrusted_certificate_gets_nothing(sender: Sender, tmp_path: Path) -> None:
    """Case 29: without a certificate that holds, the body is not sent."""
    async with receiving(self_signed(tmp_path)) as pretender:
        assert await sender.send(pretender.url, {}, b"{}") == Answer(None, "tls")
        assert pretender.requests == []


async def test_plain_receiver_on_an_https_url_gets_nothing(sender: Sender) -> None:
    """Case 29: never sent in clear."""
    arrived = []

    async def greet_in_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        arrived.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(greet_in_plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await sender.send(f"https://127.0.0.1:{port}/", {}, b"the body") == Answer(None, "tls")
    assert b"the body" not in b"".join(arrived)


async def test_one_slow_receiver_holds_up_no_other(hasty: Sender, receiver: Receiver) -> None:
    """Sends share nothing but the loop."""
    async with receiving() as slow:
        slow.behave(hanging)
        hung = [asyncio.create_task(hasty.send(slow.url, {}, b"{}")) for _ in range(20)]
        await slow.received(20)
        assert (await hasty.send(receiver.url, {}, b"{}")).status == 200
        assert {(await answer).failure for answer in hung} == {"timeout"}


_ENDING_WHILE_A_NAME_IS_LOOKED_UP = """
import asyncio, socket, threading
from monitor.webhooks.sender import Limits, open_sender
from monitor.webhooks.targets import Targets

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    async with open_sender(Targets(), Limits(0.1, 0.1)) as sender:
        print((await sender.send("https://example.com/hook", {}, b"{}")).failure)

asyncio.run(main())
"""


async def test_name_server_that_never_answers_keeps_no_process() -> None:
    """A drained service ends in time: a lookup that hangs in the C library is left to itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ENDING_WHILE_A_NAME_IS_LOOKED_UP, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, said) == (0, b"timeout\n")
