"""A journal, what the commits said about its records, and hubs that release them in orders of their own; and what a
hub writes to: a socket that a test can fill and drain by hand.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from monitor.access.sealing import KEY_BYTES, Sealer
from monitor.access.teams import team_rule
from monitor.clock import Clock
from monitor.events.codec import decode
from monitor.events.model import TEAM_HEADER, Entry, Event, Place, Poison
from monitor.events.position import Position, beginning
from monitor.fanout.attachment import Attachment
from monitor.fanout.channels import Selection, Subscription
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.fanout.outlet import Label, Outlet
from monitor.fanout.replay import Replay
from monitor.fanout.snapshots import Snapshots
from monitor.fanout.wires import WEBSOCKET, Wire
from monitor.journal import MemoryJournal
from monitor.projections.execution import Execution
from monitor.projections.fold import Release, fold
from monitor.store.base import Commit, Moved, Writer
from monitor.store.memory import MemoryStore
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.decoding import usual

SEALER = Sealer(b"k" * KEY_BYTES)
TIMESTAMP = "2026-11-22T10:30:00.000Z"


class World:
    """What happened, and how far each hub has told it."""

    def __init__(self, partitions: int = 1, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock(NOON_US)
        self.journal = MemoryJournal(partitions, clock=self.clock)
        self.store = MemoryStore()
        self._team_of = team_rule(exclusive=True, trust_body=False)
        self._released: dict[int, list[list[Release]]] = {partition: [] for partition in range(partitions)}
        self._count = 0

    async def bound(self) -> Self:
        """Itself, once its store belongs to the journal: before it listens, a service has seen to that."""
        await self.store.write(lambda writer: writer.bind(self.journal.incarnation, self.beginning.offsets))
        return self

    async def append(
        self,
        name: str = "node.completed",
        execution_id: str = "exec_1",
        *,
        team: str = "default",
        workflow_id: str = "wf_1",
        data: Mapping[str, Any] | None = None,
        **members: Any,
    ) -> str:
        """Append an event and fold it; returns its id."""
        self._count += 1
        event = {
            "type": name,
            "executionId": execution_id,
            "workflowId": workflow_id,
            "timestamp": TIMESTAMP,
            "id": f"e{self._count}",
            "data": data if data is not None else {"nodeId": "n1"},
            **members,
        }
        await self._commit(execution_id, json.dumps(event).encode(), team)
        return f"e{self._count}"

    async def append_poison(self, key: str = "exec_1") -> None:
        """Append bytes that hold no event: nothing is released for them."""
        await self._commit(key, b"{", "default")

    def hub(self, limits: Limits | None = None, start: Position | None = None) -> Hub:
        """A hub that has released nothing yet."""
        return Hub(
            start=start or self.beginning,
            replay=Replay(self.journal, self.store, usual(self._team_of)),
            snapshots=Snapshots(self.store, lambda summary: {"id": summary.id, "status": summary.status}, self.clock),
            sealer=SEALER,
            clock=self.clock,
            limits=limits,
            chance=random.Random(1),
        )

    @property
    def beginning(self) -> Position:
        """Before the first record."""
        return beginning(self.journal.incarnation, self.journal.partitions)

    @property
    def end(self) -> Position:
        """After the last record."""
        return Position(self.journal.incarnation, tuple(map(len, self._released.values())))

    def publish(self, hub: Hub, partition: int | None = None, records: int | None = None) -> None:
        """Let `hub` release the next records, of one partition or all, as one commit."""
        releases: list[Release] = []
        position = hub.position
        for number in self._released if partition is None else (partition,):
            start = hub.position.offsets[number]
            end = len(self._released[number])
            end = end if records is None else min(end, start + records)
            releases += [release for record in self._released[number][start:end] for release in record]
            position = position.advanced(number, end)
        hub.publish(releases, position)

    async def _commit(self, key: str, value: bytes, team: str) -> list[Release]:
        [place] = await self.journal.append([Entry(key.encode(), value, ((TEAM_HEADER, team.encode()),))])
        event = await self._event(place)
        releases = await self.store.write(lambda writer: self._project(writer, place, event))
        self._released[place.partition].append(releases)
        return releases

    async def _event(self, place: Place) -> Event | Poison:
        [record] = await self.journal.read(place.partition, place.offset, place.offset + 1, 1)
        return decode(record, self._team_of)

    def _project(self, writer: Writer, place: Place, event: Event | Poison) -> list[Release]:
        """What the pipeline does in its transaction, for one record."""
        writer.bind(self.journal.incarnation, self.beginning.offsets)
        ids = [(event.team, event.execution_id)] if isinstance(event, Event) else []
        executions = {id_: Execution(*id_) for id_ in ids} | writer.load(ids)
        changes = fold([event], executions)
        writer.commit(Commit(changes, {place.partition: Moved(place.offset, place.offset + 1, b"")}, []))
        return changes.releases


LABEL = Label("sid", "test", "default", "127.0.0.1:1")


def select(*channels: str, team: str = "default", **members: Any) -> Selection:
    """One subscription to these channels; to everything when none is named."""
    return Selection(team, frozenset({Subscription(frozenset(channels or {"executions"}), **members)}))


def subscribed(
    hub: Hub,
    selection: Selection,
    wire: Wire,
    start: Position | None = None,
    *,
    outlet: Outlet | None = None,
    **wishes: Any,
) -> Attachment:
    """A new client of `selection`, from `start` on; None = now. `wishes` are those of `Attachment.change`."""
    attachment = hub.attach(wire, LABEL._replace(team=selection.team), outlet)
    attachment.change(selection, start, **wishes)
    return attachment


async def told(hub: Hub, attachment: Attachment) -> list[dict[str, Any]]:
    """Every frame that there is to read now."""
    frames: list[dict[str, Any]] = []
    await hub._flush()
    while True:
        reading = asyncio.create_task(attachment.next())
        await settle()
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return frames
        chunk = reading.result()
        if chunk is None:
            return frames
        frames += map(json.loads, chunk.messages)


async def ids(hub: Hub, attachment: Attachment) -> list[str]:
    """The ids of the events that there are to read now."""
    return [frame["id"] for frame in await told(hub, attachment)]


class Basin:
    """An outlet under a test's hand: what is written runs through, or fills it while it is shut."""

    def __init__(self, full_above_bytes: int = 1000) -> None:
        self.is_full, self.is_clear = False, True
        # What it tells when it holds something, and when it is clear again.
        self.reader: Attachment | None = None
        self.full_above_bytes = full_above_bytes
        self._is_shut = False
        # How much runs through though it is shut.
        self.gap_bytes = 0
        self._held, self._through = bytearray(), bytearray()

    @property
    def buffered_bytes(self) -> int:
        """What waits for it to be opened."""
        return len(self._held)

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self._held += data
        self._let(0 if self._is_shut else len(self._held))

    def send(self, data: bytes) -> int:
        """Take what runs through at once. Raises BlockingIOError while it is shut."""
        assert self.is_clear, "what is held would be overtaken"
        if self._is_shut and self.gap_bytes == 0:
            raise BlockingIOError
        through = data[: self.gap_bytes] if self._is_shut else data
        self.gap_bytes -= len(through) if self._is_shut else 0
        self._through += through
        return len(through)

    def shut(self, gap_bytes: int = 0) -> None:
        """Hold back whatever is written from now on, behind the first `gap_bytes` that are sent."""
        self._is_shut, self.gap_bytes = True, gap_bytes

    def open(self) -> None:
        """Let everything through, now and later."""
        self._is_shut = False
        self._let(len(self._held))

    def leak(self, size_bytes: int) -> None:
        """Let some of it through."""
        self._let(size_bytes)

    def frames(self) -> list[dict[str, Any]]:
        """What came through since the last call, as far as its messages are whole (RFC 6455, 5.2)."""
        frames = []
        while (ends := _text_frame(self._through)) is not None:
            frames.append(json.loads(self._through[ends.header : ends.frame]))
            del self._through[: ends.frame]
        return frames

    def _let(self, size_bytes: int) -> None:
        self._through += self._held[:size_bytes]
        del self._held[:size_bytes]
        self.is_full, was_clear = len(self._held) > self.full_above_bytes, self.is_clear
        self.is_clear = not self._held
        if self.is_clear != was_clear and self.reader is not None:
            self.reader.wake()


class _Ends(NamedTuple):
    header: int
    frame: int


def _text_frame(data: bytes | bytearray) -> _Ends | None:
    """Where the first text frame's header and the frame itself end; None = it is not whole."""
    extended = {126: 2, 127: 8}.get(data[1], 0) if len(data) > 1 else 0
    header = 2 + extended
    if len(data) < header:
        return None
    size_bytes = int.from_bytes(data[2:header]) if extended else data[1]
    return _Ends(header, header + size_bytes) if len(data) >= header + size_bytes else None


async def cancelled(task: "asyncio.Task[None]") -> None:
    """End a task, whatever it does; an error that ended it before is raised."""
    task.cancel()
    [ending] = await asyncio.gather(task, return_exceptions=True)
    if isinstance(ending, Exception):
        raise ending


class Piped:
    """A client with an outlet, written to as the transports do it. `leave` must follow."""

    def __init__(self, hub: Hub, selection: Selection, start: Position | None = None, **wishes: Any) -> None:
        self.hub, self.outlet = hub, Basin()
        self.attachment = subscribed(hub, selection, WEBSOCKET, start, outlet=self.outlet, **wishes)
        self.outlet.reader = self.attachment
        # How often its task was given something to write.
        self.served = 0
        self._serving = asyncio.create_task(self._serve())

    @property
    def is_served(self) -> bool:
        """Whether somebody still writes to it."""
        return not self._serving.done()

    def frames(self) -> list[dict[str, Any]]:
        """What came through since the last call."""
        return self.outlet.frames()

    async def leave(self) -> None:
        """Break off."""
        self.outlet.reader = None
        await cancelled(self._serving)
        self.attachment.leave()

    async def _serve(self) -> None:
        while (chunk := await self.attachment.next()) is not None:
            self.served += 1
            self.outlet.write(chunk.framed)
