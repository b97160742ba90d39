"""A lane: an endpoint's queue, how fast it may be served, and what its receiver's behaviour means for that. Pure.

A breaker keeps a dead receiver from wasting sends: five failures in a row, or half of the last twenty within a minute,
open it; then one probe at a time, after 30 s, 60 s, ... 10 min; a success closes it, and the lane starts slowly. What
waits meanwhile uses up nothing of its schedule. The rules follow what senders of webhooks publish; the store keeps a
Lane per endpoint, and the deliverer's transaction moves it on.
"""

from collections.abc import Mapping
from math import ceil
from typing import Final, Literal, NamedTuple

import msgspec

from monitor.events.codec import format_time
from monitor.webhooks.delivery import Verdict
from monitor.webhooks.endpoint import MOST_IN_FLIGHT, Endpoint

_S: Final = 1_000_000
_DAY_US: Final = 86_400 * _S

BREAK_AFTER: Final = 5
"""Failures in a row that open the breaker."""

WINDOW: Final = 20
WINDOW_US: Final = 60 * _S
"""Or at least half of the last WINDOW attempts, all within WINDOW_US, counted from a failure on."""

FIRST_PAUSE_US: Final = 30 * _S
LONGEST_PAUSE_US: Final = 600 * _S
"""Of an open breaker: doubled with every probe that fails."""

DISABLE_AFTER_US: Final = 5 * _DAY_US
DISABLE_FAILURES: Final = 20
"""Without a success for so long, and with so many failures, an endpoint is disabled. One success starts anew."""

SHARE_AGAIN_US: Final = _S // 2
"""How soon a lane that holds its share of all room is looked at again."""

WARN_AT: Final = (50, 70, 90)
"""Percent of DISABLE_AFTER_US at which the owner is warned."""

SUCCESS_GRAIN_US: Final = _S
"""How exactly a lane in good order knows its last success: what changes nothing else is not written each time."""

Breaker = Literal["closed", "open", "half_open"]


class Lane(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of an endpoint's receiver. A new one is trusted."""

    breaker: Breaker = "closed"
    # Probes that failed since the breaker opened.
    probes: int = 0
    # Nothing is sent before: the breaker's pause, or what `Retry-After` asked for.
    blocked_until_us: int = 0
    # Sends in flight that are allowed after the breaker closed, doubled with every success; 0 = no limit but its own.
    ramp: int = 0
    # In a row, since the last success.
    failures: int = 0
    # When the first of them ended; None = the last attempt succeeded, or there was none.
    failing_since_us: int | None = None
    last_success_us: int | None = None
    # The last warning given, in percent.
    warned: int = 0
    # When each of the last attempts ended, in microseconds times two, plus one for a success; oldest first. Empty while
    # there is no failure among them.
    recent: tuple[int, ...] = ()
    # Of the rate limit's bucket, at `tokens_us`; None = full.
    tokens: float | None = None
    tokens_us: int = 0


class Room(NamedTuple):
    """What a lane has room for now."""

    # Sends that may begin.
    free: int
    # When to look again; None: when a send ends.
    look_us: int | None
    # Whether what is sent probes an open breaker.
    is_probe: bool


class Told(NamedTuple):
    """Something that the owner is to be told: see `notices`."""

    type: str
    members: Mapping[str, int | str]


class Turn(NamedTuple):
    """What an attempt made of its lane."""

    lane: Lane
    notices: tuple[Told, ...]
    # Whether the endpoint is to be disabled for having failed too long.
    disables: bool


def room(lane: Lane, endpoint: Endpoint, in_flight: int, now_us: int, share: int = MOST_IN_FLIGHT) -> Room:
    """How many sends may begin when `in_flight` are under way, and no lane may have more than `share`."""
    if endpoint.status != "active":
        return Room(0, None, is_probe=False)
    if lane.blocked_until_us > now_us:
        return Room(0, lane.blocked_until_us, is_probe=False)
    if lane.breaker != "closed":
        return Room(max(0, 1 - in_flight), None, is_probe=True)
    own = max(0, min(endpoint.max_in_flight, lane.ramp or endpoint.max_in_flight) - in_flight)
    free = min(own, max(0, share - in_flight))
    if own and not free:
        # Room comes back when others' sends end, of which this lane hears nothing.
        return Room(0, now_us + SHARE_AGAIN_US, is_probe=False)
    if endpoint.rate is None or not free:
        return Room(free, None, is_probe=False)
    tokens = _tokens(lane, endpoint, now_us)
    if tokens >= 1:
        return Room(min(free, int(tokens)), None, is_probe=False)
    return Room(0, now_us + max(1, ceil((1 - tokens) / endpoint.rate.per_s * _S)), is_probe=False)


def begun(lane: Lane, endpoint: Endpoint, count: int, now_us: int) -> Lane:
    """The lane once `count` sends began; also with none it is to be kept, for the bucket fills from now on after the
    clock was set back.
    """
    changes: dict[str, object] = {}
    if lane.breaker == "open" and count:
        changes["breaker"] = "half_open"
    if endpoint.rate is not None and (count or now_us < lane.tokens_us):
        changes |= {"tokens": _tokens(lane, endpoint, now_us) - count, "tokens_us": now_us}
    return msgspec.structs.replace(lane, **changes) if changes else lane


def after(lane: Lane, endpoint: Endpoint, verdict: Verdict, until_us: int, now_us: int) -> Turn:
    """The lane after an attempt; `until_us`: before which the receiver wants nothing more, 0 = it did not say."""
    if verdict == "neutral":
        return Turn(lane, (), disables=False)
    if verdict == "ok":
        return _succeeded(lane, endpoint, now_us)
    if verdict == "throttled":
        # It lives, and says what it wants: no failure.
        blocked_until_us = max(lane.blocked_until_us, until_us)
        breaker: Breaker = "open" if lane.breaker == "half_open" else lane.breaker
        return Turn(
            msgspec.structs.replace(lane, blocked_until_us=blocked_until_us, breaker=breaker), (), disables=False
        )
    return _failed(lane, until_us, now_us)


def enabled(lane: Lane) -> Lane:
    """The lane once its owner resumed it: it starts slowly, and the past is forgotten."""
    return Lane(ramp=1, last_success_us=lane.last_success_us, tokens=lane.tokens, tokens_us=lane.tokens_us)


def set_back(lane: Lane, by_us: int) -> Lane:
    """The lane once the clock was set back by so much: nothing takes longer for that."""
    return msgspec.structs.replace(
        lane,
        blocked_until_us=max(0, lane.blocked_until_us - by_us),
        failing_since_us=None if lane.failing_since_us is None else lane.failing_since_us - by_us,
        last_success_us=None if lane.last_success_us is None else lane.last_success_us - by_us,
        recent=tuple(at - (by_us << 1) for at in lane.recent),
        tokens_us=lane.tokens_us - by_us,
    )


# --- steps -----------------------------------------------------------------------------------------------------------


def _succeeded(lane: Lane, endpoint: Endpoint, now_us: int) -> Turn:
    if _is_in_order(lane) and 0 <= now_us - (lane.last_success_us or 0) < SUCCESS_GRAIN_US:
        return Turn(lane, (), disables=False)
    ramp = lane.ramp * 2 if lane.breaker == "closed" else 1
    notices: tuple[Told, ...] = ()
    if lane.warned and lane.failing_since_us is not None:
        since = format_time(lane.failing_since_us)
        notices = (Told("endpoint.recovered", {"failures": lane.failures, "failingSince": since}),)
    return Turn(
        msgspec.structs.replace(
            lane,
            breaker="closed",
            probes=0,
            ramp=ramp if ramp < endpoint.max_in_flight else 0,
            failures=0,
            failing_since_us=None,
            last_success_us=now_us,
            warned=0,
            recent=_noted(lane, now_us, is_success=True),
        ),
        notices,
        disables=False,
    )


def _failed(lane: Lane, until_us: int, now_us: int) -> Turn:
    since_us = now_us if lane.failing_since_us is None else lane.failing_since_us
    failing_us, failures = now_us - since_us, lane.failures + 1
    disables = failing_us >= DISABLE_AFTER_US and failures >= DISABLE_FAILURES
    due = [percent for percent in WARN_AT if failing_us * 100 >= DISABLE_AFTER_US * percent]
    warned = due[-1] if due else 0
    notices: tuple[Told, ...] = ()
    if warned > lane.warned and not disables:
        times = {"failingSince": format_time(since_us), "disabledFrom": format_time(since_us + DISABLE_AFTER_US)}
        notices = (Told("endpoint.failing", {"percent": warned, "failures": failures, **times}),)
    lane = msgspec.structs.replace(
        lane,
        failures=failures,
        failing_since_us=since_us,
        warned=max(warned, lane.warned),
        blocked_until_us=max(lane.blocked_until_us, until_us),
        recent=_noted(lane, now_us, is_success=False),
    )
    return Turn(_broken(lane, now_us), notices, disables)


def _broken(lane: Lane, now_us: int) -> Lane:
    """The lane with its breaker opened, or opened again, if it should be."""
    if lane.breaker == "open" or (lane.breaker == "closed" and not _is_broken(lane)):
        return lane  # what was in flight when it opened says nothing new
    probes = lane.probes + 1 if lane.breaker == "half_open" else 0
    pause_us = min(FIRST_PAUSE_US << min(probes, 10), LONGEST_PAUSE_US)
    return msgspec.structs.replace(
        lane,
        breaker="open",
        probes=probes,
        ramp=0,
        recent=(),
        blocked_until_us=max(lane.blocked_until_us, now_us + pause_us),
    )


def _is_broken(lane: Lane) -> bool:
    last = lane.recent[-BREAK_AFTER:]
    if len(last) == BREAK_AFTER and not any(at & 1 for at in last):
        return True
    full = len(lane.recent) == WINDOW and (lane.recent[-1] - lane.recent[0]) >> 1 <= WINDOW_US
    return full and sum(at & 1 for at in lane.recent) * 2 <= WINDOW


def _noted(lane: Lane, now_us: int, *, is_success: bool) -> tuple[int, ...]:
    recent = (*lane.recent[1 - WINDOW :], now_us << 1 | is_success)
    return () if all(at & 1 for at in recent) else recent


def _is_in_order(lane: Lane) -> bool:
    """Whether another success would change nothing but its time."""
    return lane.breaker == "closed" and not (lane.recent or lane.failures or lane.ramp or lane.probes)


def _tokens(lane: Lane, endpoint: Endpoint, now_us: int) -> float:
    assert endpoint.rate is not None
    if lane.tokens is None:
        return float(endpoint.rate.burst)
    filled = lane.tokens + max(0, now_us - lane.tokens_us) / _S * endpoint.rate.per_s
    return min(filled, float(endpoint.rate.burst))
