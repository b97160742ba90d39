"""Receivers that are slow, hostile or broken, on real sockets: what they do is told, in bounded time and memory.

Numbers are those of the catalogue of cases for webhooks.
"""

import asyncio
import gzip
import json
import sys
import time
from collections.abc import AsyncIterator

import orjson
import pytest
from msgspec.structs import replace

from monitor.webhooks import sender as sender_module
from monitor.webhooks.delivery import Answer
from monitor.webhooks.sender import MAX_ANSWER_BYTES, MAX_HEADER_CHARACTERS, Sender, open_sender
from monitor.webhooks.targets import Targets
from tests.support.receiver import (
    LOOPBACK,
    Pouring,
    Receiver,
    accepting_after,
    answering,
    cutting,
    hanging,
    receiving,
    saying,
    saying_then_hanging,
    saying_then_resetting,
    trickling,
)

PATIENT_S = 15.0
HASTY_S = 0.5
"""Long enough for a connection on a busy machine, short enough to wait for the end of it."""

BUSY_S = 10.0
"""By how much a busy machine may be late."""

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"content-length: 0\r\n\r\n"


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


async def post(sender: Sender, receiver: Receiver, total_s: float = PATIENT_S) -> Answer:
    """What came of one send."""
    return await sender.send(receiver.url, {"webhook-id": "msg_1"}, b"{}", total_s)


def bare(answer: Answer) -> Answer:
    """An answer without the time that it took."""
    return replace(answer, phases_us={})


# --- in time, or not -------------------------------------------------------------------------------------------------


async def test_case_19_answer_counts_until_the_deadline_of_its_own_send(sender: Sender, receiver: Receiver) -> None:
    """Of two sends that wait for the same answer, the one with the shorter deadline has had its time."""
    receiver.behave(accepting_after(told := asyncio.Event()))
    patient = asyncio.create_task(post(sender, receiver))
    assert bare(await post(sender, receiver, HASTY_S)) == Answer(None, "timeout")
    told.set()
    assert bare(await patient) == Answer(200)


async def test_case_19_deadline_is_not_rounded(sender: Sender, receiver: Receiver) -> None:
    """Neither up to a full second, as timers often are, nor down."""
    receiver.behave(hanging)
    late_s = 1.0
    # A busy machine is late now and then, and rounding always.
    for _ in range(5):
        # An end shortly after a full second of the loop's clock, which rounding up would put off by most of another.
        total_s = 5.0 + (0.05 - asyncio.get_running_loop().time()) % 1
        started_s = time.monotonic()
        assert bare(await post(sender, receiver, total_s)) == Answer(None, "timeout")
        late_s = time.monotonic() - started_s - total_s
        assert late_s >= 0
        if late_s < 0.8:
            break
    assert late_s < 0.8


async def test_case_19_connection_has_a_shorter_deadline(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that takes no part in a handshake is down, however long its answers may take."""
    monkeypatch.setattr(sender_module, "_CONNECT_S", HASTY_S)
    secure = receiver.url.replace("http:", "https:")
    answer = await sender.send(secure, {}, b"{}", PATIENT_S)
    assert bare(answer) == Answer(None, "timeout")
    assert list(answer.phases_us) == ["dns", "connect", "total"]
    assert answer.phases_us["total"] < (HASTY_S + BUSY_S) * 1_000_000


async def test_case_20_trickling_body_is_cut_at_the_deadline(sender: Sender, receiver: Receiver) -> None:
    """The status was said in time: it counts, and so does the body as far as it came."""
    receiver.behave(trickling(OK + b"content-length: 1000\r\n\r\n", b"x", 0.02))
    answer = await post(sender, receiver, 3.0)
    assert bare(answer) == Answer(200, body=b"x" * len(answer.body), is_truncated=True)
    assert 1 < len(answer.body) < 200
    assert 3_000_000 <= answer.phases_us["total"] < (3.0 + BUSY_S) * 1_000_000
    await receiver.left()


async def test_case_20_trickling_head_is_no_answer(sender: Sender, receiver: Receiver) -> None:
    """Every byte in time, the answer not."""
    receiver.behave(trickling(OK + b"x: ", b"y", 0.02))
    assert bare(await post(sender, receiver, HASTY_S)) == Answer(None, "timeout")
    await receiver.left()


async def test_case_20_body_that_breaks_off_is_marked(sender: Sender, receiver: Receiver) -> None:
    """Whoever reads it later knows that there should have been more."""
    receiver.behave(saying_then_resetting(b"HTTP/1.1 500 X\r\ncontent-length: 9\r\n\r\n"))
    assert bare(await post(sender, receiver)) == Answer(500, is_truncated=True)


# --- too much --------------------------------------------------------------------------------------------------------

ENDLESS = {
    "one gigabyte": (b"content-length: 1000000000\r\n\r\n", b"x" * 4096),
    "chunks": (b"transfer-encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "until it closes": (b"\r\n", b"x" * 4096),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("status", [b"200", b"500"])
async def test_case_21_endless_answers_cost_16_kib(
    sender: Sender, receiver: Receiver, kind: str, status: bytes
) -> None:
    """Sixteen KiB are kept; beyond them only what was on its way already leaves the receiver."""
    head, part = ENDLESS[kind]
    receiver.behave(pouring := Pouring(b"HTTP/1.1 " + status + b" X\r\n" + head, part))
    assert bare(await post(sender, receiver)) == Answer(int(status), body=b"x" * MAX_ANSWER_BYTES, is_truncated=True)
    await receiver.left()
    assert pouring.taken_bytes < 512 * 1024


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_case_21_bound_is_exact(sender: Sender, receiver: Receiver, more: int) -> None:
    """A body that just fits is whole, and its connection is kept."""
    receiver.behave(answering(200, b"x" * (MAX_ANSWER_BYTES + more)))
    answer = Answer(200, body=b"x" * min(MAX_ANSWER_BYTES + more, MAX_ANSWER_BYTES), is_truncated=more > 0)
    assert [bare(await post(sender, receiver)) for _ in range(2)] == [answer, answer]
    assert more > 0 or receiver.connections == 1


async def test_case_21_bomb_is_not_inflated(sender: Sender, receiver: Receiver) -> None:
    """Compressed without being asked for it, an answer stays so."""
    bomb = gzip.compress(bytes(32 << 20))
    receiver.behave(answering(500, bomb, content_encoding="gzip"))
    answer = await post(sender, receiver)
    assert (answer.body, answer.is_truncated) == (bomb[:MAX_ANSWER_BYTES], True)
    assert receiver.requests[0].headers["accept-encoding"] == "identity"


_SENDING_BY_THE_HUNDRED = """
import asyncio, json, resource, sys
from monitor.webhooks.sender import open_sender
from monitor.webhooks.targets import Targets

async def main(url, allowed):
    async with open_sender(Targets(allowed)) as sender:
        async def send(count):
            return [await sender.send(url, {}, b"{}", 15.0) for _ in range(count)]

        async def turn(count):
            answers = sum(await asyncio.gather(*(send(count) for _ in range(16))), [])
            assert {(answer.status, len(answer.body)) for answer in answers} == {(200, 16384)}, answers
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        print(json.dumps([await turn(3), await turn(30)]))

asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""


@pytest.mark.parametrize("kind", ENDLESS)
async def test_case_21_memory_stays_flat(receiver: Receiver, kind: str) -> None:
    """After five hundred endless answers a sender is as big as after fifty."""
    head, part = ENDLESS[kind]
    receiver.behave(Pouring(OK + head, part))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SENDING_BY_THE_HUNDRED, receiver.url, *LOOPBACK), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    early_kib, late_kib = json.loads(said)
    assert late_kib - early_kib < 4096


# --- what is an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204, 299])
async def test_case_22_every_2xx_is_an_answer(sender: Sender, receiver: Receiver, status: int) -> None:
    """With or without a body."""
    receiver.behave(answering(status))
    assert bare(await post(sender, receiver)) == Answer(status)


async def test_case_22_announcement_alone_is_a_timeout(sender: Sender, receiver: Receiver) -> None:
    """100 says that an answer follows; it is none itself."""
    receiver.behave(saying_then_hanging(b"HTTP/1.1 100 Continue\r\n\r\n"))
    answer = await post(sender, receiver, 3.0)
    assert bare(answer) == Answer(None, "timeout")
    assert list(answer.phases_us) == ["dns", "connect", "first_byte", "total"]


async def test_case_22_announcements_before_an_answer_are_passed_over(sender: Sender, receiver: Receiver) -> None:
    """A receiver may send several, with headers of their own."""
    hints = b"HTTP/1.1 103 Early Hints\r\nserver: early\r\nretry-after: 1\r\n\r\n"
    announced = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + hints
    receiver.behave(saying(announced + b"HTTP/1.1 503 X\r\nserver: late\r\n" + EMPTY))
    assert bare(await post(sender, receiver)) == Answer(503, headers={"server": "late"})


async def test_case_22_endless_announcements_are_no_answer(sender: Sender, receiver: Receiver) -> None:
    """They end soon: reading them up to the deadline would occupy a core."""
    receiver.behave(pouring := Pouring(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100))
    assert bare(await post(sender, receiver)) == Answer(None, "protocol")
    await receiver.left()
    assert pouring.taken_bytes < 512 * 1024


@pytest.mark.parametrize(
    "answer",
    [
        *(b"HTTP/1.1 199 X\r\n" + EMPTY, b"HTTP/1.1 600 X\r\n" + EMPTY, b"HTTP/1.1 999 X\r\n" + EMPTY),
        *(b"HTTP/1.1 000 X\r\n" + EMPTY, b"HTTP/1.1 99 X\r\n" + EMPTY, b"HTTP/1.1 2000 X\r\n" + EMPTY),
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 X\r\n" + EMPTY,
        *(b"HTTP/1.1 abc OK\r\n\r\n", b"nonsense\r\n\r\n", b"\0\xff\xfe\r\n\r\n", b"\r\n\r\n\r\nnonsense\r\n\r\n"),
        *(b"HTTP/9.9 200 OK\r\n" + EMPTY, b"SSH-2.0-OpenSSH_9.2\r\n", b"220 smtp.example ESMTP\r\n"),
        *(OK + b"content-length: -1\r\n\r\n", OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
    ],
)
async def test_case_22_what_is_no_http_has_its_word(sender: Sender, receiver: Receiver, answer: bytes) -> None:
    """Statuses outside 200 to 599 and broken heads are not answers, and not waited upon either."""
    receiver.behave(saying_then_hanging(answer))
    assert bare(await post(sender, receiver)) == Answer(None, "protocol")
    await receiver.left()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["/hook", "http://127.0.0.1:{port}/elsewhere", "http://169.254.169.254/latest/meta-data/"]
)
async def test_case_23_redirects_are_never_followed(
    sender: Sender, receiver: Receiver, status: int, location: str
) -> None:
    """Wherever it points, the answer is the redirect itself, and where it points is kept."""
    location = location.format(port=receiver.port)
    receiver.behave(answering(status, location=location))
    assert bare(await post(sender, receiver)) == Answer(status, headers={"location": location})
    assert [request.path for request in receiver.requests] == ["/hook"]


# --- connections that end --------------------------------------------------------------------------------------------


async def test_case_28_new_connection_that_is_cut_is_a_failure(sender: Sender, receiver: Receiver) -> None:
    """The receiver may have seen the request, so repeating it at once is not free."""
    receiver.behave(cutting)
    assert bare(await post(sender, receiver)) == Answer(None, "disconnected")
    assert len(receiver.requests) == 1


async def test_case_28_kept_connection_that_is_cut_costs_a_free_resend(sender: Sender, receiver: Receiver) -> None:
    """The race with a server that closes idle connections is nobody's failure."""
    receiver.behave(answering(200), cutting, answering(201))
    assert [(await post(sender, receiver)).status for _ in range(2)] == [200, 201]
    assert [request.connection for request in receiver.requests] == [1, 1, 2]


async def test_case_28_reset_of_a_kept_connection_is_the_same(sender: Sender, receiver: Receiver) -> None:
    """A server that is gone answers by RST."""
    receiver.behave(answering(200), saying_then_resetting(b""), answering(201))
    assert [(await post(sender, receiver)).status for _ in range(2)] == [200, 201]


async def test_case_28_resend_is_tried_once(sender: Sender, receiver: Receiver) -> None:
    """A receiver that cuts every request fails them."""
    receiver.behave(answering(200), cutting)
    assert [(await post(sender, receiver)).failure for _ in range(2)] == [None, "disconnected"]
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("begun", [b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"x: y\r\n"])
async def test_case_28_what_was_heard_is_not_repeated(sender: Sender, receiver: Receiver, begun: bytes) -> None:
    """A connection over which an answer began was not dead: its receiver has the request."""
    receiver.behave(answering(200), saying_then_resetting(begun))
    assert [(await post(sender, receiver)).failure for _ in range(2)] == [None, "disconnected"]
    assert len(receiver.requests) == 2


async def test_case_28_resend_has_the_rest_of_the_deadline(sender: Sender, receiver: Receiver) -> None:
    """Both together end when one would."""
    receiver.behave(answering(200), _cutting_late, hanging)
    await post(sender, receiver)
    started_s = time.monotonic()
    assert bare(await post(sender, receiver, 5.0)) == Answer(None, "timeout")
    assert len(receiver.requests) == 3
    assert 5.0 <= time.monotonic() - started_s < 7.9


async def _cutting_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3.0)  # slowness itself, not a wait for something to have happened
    await cutting(reader, writer)


async def test_case_28_nothing_said_in_between_is_the_next_answer(sender: Sender, receiver: Receiver) -> None:
    """Servers say 408 to idle connections before they close them; nobody had asked."""

    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(200)(reader, writer)
        await told.wait()
        await answering(408)(reader, writer)
        await hanging(reader, writer)

    told = asyncio.Event()
    receiver.behave(answer_twice, answering(201))
    assert (await post(sender, receiver)).status == 200
    told.set()
    await receiver.left()
    assert (await post(sender, receiver)).status == 201


async def test_case_28_second_answer_at_once_is_dropped(sender: Sender, receiver: Receiver) -> None:
    """What follows an answer belongs to no request."""
    receiver.behave(saying(OK + EMPTY + b"HTTP/1.1 500 X\r\n" + EMPTY), answering(201))
    assert [(await post(sender, receiver)).status for _ in range(2)] == [200, 201]


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"", Answer(None, "disconnected")),
        (b"HTTP/1.1 20", Answer(None, "disconnected")),
        (OK + b"content-length: 9\r\n", Answer(None, "disconnected")),
        (OK + b"content-length: 9\r\n\r\n", Answer(200, is_truncated=True)),
        (OK + b"transfer-encoding: chunked\r\n\r\n", Answer(200, is_truncated=True)),
    ],
)
async def test_case_29_reset_in_an_answer(sender: Sender, receiver: Receiver, begun: bytes, answer: Answer) -> None:
    """A status that was said counts; half a head says nothing."""
    receiver.behave(saying_then_resetting(begun))
    assert bare(await post(sender, receiver)) == answer


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        b"x: " + b"a" * 100_000 + b"\r\n",
        b"x: " + b"a" * 1000 + b"\r\n" + (b"y: " + b"b" * 1000 + b"\r\n") * 99,
        b"z: 1\r\n" * 17_000,
        b"x: a\0b\r\n",
        b"x\0y: a\r\n",
        b"no colon\r\n",
    ],
)
async def test_case_30_monstrous_heads_are_no_answers(sender: Sender, receiver: Receiver, headers: bytes) -> None:
    """A hundred kilobytes of headers, in one or in many, and bytes that no header holds."""
    receiver.behave(saying(OK + headers + EMPTY))
    assert bare(await post(sender, receiver)) == Answer(None, "protocol")


async def test_case_30_long_head_that_ends_is_an_answer(sender: Sender, receiver: Receiver) -> None:
    """With a longer body behind it, in one go."""
    head = (b"y: " + b"b" * 995 + b"\r\n") * 60
    receiver.behave(saying(OK + head + b"content-length: 300000\r\n\r\n" + b"x" * 300_000))
    assert bare(await post(sender, receiver)) == Answer(200, body=b"x" * MAX_ANSWER_BYTES, is_truncated=True)


async def test_case_30_first_of_duplicate_headers_is_kept(sender: Sender, receiver: Receiver) -> None:
    """Whatever their spelling."""
    twice = b"Server: one\r\nserver: two\r\nWEBHOOK-DELIVERY: Disable\r\nwebhook-delivery: no\r\n"
    receiver.behave(saying(OK + twice + EMPTY))
    assert bare(await post(sender, receiver)) == Answer(200, control="disable", headers={"server": "one"})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "caf\\xe9"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"\xc2\x85\xe2\x80\xae", "\\x85\\u202e"),
        (b"a\tb", "a\\tb"),
        (b"\xff" * 300, ("\\xff" * 300)[:MAX_HEADER_CHARACTERS]),
    ],
)
async def test_case_30_header_that_is_no_text_is_escaped(
    sender: Sender, receiver: Receiver, value: bytes, kept: str
) -> None:
    """What is stored can be shown, and written as JSON."""
    names = (b"server: ", b"retry-after: ", b"webhook-delivery: ")
    receiver.behave(saying(OK + b"".join(name + value + b"\r\n" for name in names) + EMPTY))
    answer = bare(await post(sender, receiver))
    assert answer == Answer(200, retry_after=kept, control=kept.lower(), headers={"server": kept, "retry-after": kept})
    assert orjson.loads(orjson.dumps(answer.headers)) == answer.headers


async def test_case_30_body_that_is_no_text_is_kept_as_it_came(sender: Sender, receiver: Receiver) -> None:
    """Escaping it is left to whoever shows it."""
    receiver.behave(answering(500, b"\xff\xfe\0\r\n{"))
    assert bare(await post(sender, receiver)) == Answer(500, body=b"\xff\xfe\0\r\n{")


async def test_case_31_cookies_are_never_sent_back(sender: Sender, receiver: Receiver) -> None:
    """What one team's endpoint sets would reach another's on the same host."""
    receiver.behave(answering(200, set_cookie="a=b; Path=/; Domain=127.0.0.1"))
    for _ in range(2):
        await post(sender, receiver)
    assert [request.headers.get("cookie") for request in receiver.requests] == [None, None]


@pytest.mark.parametrize("exempt", ["", "*", "127.0.0.1"])
async def test_case_36_proxies_of_the_environment_are_ignored(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    """The address that was judged is the one that is connected to."""
    async with receiving() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", exempt)
        monkeypatch.setenv("NO_PROXY", exempt)
        async with open_sender(Targets(LOOPBACK)) as sender:
            assert bare(await post(sender, receiver)) == Answer(200)
            secure = receiver.url.replace("http:", "https:")
            assert (await sender.send(secure, {}, b"{}", 3.0)).failure in {"tls", "timeout"}
        assert (proxy.connections, receiver.connections) == (0, 2)
