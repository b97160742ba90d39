"""One client of the soak: it wants something, keeps what it is told, loses its connection and comes back by position.

Whoever runs the soak tells it to misbehave: to cut its connection, to stop reading, to stay away, to want something
else. How it is connected is the business of `connections`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple, Protocol

from tests.support.service import eventually
from tests.support.soak.diary import Diary, Shown
from tests.support.soak.telling import Told, closing_id
from tests.support.soak.wanted import Snapshot, Wanted, changed, workflows
from tests.support.soak.wires import Frame

PAUSE_S: Final = 0.5
"""Before a lost connection is made again: five hundred clients that know no pause would only keep a drain busy."""

FORGED: Final = "Zm9yZ2Vk"
"""A position that no service ever told."""

_SILENT: Final = frozenset(
    f"stream.{word}" for word in ("hello", "checkpoint", "heartbeat", "pong", "slow", "stale", "fresh", "drain", "shed")
)
"""Frames that are only counted, and may move the position."""


Kind = Literal["conversation", "events", "lines"]


class Connection(Protocol):
    """How a client is connected."""

    kind: Kind

    def send(self, message: dict[str, Any]) -> None:
        """Say something, in a conversation."""
        ...

    def pause(self) -> None:
        """Stop reading: what the service sends stays where it is."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def abort(self) -> None:
        """Cut the connection without a word. The client is told soon that it is lost."""
        ...


Dial = Callable[["Client"], Awaitable[None]]
"""Connects a client: it is told `open`, and `lose` in the end. Raises OSError."""


class Seen(NamedTuple):
    """An execution as a client sees it."""

    version: int
    workflow: str
    state: dict[str, Any]


class Client:
    """A subscriber that comes back."""

    def __init__(
        self, name: str, dial: Dial, wanted: Wanted, snapshot: Snapshot | None, *, told: Told, chance: random.Random
    ) -> None:
        self.name, self.wanted, self.snapshot = name, wanted, snapshot
        self.diary = Diary(told)
        self.view: dict[str, Seen] = {}
        self.position: str | None = None
        """Where it stands: the token with which it comes back."""
        self._dial, self._chance = dial, chance
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.is_away = True
        """Whether it stays away for now."""
        self.is_stalled = False
        """Whether it does not read for now."""
        # What the connection was opened for, what was delivered last, and what was asked and is not answered yet.
        self._dialled = self._confirmed = wanted
        self._asked: dict[int, Wanted] = {}
        self._questions = 0
        # What a second subscription added.
        self._beside: frozenset[str] = frozenset()
        # What a snapshot is due for, and its rows so far.
        self._due: Wanted | None = None
        self._rows: dict[str, int] = {}
        self._loss: str | None = None
        self._closed: set[str] = set()

    def __repr__(self) -> str:
        return f"{self.name} wanting {self.wanted}, standing at {self.position}"

    @property
    def is_settled(self) -> bool:
        """Whether it is connected, and everything that it wants is being delivered."""
        return self.diary.is_open and not self._asked and self._due is None and self._connection is not None

    @property
    def has_closed(self) -> bool:
        """Whether it saw the last event of each of its workflows."""
        return self._closed >= {closing_id(name) for name in self.wanted.workflows}

    # --- what it is told to do ---------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Be connected from now on, again and again."""
        self.is_away = False
        if self._connection is None:
            self._connect(0.0)

    async def leave(self) -> None:
        """Be gone for good."""
        self.go_away()

        async def is_gone() -> bool:
            return self._connecting is None and self._connection is None

        await eventually(is_gone, within_s=60)

    def cut(self) -> None:
        """Lose the connection and come back at once."""
        if self._connection is not None:
            self._connection.abort()

    def go_away(self) -> None:
        """Lose the connection and stay away until `connect`."""
        self.is_away = True
        self.cut()

    def stall(self) -> None:
        """Stop reading until `read_on`."""
        if self._connection is not None:
            self.is_stalled = True
            self._connection.pause()

    def read_on(self) -> None:
        """Read again."""
        if self._connection is not None:
            self.is_stalled = False
            self._connection.resume()

    def change(self) -> None:
        """Want something else: in flight where that is possible, else by coming back to another address."""
        if not self.is_settled or self._beside:
            return
        self.wanted = changed(self.wanted, self._chance)
        if self._can_talk:
            self._ask("change", self.wanted, name="main", **self.wanted.members())
        else:
            self.cut()

    def add(self) -> None:
        """Subscribe to another workflow beside the first ones, and be shown what is in flight there."""
        others = workflows(self._chance) - self.wanted.workflows
        if others and self.is_settled and self._can_talk and not self._beside:
            self._beside = others
            other = replace(self.wanted, workflows=self._beside)
            self.wanted = replace(self.wanted, workflows=self.wanted.workflows | self._beside)
            self._ask("subscribe", self.wanted, name="beside", snapshot="active", **other.members())

    def drop(self) -> None:
        """Take that back."""
        if self.is_settled and self._can_talk and self._beside:
            self.wanted = replace(self.wanted, workflows=self.wanted.workflows - self._beside)
            self._beside = frozenset()
            self._ask("unsubscribe", self.wanted, name="beside")

    def forge(self) -> None:
        """Come back with a position that means nothing, which only an EventSource is forgiven."""
        if self._connection is not None and self._connection.kind == "events":
            self.diary.end(self.position, is_cut=True)
            self.position = FORGED
            self._connection.abort()

    # --- its connection ----------------------------------------------------------------------------------------------

    def open(self, connection: Connection) -> None:
        """There is a connection."""
        self._connection = connection

    def greet(self) -> None:
        """Say in a conversation that was opened what is wanted."""
        start = {"position": self.position} if self.position else {}
        snapshot = {"snapshot": self.snapshot} if self.snapshot else {}
        self._ask("subscribe", self.wanted, name="main", **self.wanted.members(), **start, **snapshot)

    def lose(self, connection: Connection) -> None:
        """A connection is gone: come back, unless there is another one, or it is told to stay away."""
        if self._connection is not connection:
            return
        self._connection, self.is_stalled = None, False
        self.diary.end(self.position, is_cut=True)
        self._asked.clear()
        self._rows.clear()
        self._due, self._loss, self._beside = None, None, frozenset()
        if not self.is_away:
            self._connect(PAUSE_S)

    def _connect(self, pause_s: float) -> None:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._come_back(pause_s))

    async def _come_back(self, pause_s: float) -> None:
        try:
            while self._connection is None and not self.is_away:
                await asyncio.sleep(pause_s)  # the pace of asking again
                self._dialled, pause_s = self.wanted, PAUSE_S
                try:
                    await self._dial(self)
                except OSError:
                    continue
            if self.is_away:  # since it dialled
                self.cut()
        finally:
            self._connecting = None

    @property
    def _can_talk(self) -> bool:
        return self._connection is not None and self._connection.kind == "conversation"

    def _ask(self, kind: str, wanted: Wanted, **members: Any) -> None:
        assert self._connection is not None
        self._questions += 1
        self._asked[self._questions] = wanted
        self._connection.send({"type": kind, "id": self._questions, **members})

    # --- what it is told ---------------------------------------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        """Read a frame."""
        kind = frame["type"]
        if not kind.startswith("stream."):
            self.diary.take(frame)
            self._see(frame)
            self._closed.add(frame["executionId"])
        else:
            self.diary.counts[kind] += 1
            self._obey(kind, frame)
        # A conversation is greeted before the service knows where its client stands.
        if "position" in frame and not (kind == "stream.hello" and self._can_talk):
            self.position = frame["position"]

    def _obey(self, kind: str, frame: Frame) -> None:
        match kind:
            case "stream.subscribed" | "stream.unsubscribed":
                self._begin_or_await(self._asked.pop(frame["id"]) if "id" in frame else self._dialled, frame)
            case "stream.gap" | "stream.reset":
                self.view.clear()
                self.diary.counts[f"{kind} {frame['reason']}"] += 1
                self._loss = kind
                self._begin_or_await(self._due or self._confirmed, frame)
            case "stream.snapshot":
                self._rows[frame["executionId"]] = frame["version"]
                self._see(frame)
            case "stream.snapshot-end":
                self._begin_shown(frame)
            case "stream.log-gap":
                self.diary.omit(frame)
            case _ if kind not in _SILENT:
                self.diary.complaints.append(f"{frame}")

    def _begin_or_await(self, wanted: Wanted, frame: Frame) -> None:
        """Without a position a snapshot will tell it."""
        if "position" in frame:
            self._begin(wanted, frame["position"])
        else:
            self.diary.end(self.position, is_cut=False)
            self._due = wanted

    def _begin_shown(self, frame: Frame) -> None:
        wanted, is_cut = self._due or self._confirmed, self._due is not None
        if frame["count"] != len(self._rows) or "truncated" in frame:
            self.diary.complaints.append(f"{len(self._rows)} rows, but {frame}")
        is_active = self.snapshot == "active" or (self.snapshot is None and self._loss is not None)
        shown = Shown(dict(self._rows), is_cut, is_active and is_cut)
        self._rows.clear()
        self._due = None
        self._begin(wanted, frame["position"], shown)

    def _begin(self, wanted: Wanted, position: str, shown: Shown | None = None) -> None:
        # What was delivered under another subscription reaches up to here; a loss has ended it before.
        self.diary.end(position if self._loss is None else self.position, is_cut=False)
        if wanted != self._confirmed and shown is None:
            self._forget(self._confirmed, wanted)
        self._confirmed = wanted
        self.diary.begin(wanted, position, self._loss, shown)
        self._loss = None

    def _see(self, frame: Frame) -> None:
        """Apply what is newer."""
        held = self.view.get(frame["executionId"])
        if held is None or held.version < frame["version"]:
            self.view[frame["executionId"]] = Seen(frame["version"], frame["workflowId"], frame["state"])

    def _forget(self, before: Wanted, wanted: Wanted) -> None:
        """A page shows what is wanted, and begins anew when it filters otherwise."""
        if before.statuses != wanted.statuses:
            self.view.clear()
        for name in [name for name, seen in self.view.items() if seen.workflow not in wanted.workflows]:
            del self.view[name]
