"""After each attempt it is clear whether and when there is another one."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import accumulate, repeat
from typing import Any

import pytest

from monitor.webhooks.delivery import Answer, Claimed, Trigger
from monitor.webhooks.schedule import DELAYS_S, Decision, decide, retry_after_s, rule_of
from tests.support.webhooks import NOW_US, make_endpoint

DAY_S = 86_400


def claimed(
    step: int = 0, *, trigger: Trigger = "event", is_probe: bool = False, first_us: int = NOW_US, **members: Any
) -> Claimed:
    """An attempt after so many steps of the schedule; `members` are those of its endpoint."""
    return Claimed(
        key=1,
        id="msg_1",
        endpoint=make_endpoint(**members),
        body=b"{}",
        n=step + 1,
        step=step,
        lease="lease",
        trigger=trigger,
        is_probe=is_probe,
        planned_us=NOW_US,
        first_us=first_us,
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


@pytest.mark.parametrize(
    ("answer", "error", "disables"),
    [
        (Answer(410), "gone", "gone"),
        (Answer(410, control="abort-message"), "gone", "gone"),
        (Answer(500, control="disable"), "disabled", "receiver"),
        (Answer(301, control="disable"), "disabled", "receiver"),
    ],
)
@pytest.mark.parametrize("is_probe", [False, True])
def test_case_24_and_27_receiver_that_wants_no_more_disables_its_endpoint(
    answer: Answer, error: str, disables: str, *, is_probe: bool
) -> None:
    """The delivery is held with its endpoint, at the step where it stood."""
    held = decide(claimed(3, is_probe=is_probe), answer, NOW_US, middle)
    assert held == Decision("pending", None, error, NOW_US, 3, "failed", disables=disables)


def test_case_27_receiver_that_takes_the_last_one_is_disabled() -> None:
    """It has this one, and wants no other."""
    ended = decide(claimed(), Answer(200, control="disable"), NOW_US, middle)
    assert ended == Decision("delivered", None, None, None, 0, "ok", disables="receiver")


@pytest.mark.parametrize("status", [500, 400, 302, 429])
def test_case_27_receiver_may_call_one_delivery_off(status: int) -> None:
    """Whatever the status of the refusal; the endpoint stays, and a schedule that is long says nothing."""
    ended = decide(claimed(2), Answer(status, control="abort-message"), NOW_US, middle)
    assert ended == Decision("failed", "aborted", "aborted", None, 2, "failed")


def test_case_27_calling_off_what_was_taken_means_nothing() -> None:
    """2xx is a delivery."""
    ended = decide(claimed(), Answer(200, control="abort-message"), NOW_US, middle)
    assert ended == Decision("delivered", None, None, None, 0, "ok")


@pytest.mark.parametrize("control", ["disable", "abort-message"])
def test_endpoint_may_be_deaf_to_its_receiver(control: str) -> None:
    """The header is then like any other; 410 is not."""
    again = decide(claimed(obeys_receiver=False), Answer(500, control=control), NOW_US, middle)
    assert again == Decision("pending", None, "status", NOW_US + 5_000_000, 1, "failed")
    assert decide(claimed(obeys_receiver=False), Answer(410), NOW_US, middle).disables == "gone"


@pytest.mark.parametrize("word", ["", "retry", "disable-all", "abort"])
def test_unknown_word_of_the_receiver_is_none(word: str) -> None:
    """What nobody agreed on decides nothing."""
    assert decide(claimed(), Answer(500, control=word), NOW_US, middle).due_us == NOW_US + 5_000_000


@pytest.mark.parametrize(
    "answer", [Answer(410), Answer(500, control="disable"), Answer(503), Answer(None, "timeout"), Answer(429)]
)
def test_test_is_sent_once_and_decides_nothing(answer: Answer) -> None:
    """Somebody looks at what comes; neither the lane nor the endpoint follows it."""
    ended = decide(claimed(trigger="test"), answer, NOW_US, middle)
    assert ended._replace(error=None) == Decision("failed", "test", None, None, 0, "neutral")
    ended = decide(claimed(trigger="test"), Answer(200, control="disable"), NOW_US, middle)
    assert ended == Decision("delivered", None, None, None, 0, "neutral")


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
def test_case_25_retry_after_is_read_as_written(header: str | None, asked_s: float) -> None:
    """Seconds or a date, at most a day; the past and nonsense ask for nothing."""
    assert retry_after_s(header, NOW_US) == asked_s


def test_retry_after_only_postpones() -> None:
    """A receiver that asks for less than the schedule gets the schedule."""
    due = [decide(claimed(2), Answer(429, retry_after=header), NOW_US, middle).due_us for header in ("7200", "10")]
    assert due == [NOW_US + 7_200_000_000, NOW_US + 1_800_000_000]


def test_case_25_retry_after_is_for_the_whole_lane() -> None:
    """Also that of a 503, which is a failure all the same; a day is the most."""
    busy = decide(claimed(), Answer(503, retry_after="120"), NOW_US, middle)
    assert busy == Decision("pending", None, "status", NOW_US + 120 * 1_000_000, 1, "failed", NOW_US + 120 * 1_000_000)
    throttled = decide(claimed(), Answer(429, retry_after="99999999"), NOW_US, middle)
    day_us = NOW_US + DAY_S * 1_000_000
    assert throttled == Decision("pending", None, "throttled", day_us, 1, "throttled", day_us)


def test_throttling_that_does_not_say_how_long_rests_for_seconds() -> None:
    """It uses up a step like any other answer, and the lane waits a little."""
    again = decide(claimed(1), Answer(429), NOW_US, middle)
    assert again == Decision("pending", None, "throttled", NOW_US + 300_000_000, 2, "throttled", NOW_US + 5_000_000)


def test_own_fault_rests_the_lane_and_blames_nobody() -> None:
    """What cannot even be tried is not tried again and again, be it a probe or not."""
    rest_us = NOW_US + 30_000_000
    for is_probe, step in ((False, 1), (True, 0)):
        again = decide(claimed(is_probe=is_probe), Answer(None, "internal"), NOW_US, middle)
        assert again == Decision("pending", None, "internal", rest_us, step, "throttled", rest_us)


# --- ends ------------------------------------------------------------------------------------------------------------


def run(answer: Answer, *, took_s: int = 1, **members: Any) -> tuple[list[int], Decision]:
    """When each attempt began, in seconds, until there is no other; each took so long."""
    at_us, step, begun_s = NOW_US, 0, list[int]()
    while True:
        begun_s.append((at_us - NOW_US) // 1_000_000)
        decision = decide(claimed(step, **members), answer, at_us + took_s * 1_000_000, middle)
        if decision.due_us is None:
            return begun_s, decision
        at_us, step = decision.due_us, decision.step


def test_case_26_ten_refusals_exhaust_a_delivery() -> None:
    """500 ten times over 75 hours."""
    begun_s, last = run(Answer(500), took_s=0)
    assert begun_s == list(accumulate(DELAYS_S))
    assert last == Decision("failed", "exhausted", "status", None, 10, "failed")


def test_endpoint_may_have_a_schedule_of_its_own() -> None:
    """The first attempt is at once; the delays count from the end of the one before."""
    begun_s, last = run(Answer(None, "connect"), retry_delays_s=(10, 20), took_s=3)
    assert begun_s == [0, 13, 36]
    assert last == Decision("failed", "exhausted", "connect", None, 3, "failed")
    assert run(Answer(500), retry_delays_s=())[0] == [0]


@pytest.mark.parametrize("status", [400, 404, 503, 301])
def test_endpoint_may_name_answers_that_end_a_delivery(status: int) -> None:
    """Those alone, and at once."""
    ended = decide(claimed(1, give_up_on=(404, status)), Answer(status), NOW_US, middle)
    assert (ended.state, ended.reason, ended.step, ended.verdict) == ("failed", "given_up", 1, "failed")
    assert decide(claimed(give_up_on=(404,)), Answer(405), NOW_US, middle).state == "pending"
    assert decide(claimed(give_up_on=(404,)), Answer(None, "dns"), NOW_US, middle).state == "pending"


def test_delivery_expires_four_days_after_its_first_attempt() -> None:
    """However often the receiver asks to come back later, and however slow the schedule is."""
    begun_s, last = run(Answer(429, retry_after=str(DAY_S)), took_s=0)
    assert begun_s == [0, DAY_S, 2 * DAY_S, 3 * DAY_S]
    assert (last.state, last.reason) == ("failed", "expired")
    begun_s, last = run(Answer(500), retry_delays_s=(7 * DAY_S,))
    assert (begun_s, last.reason) == ([0], "expired")


def test_time_before_the_first_attempt_is_no_time() -> None:
    """What waited a month behind a receiver that is away has all of its days before it."""
    month_us = 30 * DAY_S * 1_000_000
    assert decide(claimed(first_us=NOW_US + month_us), Answer(500), NOW_US + month_us, middle).state == "pending"


def test_case_14_probe_uses_up_no_step() -> None:
    """It is due again at once, as soon as its lane is, be it the last step; days end it all the same."""
    for step in (0, 9):
        again = decide(claimed(step, is_probe=True), Answer(500), NOW_US, middle)
        assert again == Decision("pending", None, "status", NOW_US, step, "failed")
    old_us = NOW_US - 4 * DAY_S * 1_000_000
    assert decide(claimed(is_probe=True, first_us=old_us), Answer(500), NOW_US, middle).reason == "expired"
    assert decide(claimed(is_probe=True, first_us=old_us + 1), Answer(500), NOW_US, middle).state == "pending"


@pytest.mark.parametrize("ordering", ["execution", "strict"])
@pytest.mark.parametrize(("step", "first_us"), [(9, NOW_US), (0, NOW_US - 4 * DAY_S * 1_000_000)])
def test_queue_may_halt_at_what_could_not_be_delivered(ordering: str, step: int, first_us: int) -> None:
    """It waits for somebody, and nothing of its order passes; what was called off passes all the same."""
    attempt = claimed(step, first_us=first_us, ordering=ordering, on_exhausted="halt")
    assert decide(attempt, Answer(500), NOW_US, middle) == Decision(
        "pending", "halted", "status", None, step + 1, "failed"
    )
    assert decide(attempt, Answer(500, control="abort-message"), NOW_US, middle).state == "failed"


def test_queue_without_an_order_has_nothing_to_halt() -> None:
    """Nobody waits for it."""
    assert decide(claimed(9, on_exhausted="halt"), Answer(500), NOW_US, middle).state == "failed"
