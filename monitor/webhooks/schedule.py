"""What follows an attempt: done, again at a certain time, or never. Pure; the deliverer asks after every answer.

The schedule is the one that the Standard Webhooks specification proposes: ten attempts within 75 h 35 m 05 s, enough
for a receiver that breaks on a Friday evening. Delays are jittered: what failed together does not return together.
"""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Literal, NamedTuple

from monitor.webhooks.delivery import Answer

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600

DELAYS_S: Final = (
    *(0, 5, 5 * _MINUTE_S, 30 * _MINUTE_S),
    *(2 * _HOUR_S, 5 * _HOUR_S, 10 * _HOUR_S, 14 * _HOUR_S, 20 * _HOUR_S, 24 * _HOUR_S),
)
"""Seconds before each attempt, counted from the end of the one before."""

JITTER: Final = 0.2
"""A delay is stretched or shortened by up to this share of it."""

LONGEST_RETRY_AFTER_S: Final = 24 * _HOUR_S
"""A receiver that asks for more gets this: nobody plans a pause of years in a header."""


class Rule(NamedTuple):
    """What a status means for the delivery, and the word for it in the list of attempts."""

    verdict: Literal["delivered", "retry", "give_up"]
    error: str | None


_RULES: Final = (
    (range(200, 300), Rule("delivered", None)),
    # Never followed: the target would be a stranger's choice, and 301 to 303 turn the request into a GET.
    (range(300, 400), Rule("retry", "redirect")),
    # Gone: the owner wants no more of it.
    (range(410, 411), Rule("give_up", "gone")),
    # All others: an endpoint is deployed or repaired while we try again.
    (range(400, 600), Rule("retry", "status")),
)
_NO_STATUS: Final = Rule("retry", "protocol")


class Decision(NamedTuple):
    """How the delivery goes on."""

    state: Literal["pending", "delivered", "failed"]
    error: str | None
    # When it is tried again; None unless `pending`.
    due_us: int | None


def rule_of(status: int) -> Rule:
    """The rule for a final HTTP status; one outside 200 to 599 breaks the protocol."""
    return next((rule for statuses, rule in _RULES if status in statuses), _NO_STATUS)


def decide(n: int, answer: Answer, ended_us: int, chance: Callable[[], float]) -> Decision:
    """What follows attempt `n` (from 1) that ended at `ended_us`. `chance` gives numbers in [0, 1).

    What the receiver says in `Retry-After` only ever postpones.
    """
    rule = Rule("retry", answer.failure) if answer.status is None else rule_of(answer.status)
    if rule.verdict == "delivered":
        return Decision("delivered", None, None)
    if rule.verdict == "give_up" or n >= len(DELAYS_S):
        return Decision("failed", rule.error, None)
    delay_s = DELAYS_S[n] * (1 - JITTER + 2 * JITTER * chance())
    asked_s = retry_after_s(answer.retry_after, ended_us)
    return Decision("pending", rule.error, ended_us + round(max(delay_s, asked_s) * 1_000_000))


def retry_after_s(header: str | None, now_us: int) -> float:
    """Seconds that a `Retry-After` asks for (RFC 9110, 10.2.3), at most a day; 0 for none, a past one or nonsense."""
    if header is None:
        return 0
    asked_s = float(header) if header.isascii() and header.isdigit() else _until_s(header, now_us)
    return min(max(asked_s, 0), LONGEST_RETRY_AFTER_S)


def _until_s(header: str, now_us: int) -> float:
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0
    # A date without a zone is in UTC: RFC 9110 knows no other.
    moment = date if date.tzinfo else date.replace(tzinfo=UTC)
    return moment.timestamp() - now_us / 1_000_000
