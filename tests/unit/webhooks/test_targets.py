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
def test_special_addresses_are_out_of_bounds(address: str) -> None:
    """Case 33: no range that is not public is reached."""
    assert not Targets().admits(ip_address(address), 443, "https")


@pytest.mark.parametrize("inner", DENIED_V4)
def test_ipv6_spellings_hide_nothing(inner: str) -> None:
    """Case 33: mapped, NAT64, compatible, 6to4 and Teredo forms of a denied address are denied."""
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


def test_allowed_network_is_reached_over_http_and_any_port() -> None:
    """Case 38: a private network that was allowed works, its neighbours do not."""
    targets = Targets(["10.1.0.0/16", "fd12::/16"])
    asked = ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "10.2.0.1", "fd13::1"]
    assert [targets.admits(ip_address(address), 9000, "http") for address in asked] == [True, True, True, False, False]


@pytest.mark.parametrize("address", [*METADATA, *carried("169.254.169.254"), *carried("100.100.100.200")])
def test_metadata_services_stay_out_of_reach(address: str) -> None:
    """Case 38: whatever is allowed, credentials of the machine are not."""
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


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must start with https://"),
        ("example.com", "must start with https://"),
        ("//example.com/", "must start with https://"),
        ("ftp://example.com/", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("http://example.com/", "must start with https://"),
        ("https://", "is not a URL"),
        ("https:///path", "is not a URL"),
        ("https://example.com:0/", "is not a URL"),
        ("https://example.com:99999/", "is not a URL"),
        ("https://[::1/", "is not a URL"),
        ("https://example.com./", "is not a URL"),
        ("https://example.com:22/", "has port 22; webhooks go to 80, 443, 8080, 8443"),
        ("https://user:pass@example.com/", "must not carry a user"),
        ("https://@example.com/", "must not carry a user"),
        ("https://example.com/#part", "must not have a fragment"),
        ("https://example.com/" + "a" * MAX_URL_CHARACTERS, "is longer than 2048 characters"),
        ("https://exаmple.com/", "holds characters"),
        ("https://example.com/\r\nX: y", "holds characters"),
        ("https://example.com\\@evil.com/", "holds characters"),
        ("https://example.com/a b", "holds characters"),
        ("https://localhost/", "names a host that"),
        ("https://receiver/", "names a host that"),
        ("https://printer.local/", "names a host that"),
        ("https://metadata.google.internal/", "names a host that"),
        ("https://127.0.0.1/", "names a host that"),
        ("https://[::1]/", "names a host that"),
        ("https://[fe80::1%25eth0]/", "names a host that"),
        ("https://[::ffff:10.0.0.1]/", "names a host that"),
        ("https://2130706433/", "spells its address in an unusual way"),
        ("https://127.1/", "spells its address in an unusual way"),
        ("https://0177.0.0.1/", "spells its address in an unusual way"),
        ("https://0x7f.1/", "spells its address in an unusual way"),
        ("https://0x7f000001/", "spells its address in an unusual way"),
    ],
)
def test_unreachable_url_is_refused_with_its_reason(url: str, reason: str) -> None:
    """Cases 33 and 37: the answer names the field and what is wrong with it."""
    with pytest.raises(InvalidWebhook) as refused:
        Targets().check_url(url)
    assert refused.value.message.removeprefix("'url' ").startswith(reason)
    assert refused.value.details == {"field": "url"}


@pytest.mark.parametrize("url", ["http://10.1.2.3:9000/", "http://receiver:9000/", "http://localhost/"])
def test_allowed_network_opens_http_ports_and_local_names(url: str) -> None:
    """Case 38: where private networks are allowed, a name is judged when it is connected to."""
    Targets(["10.1.0.0/16"]).check_url(url)


@pytest.mark.parametrize(
    "url", ["http://10.2.0.1/", "http://169.254.169.254/", "http://8.8.8.8/", "gopher://receiver/"]
)
def test_allowed_network_opens_nothing_else(url: str) -> None:
    """Literal addresses outside it keep to the rules of the public."""
    with pytest.raises(InvalidWebhook):
        Targets(["10.1.0.0/16"]).check_url(url)


def test_what_is_no_network_is_refused() -> None:
    """A slip in the settings does not open more than was meant."""
    with pytest.raises(ValueError, match="has host bits set"):
        Targets(["10.1.2.3/16"])
