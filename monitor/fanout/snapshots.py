"""Snapshots: what a subscriber is shown before the live stream goes on, read together with the position of its cut.

Rows and position come from one snapshot of the store, so the stream goes on exactly there. Whoever asks for the same
within a second shares one reading, and only so many are held at once: a thousand clients that come back together cost
the store one query, and slow ones bounded memory.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from monitor.clock import Clock
from monitor.events.position import Position
from monitor.fanout.channels import ALL, MAX_ROWS, SnapshotWish, Subscription
from monitor.fanout.frames import state
from monitor.fanout.wires import Wire
from monitor.projections.filter import Condition, Filter, matches, to_json
from monitor.projections.status import IN_FLIGHT
from monitor.projections.view import Summary
from monitor.store.base import ListQuery, Reader, Store

MAX_BYTES: Final = 4 << 20
"""Of one snapshot; a list says the rest."""

HELD: Final = 16
"""Snapshots in memory at a time: 64 MiB where each is as large as can be."""

_SHARED_S: Final = 1.0
"""For so long a reading is good for others too; the backlog has what happened since."""


class Rows(NamedTuple):
    """What one reading brought."""

    # One for each execution, encoded.
    frames: tuple[bytes, ...]
    position: Position
    # Returns what was left out; None = nothing was.
    href: str | None


@dataclass(eq=False, slots=True)
class Snapshot:
    """A reading that somebody sends. Give it back when that is done."""

    reading: "asyncio.Task[Rows]"
    began_s: float
    users: int = 0

    @property
    def rows(self) -> Rows:
        """What it brought."""
        return self.reading.result()


class _Question(NamedTuple):
    team: str
    subscriptions: frozenset[Subscription]
    wish: SnapshotWish
    wire: Wire


class Snapshots:
    """Reads snapshots and shares them."""

    def __init__(self, store: Store, render: Callable[[Summary], Mapping[str, Any]], clock: Clock) -> None:
        """`render` makes of an execution what REST shows."""
        self._store, self._render, self._clock = store, render, clock
        self._latest: dict[_Question, Snapshot] = {}
        self._slots = asyncio.Semaphore(HELD)

    async def take(self, team: str, subscriptions: frozenset[Subscription], wish: SnapshotWish, wire: Wire) -> Snapshot:
        """What these subscriptions show; `give_back` must follow. Raises StoreUnavailable."""
        question = _Question(team, subscriptions, wish, wire)
        if not self._is_fresh(question):
            await self._slots.acquire()
            if self._is_fresh(question):  # somebody else asked meanwhile
                self._slots.release()
            else:
                reading = asyncio.create_task(self._read(question))
                self._latest[question] = Snapshot(reading, self._clock.monotonic_s())
        snapshot = self._latest[question]
        snapshot.users += 1
        try:
            # Others may wait for the same reading: one who leaves must not end it.
            await asyncio.shield(snapshot.reading)
        except BaseException:
            self.give_back(snapshot)
            raise
        return snapshot

    def give_back(self, snapshot: Snapshot) -> None:
        """It is sent, or not needed any more."""
        snapshot.users -= 1
        if snapshot.users:
            return
        self._slots.release()
        for question, latest in self._latest.items():
            if latest is snapshot:
                del self._latest[question]
                return

    async def status(self, team: str, execution_id: str) -> tuple[str, float] | None:
        """What the store knows of one execution: its status, and for how many seconds nothing changed; None = nothing.

        Raises StoreUnavailable.
        """
        found = await self._store.read(lambda reader: reader.execution(team, execution_id))
        if found is None:
            return None
        return found[0].status, max(0, self._clock.now_us() - found[0].updated_us) / 1_000_000

    def _is_fresh(self, question: _Question) -> bool:
        held = self._latest.get(question)
        return held is not None and self._clock.monotonic_s() - held.began_s <= _SHARED_S

    async def _read(self, question: _Question) -> Rows:
        return await self._store.read(lambda reader: _rows(reader, question, self._render))


def _rows(reader: Reader, question: _Question, render: Callable[[Summary], Mapping[str, Any]]) -> Rows:
    """Rows and position of one snapshot of the store. Encoded here, in the store's thread."""
    found: dict[str, Summary] = {}
    href = None
    for subscription in sorted(question.subscriptions, key=lambda each: sorted(each.channels)):
        for summary in _named(reader, question.team, subscription):
            found.setdefault(summary.id, summary)
        asked = _asked(subscription, question.wish)
        if asked is not None:
            query = ListQuery(question.team, asked, "-startedAt", question.wish.limit)
            page, _ = reader.executions(query)
            found = {**{summary.id: summary for summary in page.rows}, **found}
            href = href or (_href(asked) if page.has_more and question.wish.kind == "active" else None)
    frames = tuple(_within_limits(_frame(summary, render, question.wire) for summary in found.values()))
    if len(frames) < len(found):
        href = href or _href(Filter())
    return Rows(frames, reader.position(), href)


def _named(reader: Reader, team: str, subscription: Subscription) -> Iterator[Summary]:
    """Executions that have a channel of their own are shown whatever their status."""
    for name in sorted(subscription.channels):
        prefix, _, execution_id = name.partition(":")
        found = reader.execution(team, execution_id) if prefix == "execution" else None
        if found is not None and matches(subscription.filter, found[0]):
            yield found[0]


def _asked(subscription: Subscription, wish: SnapshotWish) -> Filter | None:
    """The list that shows the other channels; None = there are none."""
    tests = list(subscription.filter.tests)
    if ALL not in subscription.channels:
        workflows = sorted(name[9:] for name in subscription.channels if name.startswith("workflow:"))
        if not workflows:
            return None
        tests.append(Condition("workflowId", "eq", tuple(workflows)))
    if wish.kind == "active":
        tests.append(Condition("status", "eq", tuple(sorted(IN_FLIGHT))))
    return Filter(tuple(sorted(tests)))


def _frame(summary: Summary, render: Callable[[Summary], Mapping[str, Any]], wire: Wire) -> bytes:
    members = {
        "executionId": summary.id,
        "workflowId": summary.workflow_id,
        "version": summary.version,
        "state": state(summary.status, summary.progress),
        "execution": render(summary),
    }
    return wire.control("stream.snapshot", members)


def _within_limits(frames: Iterator[bytes]) -> Iterator[bytes]:
    size_bytes = 0
    for count, frame in enumerate(frames):
        size_bytes += len(frame)
        if count and (count >= MAX_ROWS or size_bytes > MAX_BYTES):
            return
        yield frame


def _href(asked: Filter) -> str:
    """The list of the same executions."""
    query = "&".join(
        f"{quote(f'filter[{field}]' if op == 'eq' else f'filter[{field}][{op}]')}={quote(_spelled(value), safe=',')}"
        for field, ops in to_json(asked).items()
        for op, value in (ops if isinstance(ops, dict) else {"eq": ops}).items()
    )
    return f"/v1/executions?{query}" if query else "/v1/executions"


def _spelled(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
