"""The sender tells what became of a POST, to the microsecond and in words; receivers here listen on real sockets.

What hostile receivers, bad certificates and forbidden addresses try is in tests/system/test_webhook_*.py.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from monitor.webhooks.delivery import Answer
from monitor.webhooks.sender import MAX_HEADER_CHARACTERS, Sender, open_sender
from monitor.webhooks.targets import Targets
from tests.support.receiver import LOOPBACK, Receiver, accepting_after, answering, hanging, receiving, saying

PATIENT_S = 10.0
HASTY_S = 3.0
"""Long enough for a connection on a busy machine, short enough to wait for the lack of an answer."""


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


def failed(answer: Answer) -> str | None:
    """Why no answer came; nothing else is said then but how long it took."""
    assert replace(answer, phases_us={}) == Answer(None, answer.failure)
    return answer.failure


async def test_request_arrives_as_it_was_given(sender: Sender, receiver: Receiver) -> None:
    """The bytes of the body, the headers, the path in its own spelling, and nothing that was not asked for."""
    answer = await sender.send(f"{receiver.url}?a=%2F%7e", {"webhook-id": "msg_1"}, b"\0\xff{}", PATIENT_S)
    (request,) = receiver.requests
    assert replace(answer, phases_us={}) == Answer(200)
    assert (request.path, request.body) == ("/hook?a=%2F%7e", b"\0\xff{}")
    assert {**request.headers, "user-agent": ""} == {
        "host": f"127.0.0.1:{receiver.port}",
        "webhook-id": "msg_1",
        "content-type": "application/json",
        "content-length": "4",
        "user-agent": "",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


async def test_headers_of_an_endpoint_replace_our_own(sender: Sender, receiver: Receiver) -> None:
    """Whoever wants to be called in another name gets it once."""
    await sender.send(receiver.url, {"User-Agent": "somebody", "Content-Type": "text/x"}, b"{}", PATIENT_S)
    (request,) = receiver.requests
    assert (request.headers["user-agent"], request.headers["content-type"]) == ("somebody", "text/x")


async def test_connection_is_kept(sender: Sender, receiver: Receiver) -> None:
    """The second delivery goes over the first one's connection."""
    for _ in range(2):
        await sender.send(receiver.url, {}, b"{}", PATIENT_S)
    assert [request.connection for request in receiver.requests] == [1, 1]


@pytest.mark.parametrize("status", [200, 204, 299, 404, 410, 429, 500, 503, 599])
async def test_status_is_what_the_receiver_said(sender: Sender, receiver: Receiver, status: int) -> None:
    """Judging it is left to the schedule."""
    receiver.behave(answering(status))
    assert (await sender.send(receiver.url, {}, b"{}", PATIENT_S)).status == status


@pytest.mark.parametrize("body", [b"", b"no such hook", b"\0\xff\r\n"])
async def test_body_of_an_answer_is_kept_as_it_came(sender: Sender, receiver: Receiver, body: bytes) -> None:
    """Whoever shows it decides how."""
    receiver.behave(answering(500, body))
    answer = await sender.send(receiver.url, {}, b"{}", PATIENT_S)
    assert (answer.body, answer.is_truncated) == (body, False)


async def test_headers_worth_keeping_are_kept(sender: Sender, receiver: Receiver) -> None:
    """What explains a failure, in lower case; the rest is nobody's business."""
    receiver.behave(answering(401, Server="nginx", WWW_Authenticate="Basic", X_Request_Id="r1", Set_Cookie="a=b"))
    answer = await sender.send(receiver.url, {}, b"{}", PATIENT_S)
    assert answer.headers == {"server": "nginx", "www-authenticate": "Basic", "x-request-id": "r1"}


async def test_value_of_a_header_is_cut(sender: Sender, receiver: Receiver) -> None:
    """What a receiver says is stored with every attempt."""
    receiver.behave(answering(302, location="/" + "a" * 1000))
    answer = await sender.send(receiver.url, {}, b"{}", PATIENT_S)
    assert answer.headers == {"location": "/" + "a" * (MAX_HEADER_CHARACTERS - 1)}


@pytest.mark.parametrize(
    ("headers", "control"),
    [
        ({"Webhook_Delivery": "abort-message"}, "abort-message"),
        ({"webhook_delivery": "  Disable "}, "disable"),
        ({"webhook_delivery": ""}, ""),
        ({}, None),
    ],
)
async def test_word_of_the_receiver_is_passed_on(
    sender: Sender, receiver: Receiver, headers: dict[str, str], control: str | None
) -> None:
    """In one spelling; what it means depends on the endpoint."""
    receiver.behave(answering(500, b"", **headers))
    assert (await sender.send(receiver.url, {}, b"{}", PATIENT_S)).control == control


async def test_case_25_first_of_several_retry_after_counts(sender: Sender, receiver: Receiver) -> None:
    """A header that is there twice is read once, and as it was written."""
    receiver.behave(saying(b"HTTP/1.1 429 X\r\nretry-after: -5 s\r\nRetry-After: 9\r\ncontent-length: 0\r\n\r\n"))
    answer = await sender.send(receiver.url, {}, b"{}", PATIENT_S)
    assert (answer.retry_after, answer.headers) == ("-5 s", {"retry-after": "-5 s"})


async def test_credentials_of_a_netrc_are_not_sent(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Passwords of the user that runs the service are nobody else's."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await sender.send(receiver.url, {}, b"{}", PATIENT_S)
    assert "authorization" not in receiver.requests[0].headers


# --- where the time went ---------------------------------------------------------------------------------------------


async def test_phases_of_a_new_connection_follow_one_another(sender: Sender, receiver: Receiver) -> None:
    """Together they are the whole."""
    phases_us = dict((await sender.send(receiver.url, {}, b"{}", PATIENT_S)).phases_us)
    total_us = phases_us.pop("total")
    assert (list(phases_us), sum(phases_us.values())) == (["dns", "connect", "first_byte", "body"], total_us)


async def test_kept_connection_has_no_phases_of_its_own(sender: Sender, receiver: Receiver) -> None:
    """Nothing was looked up and nothing dialled."""
    answers = [await sender.send(receiver.url, {}, b"{}", PATIENT_S) for _ in range(2)]
    assert list(answers[1].phases_us) == ["first_byte", "body", "total"]


async def test_phase_in_which_it_ended_is_the_last(sender: Sender, receiver: Receiver) -> None:
    """A receiver that says nothing spent the time, not the network."""
    receiver.behave(hanging)
    answer = await sender.send(receiver.url, {}, b"{}", HASTY_S)
    assert failed(answer) == "timeout"
    assert list(answer.phases_us) == ["dns", "connect", "first_byte", "total"]
    assert answer.phases_us["first_byte"] > answer.phases_us["total"] / 2


async def test_name_that_is_not_found_ends_the_first_phase(sender: Sender) -> None:
    """There was nothing to dial."""
    answer = await sender.send("https://receiver.invalid/", {}, b"{}", PATIENT_S)
    assert list(answer.phases_us) == ["dns", "total"]


# --- ways that do not lead to a receiver -----------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nobody listens, and nobody else will either."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_refused_connection_has_its_word(sender: Sender, closed_port: int) -> None:
    """Nobody listens there."""
    assert failed(await sender.send(f"http://127.0.0.1:{closed_port}/", {}, b"{}", PATIENT_S)) == "connect"


async def test_unknown_name_has_its_word(sender: Sender) -> None:
    """A name that is guaranteed not to exist (RFC 6761)."""
    assert failed(await sender.send("https://receiver.invalid/", {}, b"{}", PATIENT_S)) == "dns"


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example"])
async def test_name_that_no_zone_can_hold_is_not_found(sender: Sender, name: str) -> None:
    """An empty label, or one of more than 63 characters."""
    assert failed(await sender.send(f"https://{name}/", {}, b"{}", PATIENT_S)) == "dns"


@pytest.mark.parametrize("url", ["ftp://example.com/", "https://[::1/", "https:///path", "nonsense", ""])
async def test_no_url_is_an_exception(sender: Sender, url: str) -> None:
    """URLs are checked when they are registered; what slipped through fails like any other."""
    assert failed(await sender.send(url, {}, b"{}", PATIENT_S)) in {"protocol", "blocked_address"}


async def test_header_that_would_end_the_head_is_never_sent(sender: Sender, receiver: Receiver) -> None:
    """Nothing after it could be trusted to be a header."""
    assert failed(await sender.send(receiver.url, {"x": "a\r\nevil: b"}, b"{}", PATIENT_S)) == "protocol"
    assert receiver.requests == []


async def test_one_slow_receiver_holds_up_no_other(sender: Sender, receiver: Receiver) -> None:
    """Sends share nothing but the loop."""
    async with receiving() as slow:
        slow.behave(accepting_after(told := asyncio.Event()))
        waiting = [asyncio.create_task(sender.send(slow.url, {}, b"{}", PATIENT_S)) for _ in range(20)]
        await slow.received(20)
        assert (await sender.send(receiver.url, {}, b"{}", PATIENT_S)).status == 200
        told.set()
        assert {(await answer).status for answer in waiting} == {200}


async def test_cancelled_send_closes_its_connection(sender: Sender, receiver: Receiver) -> None:
    """What is given up at the end of a drain holds no receiver's socket."""
    receiver.behave(hanging)
    sending = asyncio.create_task(sender.send(receiver.url, {}, b"{}", PATIENT_S))
    await receiver.received(1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await receiver.left()


_ENDING_WHILE_A_NAME_IS_LOOKED_UP = """
import asyncio, socket, threading
from monitor.webhooks.sender import open_sender
from monitor.webhooks.targets import Targets

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    async with open_sender(Targets()) as sender:
        print((await sender.send("https://example.com/hook", {}, b"{}", 0.1)).failure)

asyncio.run(main())
"""


async def test_name_server_that_never_answers_keeps_no_process() -> None:
    """A drained service ends in time: a lookup that hangs in the C library is left to itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ENDING_WHILE_A_NAME_IS_LOOKED_UP, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, said) == (0, b"timeout\n")
