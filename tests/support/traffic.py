"""Made-up traffic: the bytes of many executions as a topic would hold them, interleaved and deterministic.

Switches for what goes wrong on the way (disorder, duplicates, gaps) and for how many executions run at once. Templates
prepared from `histories` are filled in, fast enough for benchmarks (several 100,000 entries a second).
Used by tests and by benchmarks.
"""

import heapq
import json
import random
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from itertools import count, islice
from typing import Final, NamedTuple

from monitor.clock import Clock
from monitor.events.codec import format_time
from monitor.events.model import Entry
from tests.support.made_up import PLAIN, STARTED_US, Mix, Step, execution_id_of, history

_BATCH_S: Final = 0.1
_MAX_CATCH_UP_S: Final = 1.0


def traffic(
    seed: int,
    executions: int | None = None,
    *,
    mix: Mix = PLAIN,
    active: int = 100,
    rate_per_s: float = 1000.0,
    window: int = 0,
    duplicates: float = 0.0,
    gaps: float = 0.0,
    start_us: int = STARTED_US,
) -> Iterator[Entry]:
    """Journal entries of `executions` (None: without end), in order of time, about `rate_per_s` a second of that time.

    active: executions that run at once; few make a tight interleave, many a wide one.
    window: entries may come up to about this many places early or late; 0 leaves them in order.
    duplicates: share of entries that come a second time, up to a thousand places later.
    gaps: share of entries that never come.
    """
    chance = random.Random(f"{seed}/way")
    entries = _Interleaving(seed, executions, mix, active, rate_per_s).entries(start_us)
    if gaps:
        entries = _losing(entries, gaps, chance)
    if duplicates:
        entries = _repeating(entries, duplicates, chance)
    if window:
        entries = _shuffling(entries, window, chance)
    return entries


async def paced(entries: Iterable[Entry], rate_per_s: float, clock: Clock) -> AsyncGenerator[list[Entry], None]:
    """`entries` in batches, ten a second, as many as fall due; who takes longer over one falls behind for good."""
    coming = iter(entries)
    due, before_s = 0.0, clock.monotonic_s()
    while True:
        await clock.sleep(_BATCH_S)
        now_s = clock.monotonic_s()
        due += min(now_s - before_s, _MAX_CATCH_UP_S) * rate_per_s
        before_s = now_s
        batch = list(islice(coming, int(due)))
        if batch:
            yield batch
        if len(batch) < int(due):
            return
        due -= len(batch)


# --- many histories at once ------------------------------------------------------------------------------------------

_SHAPES: Final = 128
"""Different histories that traffic is made of: enough for every rarity, few enough to stay in the processor's cache."""


class _Template(NamedTuple):
    """A step as bytes that lack the execution's id and the time."""

    at_ms: int
    # Takes execution id, timestamp and, if there is an ordinal, the execution id again.
    form: bytes
    has_id: bool


_Next = tuple[int, int, _Template, Iterator[_Template], bytes, int]
"""What an execution tells next: (due, number, template, templates to come, key, start), times in milliseconds.

The number decides between equal times.
"""


class _Interleaving:
    """Histories that overlap: whenever one has ended, the next begins."""

    def __init__(self, seed: int, executions: int | None, mix: Mix, active: int, rate_per_s: float) -> None:
        self._seed = seed
        self._numbers = iter(count() if executions is None else range(executions))
        self._chance = random.Random(f"{seed}/interleave")
        self._active = active
        # As long as `active` of them need to be to make `rate_per_s`.
        as_they_are = _drafts(seed, mix, 1.0)
        mean_events = sum(map(len, as_they_are)) / _SHAPES
        mean_ms = max(1.0, sum(steps[-1].at_ms for steps in as_they_are) / _SHAPES)
        self._mean_ms = active * mean_events / rate_per_s * 1000
        drafts = _drafts(seed, mix, self._mean_ms / mean_ms)
        self._shapes = [sorted(map(_template, steps), key=lambda template: template.at_ms) for steps in drafts]

    def entries(self, start_us: int) -> Iterator[Entry]:
        """All that is told, in order of time."""
        stamps = _Stamps(start_us)
        queue: list[_Next] = []
        for place in range(self._active):
            self._begin(queue, round(place * self._mean_ms / self._active))
        while queue:
            due_ms, number, template, coming, key, start_ms = queue[0]
            stamp = stamps.at(due_ms)
            yield Entry(key, template.form % ((key, stamp, key) if template.has_id else (key, stamp)))
            following = next(coming, None)
            if following is not None:
                heapq.heapreplace(queue, (start_ms + following.at_ms, number, following, coming, key, start_ms))
            else:
                heapq.heappop(queue)
                self._begin(queue, due_ms)

    def _begin(self, queue: list[_Next], start_ms: int) -> None:
        for number in islice(self._numbers, 1):
            coming = iter(self._chance.choice(self._shapes))
            key = execution_id_of(self._seed, number).encode()
            heapq.heappush(queue, (start_ms, number, next(coming), coming, key, start_ms))


def _drafts(seed: int, mix: Mix, pace: float) -> list[list[Step]]:
    chance = random.Random(f"{seed}/shapes")
    return [history(chance, mix, pace) for _ in range(_SHAPES)]


def _template(step: Step) -> _Template:
    rest = json.dumps(step.event, separators=(",", ":")).encode().replace(b"%", b"%%")
    event_id = b"" if step.ordinal is None else b'"id":"%%b:%d",' % step.ordinal
    return _Template(step.at_ms, b'{"executionId":"%b","timestamp":"%b",' + event_id + rest[1:], bool(event_id))


class _Stamps:
    """Timestamps in bytes; those of one second share their beginning."""

    def __init__(self, start_us: int) -> None:
        self._start_ms = start_us // 1000
        self._second = -1
        self._beginning = b""

    def at(self, at_ms: int) -> bytes:
        """RFC 3339 in UTC, `at_ms` milliseconds after the start."""
        second, ms = divmod(self._start_ms + at_ms, 1000)
        if second != self._second:
            self._second = second
            self._beginning = format_time(second * 1_000_000)[:20].encode()
        return b"%b%03dZ" % (self._beginning, ms)


# --- what goes wrong on the way --------------------------------------------------------------------------------------

_LATEST_REPEAT: Final = 1000


def _losing(entries: Iterator[Entry], share: float, chance: random.Random) -> Iterator[Entry]:
    return (entry for entry in entries if chance.random() >= share)


def _repeating(entries: Iterator[Entry], share: float, chance: random.Random) -> Iterator[Entry]:
    recent: deque[Entry] = deque(maxlen=_LATEST_REPEAT)
    for entry in entries:
        yield entry
        recent.append(entry)
        if chance.random() < share:
            yield chance.choice(recent)


def _shuffling(entries: Iterator[Entry], window: int, chance: random.Random) -> Iterator[Entry]:
    held = list(islice(entries, window))
    for entry in entries:
        place = int(chance.random() * window)
        yield held[place]
        held[place] = entry
    chance.shuffle(held)
    yield from held
