"""Rates: how many requests a token may make in a second, in this process; who has no token is not limited.

A window that moves with the clock: within any one second no more than so many, at any pace. What is left is told with
every answer, so that a client slows down before it is refused.
"""

from collections import deque
from collections.abc import Mapping
from math import ceil
from typing import Final, NamedTuple

from starlette.types import Scope as Connection

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import RateLimited
from monitor.web.auth import Authenticate

WINDOW_US: Final = 1_000_000

_HELD: Final = 10_000
"""Windows of tokens that are kept before those that have passed are looked for."""


class Rate(NamedTuple):
    """How a token stands after a request."""

    limit: int
    remaining: int
    # Until all of it is there again, in microseconds.
    reset_us: int
    now_us: int

    def headers(self) -> Mapping[str, str]:
        """As two conventions tell it: `RateLimit-Reset` in seconds from now, `X-RateLimit-Reset` in Unix time."""
        limit, remaining = str(self.limit), str(self.remaining)
        return {
            "ratelimit-limit": limit,
            "ratelimit-remaining": remaining,
            "ratelimit-reset": str(ceil(self.reset_us / 1e6)),
            "x-ratelimit-limit": limit,
            "x-ratelimit-remaining": remaining,
            "x-ratelimit-reset": str(ceil((self.now_us + self.reset_us) / 1e6)),
        }


def counted(authenticate: Authenticate, rates: "Rates") -> Authenticate:
    """`authenticate` for connections that count once, when they open: streams."""

    async def opened(connection: Connection) -> Principal:
        who = await authenticate(connection)
        rates.take(who)
        return who

    return opened


class Rates:
    """The windows of every token that asks here."""

    def __init__(self, clock: Clock, most: int) -> None:
        """`most`: requests in a second, of a token that has no rate of its own."""
        self._clock, self._most = clock, most
        self._windows: dict[str, deque[int]] = {}

    def take(self, who: Principal) -> Rate | None:
        """Count a request; None for who has no token. Raises RateLimited, whose headers tell how it stands."""
        if who.token_id is None:
            return None
        now_us, limit = round(self._clock.monotonic_s() * 1e6), who.rate or self._most
        window = self._window(who.token_id, now_us)
        while window and window[0] <= now_us - WINDOW_US:
            window.popleft()
        is_full = len(window) >= limit
        if not is_full:
            window.append(now_us)
        rate = Rate(limit, limit - len(window), window[-1] + WINDOW_US - now_us, self._clock.now_us())
        if is_full:
            wait_s = max(1, ceil((window[0] + WINDOW_US - now_us) / 1e6))
            refusal = RateLimited(f"this token makes more than {limit} requests in a second", retry_after_s=wait_s)
            refusal.headers = rate.headers()
            raise refusal
        return rate

    def _window(self, token_id: str, now_us: int) -> deque[int]:
        window = self._windows.get(token_id)
        if window is None:
            if len(self._windows) >= _HELD:
                kept = {of: it for of, it in self._windows.items() if it[-1] > now_us - WINDOW_US}
                self._windows = kept
            window = self._windows[token_id] = deque()
        return window
