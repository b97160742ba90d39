"""Snapshots: what a subscriber is shown before the live stream goes on, read together with the position of its cut.

Rows and position come from one snapshot of the store, so the stream goes on exactly there. Whoever asks for the same
within a second shares one reading, and only so many are held at once: a thousand clients that come back together cost
the store one query, and slow ones bounded memory.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from monitor.clock import Clock
from monitor.events.position import Position
from monitor.fanout.channels import ALL, MAX_ROWS, SnapshotWish, Subscription
from monitor.fanout.controls import Row
from monitor.fanout.frames import state
from monitor.fanout.wires import Wire
from monitor.projections.filter import MAX_VALUES, Condition, Filter, matches, to_json
from monitor.projections.status import IN_FLIGHT
from monitor.projections.view import Summary
from monitor.store.base import Reader, Store
from monitor.store.execution_port import ListQuery

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

    async def take(
        self,
        team: str,
        subscriptions: frozenset[Subscription],
        wish: SnapshotWish,
        wire: Wire,
        at_least: Position,
    ) -> Snapshot:
        """What these subscriptions show, once it shows everything in `at_least`; `give_back` must follow.

        Raises StoreUnavailable.
        """
        question = _Question(team, subscriptions, wish, wire)
        snapshot = await self._share(question)
        if snapshot.rows.position.includes(at_least):
            return snapshot
        # Read for somebody else, before this client got what it has: it would be set back.
        self.give_back(snapshot)
        return await self._share(question, too_old=snapshot)

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

    async def _share(self, question: _Question, too_old: Snapshot | None = None) -> Snapshot:
        if not self._is_fresh(question, too_old):
            await self._slots.acquire()
            if self._is_fresh(question, too_old):  # somebody else asked meanwhile
                self._slots.release()
            else:
                self._latest[question] = self._begin(question)
        snapshot = self._latest[question]
        snapshot.users += 1
        try:
            # Others may wait for the same reading: one who leaves must not end it.
            await asyncio.shield(snapshot.reading)
        except BaseException:
            self.give_back(snapshot)
            raise
        return snapshot

    def _is_fresh(self, question: _Question, too_old: Snapshot | None) -> bool:
        held = self._latest.get(question)
        if held is None or held is too_old:
            return False
        return self._clock.monotonic_s() - held.began_s <= _SHARED_S

    def _begin(self, question: _Question) -> Snapshot:
        """A reading, which is a user of its own: its place is taken as long as the store works, whoever leaves."""
        snapshot = Snapshot(asyncio.create_task(self._read(question)), self._clock.monotonic_s(), users=1)

        def finish(reading: "asyncio.Task[Rows]") -> None:
            if not reading.cancelled():
                reading.exception()  # maybe nobody is left to hear of it
            self.give_back(snapshot)

        snapshot.reading.add_done_callback(finish)
        return snapshot

    async def _read(self, question: _Question) -> Rows:
        return await self._store.read(lambda reader: _rows(reader, question, self._render))


def _rows(reader: Reader, question: _Question, render: Callable[[Summary], Mapping[str, Any]]) -> Rows:
    """Rows and position of one snapshot of the store. Encoded here, in the store's thread."""
    subscriptions = sorted(question.subscriptions, key=lambda each: sorted(each.channels))
    # Those that were named come first: they are shown however many others there are.
    found = {summary.id: summary for each in subscriptions for summary in _named(reader, question.team, each)}
    named, lists, is_cut = len(found), [], False
    for asked in filter(None, (_asked(each, question.wish) for each in subscriptions)):
        page, _ = reader.executions(ListQuery(question.team, asked, "-startedAt", question.wish.limit))
        found = found | {summary.id: summary for summary in page.rows if summary.id not in found}
        is_cut |= page.has_more and question.wish.kind == "active"
        lists.append(asked)
        if len(found) > MAX_ROWS:
            break
    frames = tuple(_within_limits(_frame(summary, render, question.wire) for summary in found.values()))
    if len(frames) == len(found) and not is_cut:
        return Rows(frames, reader.position(), None)
    is_of_one_list = len(lists) == 1 == len(subscriptions) and len(frames) >= named
    return Rows(frames, reader.position(), _href(lists[0] if is_of_one_list else Filter()))


def _named(reader: Reader, team: str, subscription: Subscription) -> Iterator[Summary]:
    """Executions that have a channel of their own are shown whatever their status."""
    for name in sorted(subscription.channels):
        prefix, _, execution_id = name.partition(":")
        found = reader.execution(team, execution_id) if prefix == "execution" else None
        if found is not None and matches(subscription.filter, found[0]):
            yield found[0]


def _asked(subscription: Subscription, wish: SnapshotWish) -> Filter | None:
    """The list that shows the other channels; None = it would be empty."""
    tests = list(subscription.filter.tests)
    if ALL not in subscription.channels:
        workflows = {name[9:] for name in subscription.channels if name.startswith("workflow:")}
        tests = _narrowed(tests, "workflowId", workflows)
    if wish.kind == "active":
        tests = _narrowed(tests, "status", IN_FLIGHT)
    return Filter(tuple(sorted(tests))) if all(test.values for test in tests) else None


def _narrowed(tests: Sequence[Condition], field: str, values: Collection[str]) -> list[Condition]:
    """`tests` where `field` is one of `values`: a query string has one test for a field and an operator."""
    said = [test for test in tests if (test.field, test.op) == (field, "eq")]
    kept = frozenset(values).intersection(*(test.values for test in said))
    return [*(test for test in tests if test not in said), Condition(field, "eq", tuple(sorted(kept)))]


def _frame(summary: Summary, render: Callable[[Summary], Mapping[str, Any]], wire: Wire) -> bytes:
    members: Row = {
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
    """The list of the same executions; of all, where a query string cannot tell which."""
    values = [list(map(str, test.values)) for test in asked.tests]
    if any(len(words) > MAX_VALUES or any("," in word for word in words) for words in values):
        asked = Filter()
    query = "&".join(
        f"{quote(f'filter[{field}]' if op == 'eq' else f'filter[{field}][{op}]')}={quote(_spelled(value), safe=',')}"
        for field, ops in to_json(asked).items()
        for op, value in (ops if isinstance(ops, dict) else {"eq": ops}).items()
    )
    return f"/v1/executions?{query}" if query else "/v1/executions"


def _spelled(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
