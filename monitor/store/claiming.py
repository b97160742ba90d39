"""What a claim decides, whatever database it asks: how much of each lane, in which turns, and when to look again. Pure.

The drivers read lanes and queues, and carry out what is said here.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import Lane, begun, room


class Found(NamedTuple):
    """A lane as a claim finds it."""

    endpoint: Endpoint
    lane: Lane
    # Its sends under way, whoever makes them.
    in_flight: int

    def free(self, now_us: int, share: int) -> int:
        """How many sends may begin."""
        return room(self.lane, self.endpoint, self.in_flight, now_us, share).free


class Visit(NamedTuple):
    """A lane, and what a claim may send of it."""

    found: Found
    # Deliveries that may be sent, first things first.
    due: Sequence[int]
    # When each of its next deliveries is due, more than may be sent now where there are more: live, then replayed ones.
    next_us: Sequence[tuple[int, int]]

    @property
    def is_probe(self) -> bool:
        """Whether what is sent of it probes an open breaker."""
        return self.found.lane.breaker != "closed"


def visit(found: Found, queued: Sequence[tuple[int, int]], now_us: int, share: int) -> Visit:
    """Choose among `queued`, the keys and due times of a lane's next deliveries: one more than it has room for."""
    return Visit(found, [key for key, due_us in queued if due_us <= now_us][: found.free(now_us, share)], queued)


def left(it: Visit, taken: int, now_us: int, share: int) -> tuple[Lane, int | None]:
    """The lane once the first `taken` of what may be sent are, and when to look into it again.

    What is left is due now, or later, or waits for a send to end, which None says.
    """
    lane = begun(it.found.lane, it.found.endpoint, taken, now_us)
    free, look_us, _ = room(lane, it.found.endpoint, it.found.in_flight + taken, now_us, share)
    if free:
        sent = set(it.due[:taken])
        left_us = [due_us for key, due_us in it.next_us if key not in sent]
        look_us = max(now_us, min(left_us)) if left_us else None
    return lane, look_us


def in_turns(queues: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
    """The first of every queue, then the second, until `limit` are taken."""
    taken: list[list[int]] = [[] for _ in queues]
    for turn in zip_longest(*queues):
        for place, key in enumerate(turn):
            if key is not None and limit > 0:
                taken[place].append(key)
                limit -= 1
    return taken
