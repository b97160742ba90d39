"""Verdicts, whatever comes in whatever order, and however the service itself falters."""

import random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.codec import parse_time_us
from monitor.events.model import Event
from monitor.events.types import MONITOR_SOURCE, TYPES
from monitor.judge import Attention
from monitor.projections.fold import fold
from monitor.projections.verdicts import arm, event_of, judge
from tests.support.clocks import NOON_US
from tests.support.folded import HISTORIES, ID, Kept, decoded, is_report, some_order
from tests.support.folding import Run
from tests.support.histories import WireEvent

SECOND_US = 1_000_000


@given(HISTORIES, st.integers(0, 1 << 32))
@settings(max_examples=500, deadline=None)
def test_no_verdict_is_told_against_what_was_heard(wire: list[WireEvent], seed: int) -> None:
    """Neither against evidence newer than `asOf`, nor against an end, nor of an epoch that is over."""
    kept, heard, epoch = Kept(), list[Event](), 0
    for event in decoded(some_order(wire, random.Random(seed))):
        is_repeat = event.digest in kept.execution.seen
        releases = fold([event], {ID: kept.execution}).releases
        told = event.id in {release.event.id for release in releases}
        if is_repeat or kept.execution.registers.deleted:
            continue
        if not is_report(event):
            continue
        epoch = max(epoch, event.epoch)
        if event.source == MONITOR_SOURCE and event.type != "execution.cancelled":
            assert told is not _is_overtaken(event, heard, epoch)
        else:
            heard.append(event)


def _is_overtaken(verdict: Event, heard: list[Event], epoch: int) -> bool:
    if verdict.epoch < epoch:
        return True
    live = [event for event in heard if event.epoch == epoch]
    ended = any(TYPES[event.type].family == "execution" and TYPES[event.type].final for event in live)
    newest_us = max((event.time_us for event in live if event.source != MONITOR_SOURCE), default=0)
    is_late = verdict.type == "execution.late"
    return ended or (not is_late and parse_time_us(verdict.data["asOf"]) < newest_us)


class Step(NamedTuple):
    """So long after the last one the service looks; it has heard everything, or has not; the engine spoke before."""

    passed_us: int
    listens: bool
    speaks: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from((1.0, 1.0, 1.0, 1.1, 1.3, 2.0, 4.0, 30.0)).map(lambda it: round(it * SECOND_US)),
        st.sampled_from((True, True, True, True, False)),
        st.sampled_from((True, False, False, False)),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from((1, 2, 5)))
@settings(max_examples=500, deadline=None)
def test_nobody_is_judged_by_a_service_that_did_not_listen(steps: list[Step], heartbeat_s: int) -> None:
    """Every verdict rests on two, or three, heartbeats during which it looked without a pause of half of one."""
    run, attention, now_us = Run(), Attention(), NOON_US
    tell(run, "execution.started", now_us, {"heartbeat": heartbeat_s})
    heard_us, restarted_us, was_listening, heard_all_us = now_us, 0, False, 0
    for step in steps:
        now_us += step.passed_us
        if step.speaks and step.listens:
            tell(run, "execution.heartbeat", now_us)
            heard_us = now_us
        attention.note(now_us, now_us / SECOND_US, listens=step.listens)
        was_listening, listened = step.listens, was_listening
        if not step.listens:
            continue
        # A look that follows upon another is no pause by itself.
        pause_us = now_us - heard_all_us - (SECOND_US if listened else 0)
        heard_all_us = now_us
        if 2 * pause_us > heartbeat_s * SECOND_US:
            restarted_us = now_us
        verdicts, _ = judge(run.execution, now_us, attention.since_us)
        quiet_us = now_us - max(heard_us, restarted_us)
        for verdict in verdicts:
            beats = 3 if verdict.kind == "crashed" else 2
            assert quiet_us >= beats * heartbeat_s * SECOND_US
            say(run, event_of(run.execution, verdict))


@given(st.integers(1, 20), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_whoever_keeps_silent_is_found_out(heartbeat_s: int, lost: int) -> None:
    """A service that listens again presumes the crash three heartbeats and two looks later, at the latest."""
    run, attention = Run(), Attention()
    tell(run, "execution.started", NOON_US, {"heartbeat": heartbeat_s})
    now_us = NOON_US
    for look in range(lost + 3 * heartbeat_s + 4):
        now_us += SECOND_US
        attention.note(now_us, now_us / SECOND_US, listens=look >= lost)
        if look >= lost:
            for verdict in judge(run.execution, now_us, attention.since_us).verdicts:
                say(run, event_of(run.execution, verdict))
    assert (run.view.status, run.view.provisional) == ("crashed", True)


def tell(run: Run, type_: str, at_us: int, data: dict[str, int] | None = None) -> None:
    """The engine says so, and the service hears it at once."""
    arm(run.tell(type_, (at_us - NOON_US) / SECOND_US, data=data), at_us)


def say(run: Run, event: object) -> None:
    """The verdict is folded."""
    assert isinstance(event, dict)
    named = ("id", "source", "epoch", "data", "timestamp")
    run.tell(event["type"], **{name: event[name] for name in named})
