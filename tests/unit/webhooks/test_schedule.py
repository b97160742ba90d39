"""After each attempt it is clear whether and when there is another one."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import repeat
from typing import Any

import pytest

from monitor.webhooks.delivery import Answer, Claimed
from monitor.webhooks.schedule import DELAYS_S, Decision, decide, retry_after_s, rule_of
from tests.support.webhooks import NOW_US, make_endpoint

DAY_S = 86_400


def claimed(step: int = 0, **members: Any) -> Claimed:
    """An attempt after so many steps of the schedule; `members` are those of its endpoint."""
    return Claimed(
        key=1,
        id="msg_1",
        endpoint=make_endpoint(**members),
        body=b"{}",
        n=step + 1,
        step=step,
        lease="lease",
        trigger="event",
        is_probe=False,
        planned_us=NOW_US,
        first_us=NOW_US,
    )


def middle() -> float:
    """Chance that stretches nothing."""
    return 0.5


def test_schedule_spans_the_weekend() -> None:
    """Ten attempts within 75 h 35 m 05 s, the first at once."""
    assert (len(DELAYS_S), DELAYS_S[0], sum(DELAYS_S)) == (10, 0, 75 * 3600 + 35 * 60 + 5)


@pytest.mark.parametrize("n", range(1, 10))
def test_failed_attempt_is_repeated_on_schedule(n: int) -> None:
    """The delay counts from the end of the attempt, stretched by up to a fifth in either direction."""
    delays = [decide(claimed(n - 1), Answer(500), NOW_US, repeat(chance).__next__).due_us for chance in (0.0, 0.5, 1.0)]
    assert delays == [NOW_US + round(DELAYS_S[n] * share * 1_000_000) for share in (0.8, 1.0, 1.2)]


def test_last_attempt_ends_the_delivery() -> None:
    """There is no eleventh attempt, not even for a receiver that asks for one."""
    ended = decide(claimed(9), Answer(503, retry_after="60"), NOW_US, middle)
    assert ended[:5] == ("failed", "exhausted", "status", None, 10)


def test_missing_answer_is_repeated_under_its_own_word() -> None:
    """A timeout counts like a refusal."""
    again = decide(claimed(), Answer(None, "timeout"), NOW_US, middle)
    assert again == Decision("pending", None, "timeout", NOW_US + 5_000_000, 1, "failed")


@pytest.mark.parametrize(
    ("status", "verdict", "error"),
    [
        *((status, "delivered", None) for status in (200, 201, 202, 204, 299)),
        *((status, "retry", "redirect") for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, "retry", "status") for status in (400, 401, 403, 404, 408, 409, 422, 425)),
        (429, "retry", "throttled"),
        *((status, "retry", "status") for status in (500, 502, 503, 504, 599)),
        *((status, "retry", "protocol") for status in (101, 199, 600, 999)),
        (410, "give_up", "gone"),
    ],
)
def test_every_status_has_its_rule(status: int, verdict: str, error: str | None) -> None:
    """Only 2xx is a delivery, only 410 ends one early."""
    assert rule_of(status) == (verdict, error)


def test_gone_disables_the_endpoint() -> None:
    """Case 24: 410 holds the delivery with its endpoint, and uses nothing of its schedule."""
    held = decide(claimed(3), Answer(410), NOW_US, middle)
    assert (held.state, held.error, held.step, held.disables) == ("pending", "gone", 3, "gone")


@pytest.mark.parametrize(
    ("header", "asked_s"),
    [
        (None, 0),
        ("120", 120),
        (format_datetime(datetime(2026, 11, 22, 10, 35, tzinfo=UTC), usegmt=True), 300),
        ("Sun, 22 Nov 2026 10:35:00 -0000", 300),
        ("0", 0),
        ("-5", 0),
        ("abc", 0),
        ("", 0),
        ("1.5", 0),
        ("²", 0),
        ("9" * 400, DAY_S),
        (str(10 * 365 * DAY_S), DAY_S),
        (format_datetime(datetime(2026, 11, 22, tzinfo=UTC) - timedelta(days=1), usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY_S),
        # Numbers that no clock can hold.
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2024 99999999999:00:00 GMT", 0),
        (f"Mon, 01 Jan 2024 00:00:00 +{'9' * 30}", 0),
    ],
)
def test_retry_after_is_read_as_written(header: str | None, asked_s: float) -> None:
    """Case 25: seconds or a date, at most a day; the past and nonsense ask for nothing."""
    assert retry_after_s(header, NOW_US) == asked_s


def test_retry_after_only_postpones() -> None:
    """A receiver that asks for less than the schedule gets the schedule."""
    due = [decide(claimed(2), Answer(429, retry_after=header), NOW_US, middle).due_us for header in ("7200", "10")]
    assert due == [NOW_US + 7_200_000_000, NOW_US + 1_800_000_000]
