"""A world that remembers what happened, so that whatever subscribers are told can be held against it.

And a client that reads a chunk whenever it is let: the counterpart of one that is written to.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from monitor.events.codec import format_time
from monitor.events.position import Position
from monitor.fanout.channels import Selection
from monitor.fanout.hub import Hub
from monitor.fanout.wires import WEBSOCKET
from monitor.projections.fold import Release
from tests.support.clocks import NOON_US
from tests.support.released import World, cancelled, subscribed


class Row(NamedTuple):
    """An execution as somebody sees it."""

    version: int
    status: str
    workflow_id: str


class Chronicle(World):
    """A world that remembers: every release by its id, and how all executions stood after every record."""

    def __init__(self, *arguments: Any, **members: Any) -> None:
        super().__init__(*arguments, **members)
        self.releases: dict[str, Release] = {}
        # Where retention has cut the journal, by partition.
        self.trimmed = list(self.beginning.offsets)
        self._now: Mapping[str, Row] = {}
        self.states: dict[Position, Mapping[str, Row]] = {self.beginning: self._now}

    @property
    def now(self) -> Mapping[str, Row]:
        """How all executions stand."""
        return self._now

    def between(self, start: Position, end: Position) -> Iterator[Release]:
        """What was released of the records in `end` that are not in `start`, in order within each partition."""
        for partition, records in self._released.items():
            for releases in records[start.offsets[partition] : end.offsets[partition]]:
                yield from releases

    def is_last(self, release: Release) -> bool:
        """Whether it is the last release of its record: derived ones go ahead of their cause."""
        record = release.event.record
        return self._released[record.partition][record.offset][-1] is release

    async def log(self, execution_id: str, *, lines: int, **members: Any) -> None:
        """Let lines be written that say the id of their event, at a time that no other event has."""
        number = self._count + 1
        said = {"lines": [{"message": f"e{number}"}] * lines}
        timestamp = format_time(NOON_US + number * 1000)
        await self.append("log.appended", execution_id, data=said, timestamp=timestamp, **members)

    async def trim(self, partition: int, before: int) -> None:
        """Let retention cut."""
        self.trimmed[partition] = max(self.trimmed[partition], before)
        await self.journal.trim(partition, before)

    async def _commit(self, key: str, value: bytes, team: str) -> list[Release]:
        releases = await super()._commit(key, value, team)
        self.releases |= {release.event.id: release for release in releases}
        found = await self.store.read(lambda reader: reader.execution(team, key))
        self._now = {id_: row for id_, row in self._now.items() if id_ != key}
        if found is not None:
            self._now[key] = Row(found[0].version, found[0].status, found[0].workflow_id)
        self.states[self.end] = self._now
        return releases


class Pulled:
    """A client without an outlet that reads a chunk whenever it is let. `leave` must follow."""

    def __init__(self, hub: Hub, selection: Selection, start: Position | None = None, **wishes: Any) -> None:
        self.hub, self.attachment = hub, subscribed(hub, selection, WEBSOCKET, start, **wishes)
        self._frames: list[dict[str, Any]] = []
        self._permits = asyncio.Semaphore(0)
        self._reading = asyncio.create_task(self._read())

    def let(self, chunks: int = 1) -> None:
        """Let it read so many chunks, when there are any."""
        for _ in range(chunks):
            self._permits.release()

    def frames(self) -> list[dict[str, Any]]:
        """What it read since the last call."""
        frames, self._frames = self._frames, []
        return frames

    async def leave(self) -> None:
        """Break off."""
        await cancelled(self._reading)
        self.attachment.leave()

    async def _read(self) -> None:
        await self._permits.acquire()
        while (chunk := await self.attachment.next()) is not None:
            self._frames += map(json.loads, chunk.messages)
            await self._permits.acquire()
