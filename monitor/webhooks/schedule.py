"""What follows an attempt: done, again at a certain time, or never. Pure; the deliverer asks after every answer.

The schedule is the one that the Standard Webhooks specification proposes: ten attempts within 75 h 35 m 05 s, enough
for a receiver that breaks on a Friday evening. Delays are jittered: what failed together does not return together.
"""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Literal, NamedTuple

from monitor.webhooks.delivery import Answer, AttemptDetail, Claimed, Outcome, Verdict

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

EXPIRES_AFTER_US: Final = 4 * 24 * _HOUR_S * 1_000_000
"""Later than this after its first attempt no other is planned, however little of the schedule it used."""

RESTS_S: Final = {"throttled": 5.0, "internal": 30.0}
"""How long a lane rests after these, unless the receiver said how long. They are no failures of the receiver's."""


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
    (range(429, 430), Rule("retry", "throttled")),
    # All others: an endpoint is deployed or repaired while we try again.
    (range(400, 600), Rule("retry", "status")),
)
_NO_STATUS: Final = Rule("retry", "protocol")


class Decision(NamedTuple):
    """How the delivery and its lane go on."""

    state: Literal["pending", "delivered", "failed"]
    # Why it failed for good, or waits for somebody: see Outcome.
    reason: str | None
    error: str | None
    # When it is tried again; None unless `pending` and not halted.
    due_us: int | None
    step: int
    verdict: Verdict
    # Before which the receiver wants nothing more, 0 = it did not say.
    lane_until_us: int = 0
    # Why the endpoint is to be disabled; None = it is not.
    disables: str | None = None


def rule_of(status: int) -> Rule:
    """The rule for a final HTTP status; one outside 200 to 599 breaks the protocol."""
    return next((rule for statuses, rule in _RULES if status in statuses), _NO_STATUS)


def decide(claimed: Claimed, answer: Answer, ended_us: int, chance: Callable[[], float]) -> Decision:
    """What follows an attempt that ended at `ended_us`. `chance` gives numbers in [0, 1).

    What the receiver says in `Retry-After` only ever postpones, and holds for its whole lane. A probe of an open
    breaker uses up no step: its delivery is due again at once, whenever the lane is.
    """
    rule = Rule("retry", answer.failure) if answer.status is None else rule_of(answer.status)
    if claimed.trigger == "test":
        state: Literal["delivered", "failed"] = "delivered" if rule.verdict == "delivered" else "failed"
        return Decision(state, None if state == "delivered" else "test", rule.error, None, claimed.step, "neutral")
    control = answer.control if claimed.endpoint.obeys_receiver and answer.status is not None else None
    disables = "gone" if rule.error == "gone" else "receiver" if control == "disable" else None
    if rule.verdict == "delivered":
        return Decision("delivered", None, None, None, claimed.step, "ok", disables=disables)
    if disables is not None:
        # Held with its endpoint: whoever resumes that decides what becomes of it.
        error = "gone" if disables == "gone" else "disabled"
        return Decision("pending", None, error, ended_us, claimed.step, "failed", disables=disables)
    if control == "abort-message":
        return Decision("failed", "aborted", "aborted", None, claimed.step, "failed")
    if answer.status in claimed.endpoint.give_up_on:
        return Decision("failed", "given_up", rule.error, None, claimed.step, "failed")
    return _again(claimed, answer, rule.error, ended_us, chance)


def _again(claimed: Claimed, answer: Answer, error: str | None, ended_us: int, chance: Callable[[], float]) -> Decision:
    endpoint = claimed.endpoint
    delays_s = DELAYS_S if endpoint.retry_delays_s is None else (0, *endpoint.retry_delays_s)
    step = claimed.step if claimed.is_probe else claimed.step + 1
    rest_s = retry_after_s(answer.retry_after, ended_us) or RESTS_S.get(error or "", 0.0)
    until_us = ended_us + round(rest_s * 1_000_000) if rest_s else 0
    verdict: Verdict = "throttled" if error in RESTS_S else "failed"
    delay_s = 0.0 if claimed.is_probe or step >= len(delays_s) else delays_s[step] * _stretch(chance)
    due_us = max(ended_us + round(delay_s * 1_000_000), until_us)
    is_late = due_us >= claimed.first_us + EXPIRES_AFTER_US
    spent = "exhausted" if step >= len(delays_s) else "expired" if is_late else None
    if spent is None:
        return Decision("pending", None, error, due_us, step, verdict, until_us)
    if endpoint.ordering != "none" and endpoint.on_exhausted == "halt":
        return Decision("pending", "halted", error, None, step, verdict, until_us)
    return Decision("failed", spent, error, None, step, verdict, until_us)


def _stretch(chance: Callable[[], float]) -> float:
    return 1 - JITTER + 2 * JITTER * chance()


def outcome_of(claimed: Claimed, answer: Answer, decision: Decision, started_us: int, ended_us: int) -> Outcome:
    """What is recorded of the attempt."""
    return Outcome(
        key=claimed.key,
        endpoint_key=claimed.endpoint.key,
        n=claimed.n,
        lease=claimed.lease,
        started_us=started_us,
        finished_us=ended_us,
        status=answer.status,
        error=decision.error,
        answer=answer.body,
        detail=AttemptDetail(claimed.endpoint.url, answer.headers, answer.phases_us, answer.is_truncated),
        state=decision.state,
        reason=decision.reason,
        due_us=decision.due_us,
        step=decision.step,
    )


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
