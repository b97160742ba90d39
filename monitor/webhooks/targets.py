"""Where webhooks may go: URLs come from users, so without rules they would reach whatever this machine can reach.

`check_url` gives a friendly error when an endpoint is registered. `admits` is the authority: the sender asks it about
every socket just before that is created, so neither a name that changes its address nor an odd spelling gets around it.
The table is our own: Python 3.11 takes NAT64, 6to4, IPv4-compatible and other special ranges for public.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from monitor.errors import InvalidWebhook

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Standing = Literal["public", "allowed", "forbidden"]

MAX_URL_CHARACTERS: Final = 2048

PORTS: Final = frozenset({80, 443, 8080, 8443})
"""Where web servers listen; on others a POST might be read as a command."""

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY: Final = re.compile(
    rf"(?:\[[0-9a-f.:]+(?:%[\w.%-]+)?\]|(?=[^:]{{1,253}}(?::|$)){_LABEL}(?:\.{_LABEL})*)(?::[0-9]*)?",
    re.IGNORECASE,
)
"""Host and port. Letters that a resolver or a client might read in another way have no place in a name."""

_LOCAL_SUFFIXES: Final = (
    *(".localhost", ".local", ".home.arpa", ".internal"),  # RFC 6761, 6762 and 8375; set aside by ICANN
    *(".lan", ".home", ".corp", ".intranet", ".private", ".localdomain"),  # in use without asking (RFC 6762, G)
    *(".invalid", ".onion"),  # never in the DNS (RFC 6761, 7686)
)
"""Zones that mean something on this network only, or nothing at all."""

_NOT_PUBLIC: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            # Of IPv6 only 2000::/3 is public at all; these lie inside it.
            "2001::/23",  # protocol assignments, Teredo and ORCHID among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3ffe::/16",  # the abandoned 6bone
            "3fff::/20",  # documentation
        ),
    )
)
_PUBLIC_V6: Final = IPv6Network("2000::/3")

_NEVER: Final = tuple(
    map(
        ip_network,
        (
            # Link-local: most clouds' metadata services, which hand out credentials to whoever asks from the inside.
            "169.254.0.0/16",
            "fe80::/10",
            "fd00:ec2::/32",  # Amazon, by IPv6
            "fd20:ce::254/128",  # Google, by IPv6
            "100.100.100.200/32",  # Alibaba
            "fd00:100::100:200/128",  # Alibaba, by IPv6
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
            "fd00:c1::a9fe:a9fe/128",  # Oracle, by IPv6
            "fd00:a9fe:a9fe::1/128",  # Akamai, by IPv6
            "fd00:42::42/128",  # Scaleway, by IPv6
        ),
    )
)
"""Out of reach even when an allowed network contains them."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")


class BlockedAddress(OSError):
    """The address is out of bounds. It carries no text: what lies behind a name is not the asker's business."""


class Targets:
    """The rules of a deployment. `allowed` are private networks that webhooks may reach, over http and on any port."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """`allowed` in CIDR notation. Raises ValueError for anything else."""
        self._allowed = tuple(ip_network(network) for network in allowed)

    def admits(self, address: Address, port: int, scheme: str) -> bool:
        """Whether a connection to this very address may be opened."""
        standing = self._standing(address)
        return standing == "allowed" or (standing == "public" and scheme == "https" and port in PORTS)

    def check_url(self, url: str) -> None:
        """Raise InvalidWebhook, naming the reason, for a URL that could never be reached.

        A name says little before it is connected to: where private networks are allowed it may lie in one of them.
        """
        parts = _split(url)
        host = parts.hostname or ""
        literal = _literal(host)
        standing = self._presumed(host) if literal is None else self._standing(literal)
        if standing == "forbidden":
            raise _refused("names a host that webhooks must not reach")
        if standing == "public":
            _check_way(parts.scheme, parts.port or _DEFAULT_PORTS[parts.scheme])

    def _standing(self, address: Address) -> Standing:
        if any(_contains(_NEVER, face) for face in (address, *_inner_addresses(address))):
            return "forbidden"
        reached = _reached(address)
        if _contains(self._allowed, reached):
            return "allowed"
        return "public" if _is_public(reached) else "forbidden"

    def _presumed(self, name: str) -> Standing:
        if self._allowed:
            return "allowed"
        return "forbidden" if "." not in name or f".{name}".endswith(_LOCAL_SUFFIXES) else "public"


def _check_way(scheme: str, port: int) -> None:
    if scheme != "https":
        raise _refused("must start with https://")
    if port not in PORTS:
        raise _refused(f"has port {port}; webhooks go to {', '.join(map(str, sorted(PORTS)))}")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARACTERS:
        raise _refused(f"is longer than {MAX_URL_CHARACTERS} characters")
    # Also keeps out CR and LF, which would end the request's first line, and letters that only look like others.
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise _refused("holds characters that a URL must encode (names outside ASCII as xn--...)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("is not a URL such as https://example.com/hook") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise _refused("must start with https://")
    if "@" in parts.netloc:
        raise _refused("must not carry a user or a password; every request is signed instead")
    host = parts.hostname or ""
    if not _AUTHORITY.fullmatch(parts.netloc) or port == 0:
        raise _refused("is not a URL such as https://example.com/hook")
    if _looks_numeric(host):
        raise _refused("spells its address in an unusual way; write 203.0.113.7 or a name")
    if "#" in url:
        raise _refused("must not have a fragment: it is never sent")
    return parts


def _refused(reason: str) -> InvalidWebhook:
    return InvalidWebhook(f"'url' {reason}", field="url")


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _looks_numeric(host: str) -> bool:
    """Whether a reader of URLs would take what is no address for one: 2130706433, 127.1, 0x7f.1, 0177.0.0.1, a.256.

    A name that ends in a number is an IPv4 address or nothing (WHATWG URL, 3.5).
    """
    return _literal(host) is None and bool(re.fullmatch("[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]))


# --- addresses -------------------------------------------------------------------------------------------------------


def _contains(networks: Iterable[Network], address: Address) -> bool:
    return any(address in network for network in networks)


def _is_public(address: Address) -> bool:
    return (address.version == 4 or address in _PUBLIC_V6) and not _contains(_NOT_PUBLIC, address)


def _reached(address: Address) -> Address:
    """The host behind an address: IPv4-mapped ones and those of public NAT64 are other spellings of an IPv4 address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return _last_four_bytes(address)
    return address


def _inner_addresses(address: Address) -> list[Address]:
    """Every IPv4 address that an IPv6 address carries in one of the ways known, so that none is hidden in another."""
    if isinstance(address, IPv4Address):
        return []
    inner: list[Address] = [*(address.teredo or ())]
    inner += [found for found in (address.ipv4_mapped, address.sixtofour) if found is not None]
    if _contains((_NAT64, _LOCAL_NAT64, _IPV4_COMPATIBLE), address):
        inner.append(_last_four_bytes(address))
    return inner


def _last_four_bytes(address: IPv6Address) -> IPv4Address:
    return IPv4Address(address.packed[-4:])
