"""Webhooks reach the public internet and what an operator allowed, and never anything else."""

from ipaddress import IPv4Address, ip_address

import pytest

from monitor.errors import InvalidWebhook
from monitor.webhooks.targets import MAX_URL_CHARACTERS, Targets

DENIED_V4 = [
    *("0.0.0.1", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.0.1"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1"),
    *("198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
]
DENIED_V6 = [
    *("::", "::1", "::8.8.8.8", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1"),
    *("2001:db8::1", "2002:808:808::1", "3ffe::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1"),
    *("fe80::1%eth0", "fec0::1", "ff02::1", "4000::1"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "192.0.1.1", "2001:4860:4860::8888", "2a00:1450::1", "::ffff:8.8.8.8"]
METADATA = [
    *("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200"),
    *("168.63.129.16", "192.0.0.192", "fe80::a9fe:a9fe"),
    *("fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:100::100:200"),
]


def carried(inner: str) -> list[str]:
    """An IPv4 address in every IPv6 spelling that carries one."""
    high, low = divmod(int(IPv4Address(inner)), 1 << 16)
    hidden_high, hidden_low = high ^ 0xFFFF, low ^ 0xFFFF
    return [
        f"::ffff:{inner}",
        f"64:ff9b::{inner}",
        f"::{inner}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:808:808::{hidden_high:x}:{hidden_low:x}",
        f"2001:0:{high:x}:{low:x}::1",
    ]


@pytest.mark.parametrize("address", [*DENIED_V4, *DENIED_V6])
def test_case_33_special_addresses_are_out_of_bounds(address: str) -> None:
    """No range that is not public is reached."""
    assert not Targets().admits(ip_address(address), 443, "https")


@pytest.mark.parametrize("inner", DENIED_V4)
def test_case_33_ipv6_spellings_hide_nothing(inner: str) -> None:
    """Mapped, NAT64, compatible, 6to4 and Teredo forms of a denied address are denied."""
    admitted = [address for address in carried(inner) if Targets().admits(ip_address(address), 443, "https")]
    assert admitted == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached_over_https_on_web_ports(address: str) -> None:
    """Only https, and only where web servers listen."""
    ways = [("https", 443), ("https", 8443), ("https", 22), ("http", 80)]
    admitted = [way for way in ways if Targets().admits(ip_address(address), way[1], way[0])]
    assert admitted == [("https", 443), ("https", 8443)]


def test_public_nat64_stands_for_the_address_inside() -> None:
    """A host with IPv6 alone reaches IPv4 receivers through it."""
    assert Targets().admits(ip_address("64:ff9b::8.8.8.8"), 443, "https")


def test_case_38_allowed_network_is_reached_over_http_and_any_port() -> None:
    """A private network that was allowed works, its neighbours do not."""
    targets = Targets(["10.1.0.0/16", "fd12::/16"])
    asked = ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "10.2.0.1", "fd13::1"]
    assert [targets.admits(ip_address(address), 9000, "http") for address in asked] == [True, True, True, False, False]


@pytest.mark.parametrize("address", [*METADATA, *carried("169.254.169.254"), *carried("100.100.100.200")])
def test_case_38_metadata_services_stay_out_of_reach(address: str) -> None:
    """Whatever is allowed, credentials of the machine are not."""
    assert not Targets(["0.0.0.0/0", "::/0"]).admits(ip_address(address), 80, "http")


@pytest.mark.parametrize(
    "url",
    [
        *("https://example.com/hook", "https://example.com:8443/a?b=c%2Fd", "HTTPS://Example.com"),
        *("https://8.8.8.8/", "https://[2001:4860:4860::8888]:443/", "https://xn--bcher-kva.example/"),
    ],
)
def test_public_url_is_taken(url: str) -> None:
    """What a receiver usually looks like."""
    Targets().check_url(url)


def reason_against(url: str, *allowed: str) -> str:
    """Why the URL is refused; the answer names the field."""
    with pytest.raises(InvalidWebhook) as refused:
        Targets(allowed).check_url(url)
    assert refused.value.details == {"field": "url"}
    return refused.value.message.removeprefix("'url' ")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must start with https://"),
        ("example.com", "must start with https://"),
        ("//example.com/", "must start with https://"),
        ("ftp://example.com/", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("javascript:alert(1)", "must start with https://"),
        ("http://example.com/", "must start with https://"),
        ("https://", "is not a URL"),
        ("https:///path", "is not a URL"),
        ("https:example.com", "is not a URL"),
        ("https://example.com:0/", "is not a URL"),
        ("https://example.com:99999/", "is not a URL"),
        ("https://example.com:-1/", "is not a URL"),
        ("https://example.com:+443/", "is not a URL"),
        ("https://example.com:443:80/", "is not a URL"),
        ("https://example.com./", "is not a URL"),
        ("https://example.com../", "is not a URL"),
        ("https://8.8.8.8./", "is not a URL"),
        ("https://example.com:22/", "has port 22; webhooks go to 80, 443, 8080, 8443"),
        ("https://user:pass@example.com/", "must not carry a user"),
        ("https://user@localhost/", "must not carry a user"),
        ("https://@example.com/", "must not carry a user"),
        ("https://example.com/#part", "must not have a fragment"),
        ("https://example.com/?a=b#", "must not have a fragment"),
        ("https://example.com/\r\nX: y", "holds characters"),
        ("https://example.com/\n", "holds characters"),
        ("\thttps://example.com/", "holds characters"),
        ("https://exam\nple.com/", "holds characters"),
        ("https://example.com/\0", "holds characters"),
        ("https://example.com\\@evil.com/", "holds characters"),
        ("https://example.com/a b", "holds characters"),
    ],
)
def test_case_37_url_that_is_none_is_refused_with_its_reason(url: str, reason: str) -> None:
    """Nothing is guessed: what two readers would read in two ways is none."""
    assert reason_against(url).startswith(reason)


def test_case_37_url_is_bounded() -> None:
    """The longest that is taken has 2048 characters."""
    url = "https://example.com/".ljust(MAX_URL_CHARACTERS, "a")
    Targets().check_url(url)
    assert reason_against(f"{url}a").startswith("is longer than 2048 characters")


@pytest.mark.parametrize(
    "url",
    [
        *("https://exаmple.com/", "https://ⓔxample.com/", "https://EXAMPLE。COM/", "https://１２７.0.0.1/"),
        *("https://examp\u200ble.com/", "https://paypa\u0131.com/", "https://example.com/\u202efdp", "https://\ud800/"),
    ],
)
def test_case_37_letters_that_look_like_others_are_refused(url: str) -> None:
    """Names outside ASCII are taken as they are registered, which shows that they are another name."""
    assert reason_against(url).startswith("holds characters that a URL must encode (names outside ASCII as xn--...)")


@pytest.mark.parametrize(
    "host",
    [
        *("%31%32%37.0.0.1", "127.0.0.1%00.example.com", "ex%61mple.com", "user%40example.com", "a..b.com", ".b.com"),
        *("a,b.com", "a;b.com", 'a"b.com', "a<b.com", "a|b.com", "a&b.com", "-a.com", "a-.com", "xn--.com", "a" * 64),
        *("a." * 127 + "com", "xn--localhost-.com", "[]", "[::1", "[v1.fe80::a]", "[:::]", "[8.8.8.8]", "[g::]"),
        *("[2001:4860:4860::8888]evil.com", "evil.com[2001:4860:4860::8888]", "[2001:4860:4860::8888]:443:443"),
    ],
)
def test_case_37_what_is_no_name_is_refused(host: str) -> None:
    """Whatever is allowed: letters that somebody on the way might decode, cut at or skip, and parts without a name."""
    assert reason_against(f"https://{host}/").startswith("is not a URL")
    assert reason_against(f"https://{host}/", "0.0.0.0/0", "::/0").startswith("is not a URL")


@pytest.mark.parametrize("host", ["example.com", "x_y.example", "a" * 63 + ".example", "a." * 124 + "com", "1.2.3.x4"])
def test_names_are_taken_up_to_their_bounds(host: str) -> None:
    """63 characters between two dots and 253 in all; underscores are in use."""
    Targets().check_url(f"https://{host}:443/")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "a.localhost", "receiver", "printer.local", "Printer.LOCAL", "local", "home.arpa"),
        *("router.home.arpa", "metadata.google.internal", "internal", "nas.lan", "nas.home", "wiki.corp", "a.intranet"),
        *("a.private", "localhost.localdomain", "a.invalid", "a.onion"),
    ],
)
def test_case_37_names_of_the_own_network_are_refused(host: str) -> None:
    """They lead nowhere, or where only this machine gets to. Names that only resemble them are others'."""
    assert reason_against(f"https://{host}/").startswith("names a host that webhooks must not reach")
    Targets().check_url(f"https://{host}.example.com/")
    Targets().check_url(f"https://x{host.rpartition('.')[2]}x.com/")


@pytest.mark.parametrize(
    "host",
    [
        *(address for address in DENIED_V4),
        *(f"[{address}]" for address in DENIED_V6),
        *("[fe80::1%25eth0]", "[::1%25lo]", "[::1%lo]", "[0:0:0:0:0:ffff:7f00:1]", "[::FFFF:127.0.0.1]"),
        *(f"[{address}]" for inner in ("127.0.0.1", "169.254.169.254") for address in carried(inner)),
    ],
)
def test_case_33_forbidden_addresses_are_refused_when_they_are_written_down(host: str) -> None:
    """All with the same words: what lies there is not the asker's business."""
    assert reason_against(f"https://{host}/") == "names a host that webhooks must not reach"


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "017700000001", "0x7f000001", "0", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.01", "0x7f.1"),
        *("0X7F.1", "0x7f.0x0.0x0.0x1", "010.8.8.8", "1.2.3.256", "1.2.3.4.5", "example.0x7f", "example.123", "a.0x"),
    ],
)
def test_case_33_numbers_in_other_spellings_are_refused(host: str) -> None:
    """Libraries differ in what they take them for; also where private networks are allowed."""
    for allowed in ([], ["127.0.0.0/8"]):
        assert reason_against(f"https://{host}/", *allowed).startswith("spells its address in an unusual way")


@pytest.mark.parametrize("url", ["http://10.1.2.3:9000/", "http://receiver:9000/", "http://localhost/"])
def test_case_38_allowed_network_opens_http_ports_and_local_names(url: str) -> None:
    """Where private networks are allowed, a name is judged when it is connected to."""
    Targets(["10.1.0.0/16"]).check_url(url)


@pytest.mark.parametrize(
    "url", ["http://10.2.0.1/", "http://169.254.169.254/", "http://8.8.8.8/", "gopher://receiver/"]
)
def test_case_38_allowed_network_opens_nothing_else(url: str) -> None:
    """Literal addresses outside it keep to the rules of the public."""
    with pytest.raises(InvalidWebhook):
        Targets(["10.1.0.0/16"]).check_url(url)


def test_what_is_no_network_is_refused() -> None:
    """A slip in the settings does not open more than was meant."""
    with pytest.raises(ValueError, match="has host bits set"):
        Targets(["10.1.2.3/16"])
