"""A lane is served as its receiver can bear it: it breaks, is probed, starts slowly, and is given up after days."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.webhooks.delivery import Verdict
from monitor.webhooks.endpoint import Endpoint, Rate
from monitor.webhooks.lane import (
    BREAK_AFTER,
    DISABLE_AFTER_US,
    DISABLE_FAILURES,
    SUCCESS_GRAIN_US,
    WINDOW,
    WINDOW_US,
    Lane,
    Turn,
    after,
    begun,
    enabled,
    room,
    set_back,
)
from tests.support.webhooks import NOW_US, make_endpoint

S_US = 1_000_000
HOUR_US = 3600 * S_US
DAY_US = 24 * HOUR_US
ENDPOINT = make_endpoint()


def turns(lane: Lane, said: Sequence[tuple[Verdict, int]], endpoint: Endpoint = ENDPOINT) -> list[Turn]:
    """What each attempt in a row, by verdict and end, made of the lane."""
    made = list[Turn]()
    for verdict, ended_us in said:
        made.append(after(made[-1].lane if made else lane, endpoint, verdict, 0, ended_us))
    return made


def lane_after(lane: Lane, verdict: Verdict, count: int = 1, at_us: int = NOW_US) -> Lane:
    """The lane after so many attempts that ended alike, at the same time."""
    return turns(lane, [(verdict, at_us)] * count)[-1].lane


def free(lane: Lane, at_us: int, in_flight: int = 0, **members: Any) -> int:
    """How many sends may begin."""
    return room(lane, make_endpoint(**members), in_flight, at_us).free


def test_lane_holds_its_share_of_all_room_and_no_more() -> None:
    """However much it may have of its own; it is looked at again soon, since others' ends tell it nothing."""
    at_most = [room(Lane(), ENDPOINT, in_flight, NOW_US, share=3).free for in_flight in range(5)]
    assert at_most == [3, 2, 1, 0, 0]
    held = room(Lane(), ENDPOINT, 3, NOW_US, share=3)
    assert held.look_us is not None
    assert NOW_US < held.look_us <= NOW_US + S_US
    assert room(Lane(), ENDPOINT, ENDPOINT.max_in_flight, NOW_US, share=3).look_us is None


def broken() -> Lane:
    """A lane whose breaker opened at NOW_US."""
    return lane_after(Lane(), "failed", BREAK_AFTER)


def probed(lane: Lane, verdict: Verdict, until_us: int = 0) -> Lane:
    """The lane after a probe at its earliest time, which is asked for and ends at once."""
    at_us = lane.blocked_until_us
    asked = room(lane, ENDPOINT, 0, at_us)
    assert (asked.free, asked.is_probe) == (1, True)
    return after(begun(lane, ENDPOINT, 1, at_us), ENDPOINT, verdict, until_us, at_us).lane


# --- the breaker -----------------------------------------------------------------------------------------------------


def test_new_lane_is_trusted_up_to_its_cap() -> None:
    """What is in flight counts, however it got there: more than the cap leaves no room, and less than none."""
    assert [free(Lane(), NOW_US, in_flight, max_in_flight=3) for in_flight in (0, 2, 3, 9)] == [3, 1, 0, 0]
    assert room(Lane(), ENDPOINT, 8, NOW_US) == (0, None, False)


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_resting_endpoint_has_no_room(status: str) -> None:
    """It is looked at again when somebody resumes it."""
    assert room(Lane(), make_endpoint(status=status), 0, NOW_US) == (0, None, False)


def test_breaker_opens_at_five_failures_in_a_row() -> None:
    """Not at four, and a success between them starts the row anew."""
    assert lane_after(Lane(), "failed", 4).breaker == "closed"
    mixed = lane_after(lane_after(lane_after(Lane(), "failed", 4), "ok"), "failed", 4)
    assert mixed.breaker == "closed"
    opened = lane_after(mixed, "failed")
    assert (opened.breaker, opened.blocked_until_us) == ("open", NOW_US + 30 * S_US)


@pytest.mark.parametrize(("span_us", "breaker"), [(WINDOW_US, "open"), (WINDOW_US + WINDOW, "closed")])
def test_case_16_breaker_opens_when_half_of_a_minute_fails(span_us: int, breaker: str) -> None:
    """Every other attempt of the last twenty, if these took no longer than a minute."""
    said: list[tuple[Verdict, int]] = [
        ("ok" if n % 2 else "failed", NOW_US + n * span_us // (WINDOW - 1)) for n in range(WINDOW + 1)
    ]
    made = turns(Lane(), said)
    assert [turn.lane.breaker for turn in made[:-1]] == ["closed"] * WINDOW
    assert made[-1].lane.breaker == breaker


def test_less_than_half_of_the_attempts_may_fail() -> None:
    """Two of three that arrive keep a lane going for ever."""
    said: list[tuple[Verdict, int]] = [("ok" if n % 3 else "failed", NOW_US + n) for n in range(300)]
    assert {turn.lane.breaker for turn in turns(Lane(), said)} == {"closed"}


def test_open_breaker_asks_for_one_probe_after_its_pause() -> None:
    """Nothing before; then one, and the next one only when that has ended."""
    lane = broken()
    until_us = NOW_US + 30 * S_US
    assert room(lane, ENDPOINT, 0, until_us - 1) == (0, until_us, False)
    assert room(lane, ENDPOINT, 0, until_us) == (1, None, True)
    probing = begun(lane, ENDPOINT, 1, until_us)
    assert probing.breaker == "half_open"
    assert room(probing, ENDPOINT, 1, until_us) == (0, None, True)
    # Interrupted, it is repeated.
    assert room(probing, ENDPOINT, 0, until_us) == (1, None, True)


def test_probe_waits_for_what_was_in_flight() -> None:
    """What the receiver still works on is a probe itself."""
    assert [free(broken(), NOW_US + HOUR_US, in_flight) for in_flight in (8, 1, 0)] == [0, 0, 1]


def test_pause_doubles_up_to_ten_minutes() -> None:
    """With every probe that fails."""
    lane, pauses_s = broken(), list[int]()
    for _ in range(8):
        asked_us = lane.blocked_until_us
        lane = probed(lane, "failed")
        pauses_s.append((lane.blocked_until_us - asked_us) // S_US)
    assert pauses_s == [60, 120, 240, 480, 600, 600, 600, 600]


def test_pause_is_bounded_however_many_probes_fail() -> None:
    """A thousand of them make no number that cannot be stored."""
    lane = replace(broken(), probes=10_000)
    assert probed(lane, "failed").blocked_until_us - lane.blocked_until_us == 600 * S_US


def test_failures_that_were_in_flight_say_nothing_new() -> None:
    """The breaker opened over them: they lengthen no pause, and count as failures of the endpoint all the same."""
    lane = broken()
    late = lane_after(lane, "failed", 7, NOW_US + S_US)
    assert (late.blocked_until_us, late.probes, late.failures) == (lane.blocked_until_us, 0, 12)


def test_success_closes_and_the_lane_starts_slowly() -> None:
    """One in flight, then two, four, and at last as many as it may have."""
    lane, rooms = probed(broken(), "ok"), list[int]()
    at_us = NOW_US + HOUR_US
    for _ in range(5):
        assert lane.breaker == "closed"
        rooms.append(free(lane, at_us))
        lane = lane_after(lane, "ok", at_us=at_us)
    assert rooms == [1, 2, 4, 8, 8]


def test_slow_start_ends_at_a_small_cap() -> None:
    """Nothing is counted that limits nothing."""
    lane = after(replace(broken(), breaker="half_open"), make_endpoint(max_in_flight=1), "ok", 0, NOW_US).lane
    assert (lane.ramp, free(lane, NOW_US + HOUR_US, max_in_flight=1)) == (0, 1)


def test_lane_that_breaks_again_begins_with_a_short_pause() -> None:
    """What failed before it was closed is forgotten."""
    lane = probed(probed(broken(), "failed"), "ok")
    again_us = lane.blocked_until_us + HOUR_US
    opened = lane_after(lane, "failed", BREAK_AFTER, again_us)
    assert (opened.breaker, opened.blocked_until_us) == ("open", again_us + 30 * S_US)


def test_success_that_was_in_flight_closes_but_ends_no_pause() -> None:
    """Somebody lives there after all; the lane starts slowly when the pause is over."""
    lane = lane_after(broken(), "ok")
    assert lane.breaker == "closed"
    assert [free(lane, at_us) for at_us in (NOW_US, NOW_US + 30 * S_US)] == [0, 1]


def test_resumed_lane_starts_slowly_and_forgets() -> None:
    """Its owner says that it is well: no pause is left, and no failure is held against it."""
    lane = enabled(replace(broken(), warned=90))
    assert (lane.breaker, lane.failures, lane.failing_since_us, lane.warned) == ("closed", 0, None, 0)
    assert free(lane, NOW_US) == 1


# --- what a receiver asks for ----------------------------------------------------------------------------------------


def test_case_25_throttling_is_no_failure() -> None:
    """A hundred times 429 opens no breaker and disables nobody; the lane waits as long as it was asked to."""
    lane = Lane()
    for n in range(100):
        turn = after(lane, ENDPOINT, "throttled", NOW_US + n + HOUR_US, NOW_US + n)
        lane = turn.lane
        assert (turn.disables, turn.notices) == (False, ())
    assert (lane.breaker, lane.failures) == ("closed", 0)
    assert room(lane, ENDPOINT, 0, NOW_US + HOUR_US) == (0, NOW_US + HOUR_US + 99, False)
    assert free(lane, NOW_US + HOUR_US + 99) == 8


def test_request_to_wait_only_lengthens() -> None:
    """A failure with a shorter `Retry-After`, or none, and a success that was in flight take nothing of it back."""
    lane = after(Lane(), ENDPOINT, "throttled", NOW_US + HOUR_US, NOW_US).lane
    for verdict, until_us in (("throttled", NOW_US + S_US), ("failed", 0), ("failed", NOW_US + S_US), ("ok", 0)):
        lane = after(lane, ENDPOINT, verdict, until_us, NOW_US).lane  # type: ignore[arg-type]
        assert lane.blocked_until_us == NOW_US + HOUR_US
    assert after(lane, ENDPOINT, "failed", NOW_US + DAY_US, NOW_US).lane.blocked_until_us == NOW_US + DAY_US


def test_throttled_probe_is_repeated_when_asked() -> None:
    """The breaker stays open, and its next pause is no longer than it would have been."""
    lane = broken()
    throttled = probed(lane, "throttled", lane.blocked_until_us + 5 * S_US)
    assert (throttled.breaker, throttled.probes) == ("open", 0)
    assert throttled.blocked_until_us == lane.blocked_until_us + 5 * S_US


def test_test_says_nothing() -> None:
    """Somebody who tries an endpoint neither opens nor closes anything."""
    for lane in (Lane(), broken(), replace(broken(), breaker="half_open")):
        assert after(lane, ENDPOINT, "neutral", 0, NOW_US) == Turn(lane, (), disables=False)


# --- the bucket ------------------------------------------------------------------------------------------------------


def served(endpoint: Endpoint, lane: Lane, from_us: int, to_us: int) -> tuple[list[int], Lane]:
    """When sends begin that end at once, in a lane that always has something due and is looked at when it says."""
    sends, at_us = list[int](), from_us
    while at_us < to_us:
        count, look_us, _ = room(lane, endpoint, 0, at_us)
        lane = begun(lane, endpoint, count, at_us)
        sends += [at_us] * count
        at_us = look_us or at_us + (0 if count else to_us)
    return sends, lane


@pytest.mark.parametrize(("per_s", "burst"), [(10.0, 10), (10.0, 1), (0.3, 3), (1 / 3600, 1), (333.0, 40)])
def test_case_17_rate_is_kept_to_the_send_for_hours(per_s: float, burst: int) -> None:
    """The burst at once, then one send for every token, none lost to rounding."""
    hours = 0.1 if per_s > 100 else 3
    sends, _ = served(make_endpoint(rate=Rate(per_s, burst)), Lane(), NOW_US, NOW_US + round(hours * HOUR_US))
    assert sends[:burst] == [NOW_US] * burst
    due = burst + hours * 3600 * per_s
    assert due - 1.01 <= len(sends) <= due + 0.01


@given(
    rate=st.builds(Rate, st.floats(0.01, 1000), st.integers(1, 50)),
    gaps_us=st.lists(st.integers(0, 100 * S_US), min_size=1, max_size=40),
    wanted=st.integers(1, 60),
)
def test_bucket_never_gives_more_than_it_holds(rate: Rate, gaps_us: list[int], wanted: int) -> None:
    """Between any two moments: its burst, and what has filled it meanwhile."""
    endpoint, lane, at_us = make_endpoint(rate=rate, max_in_flight=32), Lane(), NOW_US
    sends = list[tuple[int, int]]()
    for gap_us in gaps_us:
        at_us += gap_us
        count = min(wanted, room(lane, endpoint, 0, at_us).free)
        lane = begun(lane, endpoint, count, at_us)
        sends.append((at_us, count))
    for first, (from_us, _) in enumerate(sends):
        for last in range(first, len(sends)):
            given_out = sum(count for _, count in sends[first : last + 1])
            assert given_out <= rate.burst + rate.per_s * (sends[last][0] - from_us) / S_US + 1e-6


def test_bucket_waits_for_a_token_only_when_it_lacks_one() -> None:
    """A lane that is full in flight is looked at when a send ends, not when a token comes."""
    limited = make_endpoint(rate=Rate(2.0, 4), max_in_flight=2)
    lane = begun(Lane(), limited, 2, NOW_US)
    assert room(lane, limited, 2, NOW_US) == (0, None, False)
    assert room(lane, limited, 0, NOW_US) == (2, None, False)
    empty = begun(lane, limited, 2, NOW_US)
    assert room(empty, limited, 0, NOW_US) == (0, NOW_US + S_US // 2, False)
    assert room(empty, limited, 0, NOW_US + S_US // 2).free == 1


@pytest.mark.parametrize("step_us", [HOUR_US, -HOUR_US])
def test_case_10_clock_that_jumps_makes_no_storm_and_no_freeze(step_us: int) -> None:
    """After a jump of an hour the bucket gives its burst at most, and goes on at its rate."""
    limited = make_endpoint(rate=Rate(1.0, 2))
    _, lane = served(limited, Lane(), NOW_US, NOW_US + 60 * S_US)
    there_us = NOW_US + 60 * S_US + step_us
    sends, _ = served(limited, lane, there_us, there_us + 60 * S_US)
    assert 59 <= len(sends) <= 62
    assert sends[-1] >= there_us + 58 * S_US


def test_case_10_lane_that_is_set_back_waits_no_longer() -> None:
    """Whatever a lane waits for comes an hour earlier by a clock that was set back by one, and not more."""
    lanes = [
        broken(),
        replace(broken(), failures=DISABLE_FAILURES, tokens=0.5, tokens_us=NOW_US),
        lane_after(Lane(), "ok"),
    ]
    for lane in lanes:
        moved = set_back(lane, HOUR_US)
        for gap_us in (0, 30 * S_US - 1, 30 * S_US, DAY_US):
            here, there = room(lane, ENDPOINT, 0, NOW_US + gap_us), room(moved, ENDPOINT, 0, NOW_US + gap_us - HOUR_US)
            assert there == here._replace(look_us=None if here.look_us is None else here.look_us - HOUR_US)
        late_us = NOW_US + DISABLE_AFTER_US
        for verdict in ("ok", "failed"):
            turn = after(lane, ENDPOINT, verdict, 0, late_us)
            again = after(moved, ENDPOINT, verdict, 0, late_us - HOUR_US)
            assert (set_back(turn.lane, HOUR_US), turn.disables) == (again.lane, again.disables)


def test_empty_times_stay_empty() -> None:
    """A lane that never failed and never succeeded has nothing to set back."""
    assert set_back(Lane(), HOUR_US) == Lane(tokens_us=-HOUR_US)


# --- giving up -------------------------------------------------------------------------------------------------------


def failing(failures: int, since_us: int = NOW_US, **members: Any) -> Lane:
    """A lane that has had so many failures since then, and nothing else."""
    return Lane(failures=failures, failing_since_us=since_us, **members)


@pytest.mark.parametrize(
    ("failures", "for_us", "disables"),
    [
        (DISABLE_FAILURES - 1, DISABLE_AFTER_US, True),
        (DISABLE_FAILURES - 2, DISABLE_AFTER_US, False),
        (DISABLE_FAILURES - 1, DISABLE_AFTER_US - 1, False),
        (1000, DISABLE_AFTER_US - 1, False),
        (0, 100 * DISABLE_AFTER_US, False),
    ],
)
def test_endpoint_is_disabled_after_five_days_and_twenty_failures(failures: int, for_us: int, disables: bool) -> None:
    """Both: neither a busy hour nor a rare event alone is reason enough."""
    assert after(failing(failures), ENDPOINT, "failed", 0, NOW_US + for_us).disables is disables


def test_case_16_one_success_starts_the_days_anew() -> None:
    """An endpoint that answers now and then is never disabled."""
    lane = Lane()
    for n in range(400):
        turn = after(lane, ENDPOINT, "ok" if n % 100 == 99 else "failed", 0, NOW_US + n * HOUR_US)
        lane = turn.lane
        assert not turn.disables


def test_owner_is_warned_once_at_each_mark() -> None:
    """At half of the time, at seven tenths and at nine; what disables is told by itself."""
    said: list[tuple[Verdict, int]] = [("failed", NOW_US + n * HOUR_US) for n in range(121)]
    made = turns(Lane(), said)
    warned = [(n, notice.type, notice.members) for n, turn in enumerate(made) for notice in turn.notices]
    days = {"failingSince": "2026-11-22T10:30:00.000Z", "disabledFrom": "2026-11-27T10:30:00.000Z"}
    assert warned == [
        (60, "endpoint.failing", {"percent": 50, "failures": 61, **days}),
        (84, "endpoint.failing", {"percent": 70, "failures": 85, **days}),
        (108, "endpoint.failing", {"percent": 90, "failures": 109, **days}),
    ]
    assert [n for n, turn in enumerate(made) if turn.disables] == [120]


def test_marks_that_passed_together_are_one_warning() -> None:
    """A lane that was silent for four days is told of the last of them."""
    (notice,) = after(failing(30), ENDPOINT, "failed", 0, NOW_US + 4 * DAY_US).notices
    assert (notice.type, notice.members["percent"]) == ("endpoint.failing", 70)


def test_recovery_is_told_to_whoever_was_warned() -> None:
    """Once, with what it was; nobody hears of an end of what they did not hear of."""
    (notice,) = after(failing(30, warned=50), ENDPOINT, "ok", 0, NOW_US + 3 * DAY_US).notices
    assert notice == ("endpoint.recovered", {"failures": 30, "failingSince": "2026-11-22T10:30:00.000Z"})
    assert after(failing(30), ENDPOINT, "ok", 0, NOW_US + DAY_US).notices == ()
    recovered = after(failing(30, warned=50), ENDPOINT, "ok", 0, NOW_US + 3 * DAY_US).lane
    assert after(recovered, ENDPOINT, "ok", 0, NOW_US + 3 * DAY_US).notices == ()


# --- what is not worth a word ----------------------------------------------------------------------------------------


def test_lane_in_good_order_changes_once_a_second() -> None:
    """A success that says what is known leaves the lane as it is, so that nobody writes it down."""
    lane = lane_after(Lane(), "ok")
    assert lane == Lane(last_success_us=NOW_US)
    assert after(lane, ENDPOINT, "ok", 0, NOW_US + SUCCESS_GRAIN_US - 1).lane is lane
    assert after(lane, ENDPOINT, "ok", 0, NOW_US - HOUR_US).lane.last_success_us == NOW_US - HOUR_US
    later = after(lane, ENDPOINT, "ok", 0, NOW_US + SUCCESS_GRAIN_US).lane
    assert later == Lane(last_success_us=NOW_US + SUCCESS_GRAIN_US)


def test_last_attempts_are_kept_while_one_of_them_failed() -> None:
    """Twenty at most; those behind a failure that is long past are of no use."""
    lane = lane_after(lane_after(Lane(), "failed"), "ok", WINDOW - 1)
    assert len(lane.recent) == WINDOW
    assert lane_after(lane, "ok").recent == ()
