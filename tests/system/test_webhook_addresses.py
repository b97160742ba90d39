"""Forbidden addresses get no packet, however they are spelt, named or slipped in: watched where sockets connect."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from ipaddress import IPv4Address
from itertools import chain, repeat

import pytest
from msgspec.structs import replace

from monitor.webhooks.delivery import Answer
from monitor.webhooks.sender import Sender, open_sender
from monitor.webhooks.targets import Targets
from tests.support.receiver import Receiver, answering, cutting, receiving

PATIENT_S = 15.0

BLOCKED = Answer(None, "blocked_address")
REFUSED = Answer(None, "connect")
"""Nobody listens there; so it was dialled."""

V4 = (
    *("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.0.1", "172.16.0.1", "192.0.0.8", "192.0.2.1"),
    *("192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
    "255.255.255.255",
)
"""One of each forbidden range."""

V6 = (
    # Not public at all.
    *("::", "::1", "100::1", "64:ff9b:1::1", "5f00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1"),
    # Within what is public: Teredo, benchmarking, ORCHID, documentation, 6to4, 6bone.
    *("2001::1", "2001:2::1", "2001:20::1", "2001:db8::1", "3fff::1", "2002:808:808::1", "3ffe::1"),
)
"""One of each forbidden range."""

METADATA = (
    *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("[fd00:ec2::254]", "[fd20:ce::254]", "[fe80::a9fe:a9fe]", "[fe80::1%25lo]"),
)
"""Where clouds hand out the credentials of a machine, beside 169.254.169.254."""


def _dotted(form: str) -> Callable[[IPv4Address], str]:
    return lambda address: ".".join(format(byte, form) for byte in address.packed)


SPELLINGS: dict[str, Callable[[IPv4Address], str]] = {
    "literal": str,
    "mapped": lambda address: f"[::ffff:{address}]",
    "mapped in hex": lambda address: f"[::ffff:{address.packed[:2].hex()}:{address.packed[2:].hex()}]",
    "compatible": lambda address: f"[::{address}]",
    "NAT64": lambda address: f"[64:ff9b::{address}]",
    "local NAT64": lambda address: f"[64:ff9b:1::{address}]",
    "6to4": lambda address: f"[2002:{address.packed[:2].hex()}:{address.packed[2:].hex()}::1]",
    "decimal": lambda address: str(int(address)),
    "hex": lambda address: hex(int(address)),
    "dotted hex": _dotted("#x"),
    "octal": _dotted("04o"),
    "long octal": lambda address: f"0{int(address):o}",
    "short": lambda address: f"{address.packed[0]}.{int(address) & 0xFFFFFF}",
    "shorter by one": lambda address: f"{address.packed[0]}.{address.packed[1]}.{int(address) & 0xFFFF}",
    "with a dot at its end": lambda address: f"{address}.",
    "fullwidth": lambda address: str(address).translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}),
}


class Wire:
    """Stands where sockets connect. It knows what was dialled, and lets nothing out but to `open_to`."""

    def __init__(self) -> None:
        self.dialled: list[str] = []
        self.open_to: set[str] = set()

    def pass_on(self, connect: Callable[..., object]) -> Callable[..., object]:
        """`connect` of a socket, as seen from here."""

        def seen(opened: socket.socket, address: tuple[str, int]) -> object:
            self.dialled.append(address[0])
            if address[0] not in self.open_to:
                raise ConnectionRefusedError
            return connect(opened, address)

        return seen


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Every way in which a socket of this process reaches another host."""
    wire = Wire()
    for way in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, way, wire.pass_on(getattr(socket.socket, way)))
    return wire


class Zone:
    """A name server of the test: each name has the meanings that it was given, one after the other; the last stays."""

    def __init__(self) -> None:
        self._meanings: dict[str, Iterator[Iterable[str]]] = {}
        self.asked: list[str] = []

    def mean(self, name: str, *meanings: Iterable[str]) -> None:
        """From now on."""
        self._meanings[name] = chain(meanings, repeat(meanings[-1]))

    def look_up(self, name: str, port: int, *_: object, **__: object) -> list[object]:
        """In the place of the C library."""
        self.asked.append(name)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in next(self._meanings[name])
        ]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """Names that mean what a test says."""
    zone = Zone()
    monkeypatch.setattr(socket, "getaddrinfo", zone.look_up)
    return zone


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


async def post(sender: Sender, url: str) -> Answer:
    """What came of one send, without the time that it took."""
    return replace(await sender.send(url, {}, b"{}", PATIENT_S), phases_us={})


async def reached(targets: Targets, hosts: Iterable[str]) -> list[tuple[str, str | None]]:
    """Those URLs of the hosts that were not refused as they should be, and what became of them."""
    ways = [f"{scheme}://{{}}{port}/" for scheme in ("https", "http") for port in ("", ":80", ":8443")]
    async with open_sender(targets) as sender:
        answers = [(url := way.format(host), await post(sender, url)) for host in hosts for way in ways]
    return [(url, answer.failure) for url, answer in answers if answer != BLOCKED]


# --- literals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_case_33_forbidden_v4_gets_no_packet(wire: Wire, spelling: str) -> None:
    """Each range in each spelling."""
    hosts = [SPELLINGS[spelling](IPv4Address(address)) for address in V4]
    assert await reached(Targets(), hosts) == []
    assert wire.dialled == []


@pytest.mark.parametrize("interface", ["", "%25lo", "%lo", "%251"])
async def test_case_33_forbidden_v6_gets_no_packet(wire: Wire, interface: str) -> None:
    """Each range, with and without the interface that it should leave by."""
    hosts = [f"[{address}{interface}]" for address in V6]
    assert await reached(Targets(), hosts) == []
    assert wire.dialled == []


async def test_case_33_metadata_gets_no_packet_whatever_is_allowed(wire: Wire) -> None:
    """Credentials of the machine are not a webhook's to ask for."""
    spelt = [spell(IPv4Address("169.254.169.254")) for spell in SPELLINGS.values()]
    assert await reached(Targets(["0.0.0.0/0", "::/0"]), [*spelt, *METADATA]) == []
    assert wire.dialled == []


@pytest.mark.parametrize("url", ["http://8.8.8.8/", "http://[2001:4860:4860::8888]/", "https://8.8.8.8:22/"])
async def test_case_33_public_address_in_a_forbidden_way_gets_no_packet(wire: Wire, url: str) -> None:
    """In clear, or where no web server listens."""
    async with open_sender(Targets()) as sender:
        assert await post(sender, url) == BLOCKED
    assert wire.dialled == []


async def test_case_33_watch_sees_what_is_admitted(wire: Wire) -> None:
    """What is public is dialled; so the silence above means something."""
    async with open_sender(Targets()) as sender:
        for host in ("8.8.8.8", "[2001:4860:4860::8888]", "[::ffff:8.8.8.8]"):
            assert await post(sender, f"https://{host}/") == REFUSED
    assert wire.dialled == ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"]


async def test_case_33_answers_of_forbidden_addresses_are_alike(wire: Wire, receiver: Receiver) -> None:
    """Whether somebody listens behind one cannot be told by what is said, or by what was waited for."""
    async with open_sender(Targets()) as sender:
        answers = [
            await sender.send(f"https://127.0.0.1:{port}/", {}, b"{}", PATIENT_S) for port in (receiver.port, 443, 1)
        ]
    assert [replace(answer, phases_us={}) for answer in answers] == [BLOCKED] * 3
    assert {tuple(answer.phases_us) for answer in answers} == {("dns", "total")}
    assert (wire.dialled, receiver.connections) == ([], 0)


# --- names -----------------------------------------------------------------------------------------------------------

URL = "https://receiver.example/hook"


@pytest.mark.parametrize("local", ["localhost", "localhost.localdomain", "localhost:443"])
async def test_case_34_name_of_this_host_gets_no_packet(wire: Wire, zone: Zone, local: str) -> None:
    """A name is no better than what it means."""
    zone.mean(local.partition(":")[0], ["127.0.0.1", "::1"])
    async with open_sender(Targets()) as sender:
        assert await post(sender, f"https://{local}/") == BLOCKED
    assert wire.dialled == []


@pytest.mark.parametrize("private", ["10.0.0.1", "::ffff:10.0.0.1", "fd12::1", "169.254.169.254", "fe80::1%1", "::"])
@pytest.mark.parametrize("public", ["8.8.8.8", "2001:4860:4860::8888"])
@pytest.mark.parametrize("order", [1, -1])
async def test_case_34_of_two_addresses_the_public_one_is_dialled(
    wire: Wire, zone: Zone, private: str, public: str, order: int
) -> None:
    """Alone, also when it does not answer, and in whatever order they come."""
    zone.mean("receiver.example", [private, public][::order])
    async with open_sender(Targets()) as sender:
        assert await post(sender, URL) == REFUSED
    assert wire.dialled == [public]


async def test_case_34_each_public_address_is_tried(wire: Wire, zone: Zone) -> None:
    """A receiver with several keeps them, less the forbidden ones."""
    zone.mean("receiver.example", ["8.8.8.8", "10.0.0.1", "1.1.1.1", "::1"])
    async with open_sender(Targets()) as sender:
        assert await post(sender, URL) == REFUSED
    assert set(wire.dialled) == {"8.8.8.8", "1.1.1.1"}


async def test_case_34_name_without_a_public_address_gets_no_packet(wire: Wire, zone: Zone) -> None:
    """All of them are forbidden."""
    zone.mean("receiver.example", ["10.0.0.1", "127.0.0.1", "fd12::1", "::ffff:192.168.0.1"])
    async with open_sender(Targets()) as sender:
        assert await post(sender, URL) == BLOCKED
    assert wire.dialled == []


async def test_case_34_allowed_address_is_reached_beside_a_forbidden_one(
    wire: Wire, zone: Zone, receiver: Receiver
) -> None:
    """With packets that arrive."""
    wire.open_to = {"127.0.0.1", "127.0.0.2"}
    zone.mean("receiver.example", ["127.0.0.2", "127.0.0.1"])
    async with open_sender(Targets(["127.0.0.1/32"])) as sender:
        assert await post(sender, f"http://receiver.example:{receiver.port}/") == Answer(200)
    assert (wire.dialled, receiver.requests[0].headers["host"]) == (["127.0.0.1"], f"receiver.example:{receiver.port}")


class Hours:
    """Passes time for the names that the library remembers for some seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._s = 0.0
        monkeypatch.setattr("aiohttp.connector.monotonic", lambda: self._s)

    def later(self) -> None:
        """An hour on."""
        self._s += 3600.0


async def test_case_35_name_that_turns_private_gets_no_packet(
    wire: Wire, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public when it was registered and at the first attempt, 127.0.0.1 at the second."""
    hours = Hours(monkeypatch)
    zone.mean("receiver.example", ["8.8.8.8"], ["127.0.0.1"])
    async with open_sender(Targets()) as sender:
        first = await post(sender, URL)
        hours.later()
        assert [first, await post(sender, URL)] == [REFUSED, BLOCKED]
    assert (wire.dialled, len(zone.asked)) == (["8.8.8.8"], 2)


async def test_case_35_name_that_flips_is_judged_at_every_attempt(
    wire: Wire, zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To and fro, and with both at once."""
    hours = Hours(monkeypatch)
    public, private, both = ["8.8.8.8"], ["169.254.169.254"], ["10.0.0.1", "8.8.8.8"]
    zone.mean("receiver.example", public, private, both, private, private, public)
    answers = []
    async with open_sender(Targets()) as sender:
        for _ in range(6):
            answers.append(await post(sender, URL))
            hours.later()
    assert answers == [REFUSED, BLOCKED, REFUSED, BLOCKED, BLOCKED, REFUSED]
    assert wire.dialled == ["8.8.8.8"] * 3


async def test_case_35_what_was_judged_is_what_is_dialled(wire: Wire, zone: Zone) -> None:
    """Between the two nobody asks again, and what is remembered was judged."""
    zone.mean("receiver.example", ["8.8.8.8"], ["127.0.0.1"])
    async with open_sender(Targets()) as sender:
        assert [await post(sender, URL) for _ in range(3)] == [REFUSED] * 3
    assert (wire.dialled, zone.asked) == (["8.8.8.8"] * 3, ["receiver.example"])


async def test_case_35_refusal_is_not_remembered(wire: Wire, zone: Zone) -> None:
    """A zone that was repaired is reached at the next attempt."""
    zone.mean("receiver.example", ["127.0.0.1"], ["8.8.8.8"])
    async with open_sender(Targets()) as sender:
        assert [await post(sender, URL) for _ in range(2)] == [BLOCKED, REFUSED]
    assert wire.dialled == ["8.8.8.8"]


async def test_case_35_kept_connection_stays_where_it_was_judged(wire: Wire, zone: Zone, receiver: Receiver) -> None:
    """Whatever the name means now: nothing is dialled, so nothing can be reached instead."""
    wire.open_to = {"127.0.0.1", "127.0.0.2"}
    zone.mean("receiver.example", ["127.0.0.1"], ["127.0.0.2"])
    async with open_sender(Targets(["127.0.0.1/32"])) as sender:
        url = f"http://receiver.example:{receiver.port}/"
        assert [await post(sender, url) for _ in range(2)] == [Answer(200)] * 2
    assert ([request.connection for request in receiver.requests], wire.dialled) == ([1, 1], ["127.0.0.1"])


async def test_case_35_resend_after_a_dead_connection_is_judged_again(
    wire: Wire, zone: Zone, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that cuts its connection and moves its name gets the resend nowhere else."""
    hours = Hours(monkeypatch)
    wire.open_to = {"127.0.0.1", "127.0.0.2"}

    async def cut_after_an_hour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hours.later()
        await cutting(reader, writer)

    receiver.behave(answering(200), cut_after_an_hour)
    zone.mean("receiver.example", ["127.0.0.1"], ["127.0.0.2"])
    async with open_sender(Targets(["127.0.0.1/32"])) as sender:
        url = f"http://receiver.example:{receiver.port}/"
        assert [await post(sender, url) for _ in range(2)] == [Answer(200), BLOCKED]
    assert wire.dialled == ["127.0.0.1"]


async def test_case_35_same_name_over_http_and_https_is_judged_for_each(wire: Wire, zone: Zone) -> None:
    """What is public is reached over https alone, also when the other way was remembered."""
    zone.mean("receiver.example", ["8.8.8.8"])
    async with open_sender(Targets()) as sender:
        urls = (URL, "http://receiver.example:443/", "https://receiver.example:22/", URL)
        assert [await post(sender, url) for url in urls] == [REFUSED, BLOCKED, BLOCKED, REFUSED]
    assert wire.dialled == ["8.8.8.8"] * 2
