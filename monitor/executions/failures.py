"""Failures: how often an address showed a token that is none. Whoever guesses on is refused before the store is asked.

Counted in windows of some seconds, in this process. An address of IPv6 counts with its whole network of 64 bits, which
is the least that anybody gets (RFC 6177); behind a proxy it is the one that a trusted proxy tells.
"""

import ipaddress
from collections import OrderedDict
from math import ceil
from typing import Final, NamedTuple

from monitor.clock import Clock
from monitor.errors import RateLimited

MOST_FAILURES: Final = 100
"""Of an address in a window: ten looks in a second are nothing to the store."""

WINDOW_S: Final = 10

_HELD: Final = 10_000
"""Addresses that are kept; then the one that began longest ago is forgotten."""


class _Window(NamedTuple):
    began_us: int
    failures: int


class Failures:
    """The windows of every address that failed lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def is_over(self, address: str | None) -> bool:
        """Whether it has failed too often."""
        return self._window(address).failures >= MOST_FAILURES

    def refusal(self, address: str | None) -> RateLimited:
        """What it is told then."""
        left_us = self._window(address).began_us + WINDOW_S * 1_000_000 - self._now_us()
        message = f"your address has shown {MOST_FAILURES} unknown tokens in {WINDOW_S} seconds; good ones pass"
        return RateLimited(message, retry_after_s=max(1, ceil(left_us / 1_000_000)))

    def add(self, address: str | None, count: int = 1) -> None:
        """Count a failure; -1 takes one back."""
        began_us, failures = self._window(address)
        self._windows[_network(address)] = _Window(began_us, max(0, failures + count))
        if len(self._windows) > _HELD:
            self._windows.popitem(last=False)

    def statistics(self) -> int:
        """How many addresses are kept."""
        return len(self._windows)

    def _window(self, address: str | None) -> _Window:
        """The current one."""
        now_us, network = self._now_us(), _network(address)
        found = self._windows.get(network)
        if found is not None and now_us - found.began_us < WINDOW_S * 1_000_000:
            return found
        self._windows.pop(network, None)  # the next one is among the latest
        return _Window(now_us, 0)

    def _now_us(self) -> int:
        return round(self._clock.monotonic_s() * 1_000_000)


def _network(address: str | None) -> str:
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    # A socket that listens for both kinds shows IPv4 addresses as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
    plain = getattr(found, "ipv4_mapped", None) or found
    return str(plain) if plain.version == 4 else str(ipaddress.ip_network((plain, 64), strict=False))
