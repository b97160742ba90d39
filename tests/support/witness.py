"""A witness: a subscriber that holds every frame that it is told against what happened, and complains.

A token is a promise: when it moves a client on, that has every lifecycle event that it wants of what lies between, and
what it covers never comes again. Losses are announced, and then a snapshot shows the executions as they were at its
cut. So a witness whose connection is cut at any frame, and who comes back anywhere, needs nothing but its last token.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from monitor.access.positions import open_position
from monitor.events.codec import parse_time_us
from monitor.events.model import Record
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE, EVERYTHING, Selection, SnapshotWish, Subscription
from monitor.fanout.feed import Limits
from monitor.fanout.frames import stream_class
from monitor.fanout.hub import Hub
from monitor.projections.fold import Release
from monitor.projections.status import IN_FLIGHT
from tests.support.chronicle import Chronicle, Pulled, Row
from tests.support.released import SEALER, Piped


class Wanted(NamedTuple):
    """What a snapshot is to show."""

    subscriptions: frozenset[Subscription]
    wish: SnapshotWish


class Witness:
    """One client: its position, its selection, what it knows, and the connection that it has just now."""

    def __init__(self, chronicle: Chronicle, selection: Selection, limits: Limits) -> None:
        self.selection, self.limits = selection, limits
        # Of the last token that it was told; None = it has never stood anywhere.
        self.position: Position | None = None
        self.connection: Piped | Pulled | None = None
        self.complaints: list[str] = []
        self.told: Counter[str] = Counter()
        # What it knows of executions: rows, and newer frames over them. Whether these are all that are in flight.
        self.view: dict[str, Row] = {}
        self.is_complete = False
        self._chronicle = chronicle
        # Ever, and on this connection.
        self.got: set[str] = set()
        self._got_here: set[str] = set()
        self._latest: dict[str, Record] = {}
        self._asked: list[Selection] = []
        # From here on it is owed the latest progress, and every line of logs or a word about it.
        self._owed_since = chronicle.beginning
        self._log_gaps: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._rows: list[dict[str, Any]] = []
        # What the next snapshot shows, where that is certain; and what those of added subscriptions do.
        self._due: Wanted | None = None
        self._additions: list[Wanted] = []
        self._on_loss: SnapshotWish | None = None
        # Whether a loss was announced, and no snapshot has made up for it.
        self._is_lost = False

    @property
    def asked(self) -> Selection:
        """What it asked for last, though maybe it was not told yet that it gets it."""
        return self._asked[-1]

    # --- what it does ------------------------------------------------------------------------------------------------

    async def connect(
        self, hub: Hub, *, piped: bool, snapshot: SnapshotWish | None = None, on_loss: SnapshotWish | None = None
    ) -> None:
        """Come back with its last token, or for the first time with a wish."""
        await self.disconnect()
        kind = Piped if piped else Pulled
        self.connection = kind(hub, self.selection, self.position, snapshot=snapshot, on_loss=on_loss)
        self._rows, self._is_lost, self._asked = [], False, [self.selection]
        self._on_loss, self._due, self._got_here = on_loss, None, set()
        self.is_complete, self._additions = self.is_complete and not self._additions, []
        if self.position is None and snapshot is not None:
            self._due = Wanted(self.selection.subscriptions, snapshot)
        self._say_subscribed(self.position or (None if snapshot else hub.position))

    async def disconnect(self) -> None:
        """Break off; what was not read is lost."""
        if self.connection is not None:
            await self.connection.leave()
        self.connection = None

    def change(self, selection: Selection, snapshot: SnapshotWish | None = None) -> None:
        """Select anew; with a wish, what is added is shown."""
        assert self.connection is not None
        added = selection.subscriptions - self._asked[-1].subscriptions
        wish = snapshot if added else None
        self._asked.append(selection)
        position = self.connection.attachment.change(
            selection, snapshot=wish, shown=added or None, on_loss=self._on_loss
        )
        self._say_subscribed(position, wish)

    def _say_subscribed(self, position: Position | None, wish: SnapshotWish | None = None) -> None:
        """What the transports answer to a subscription, and what the test has to know of it."""
        assert self.connection is not None
        members = {"selected": len(self._asked) - 1, "shown": wish.kind if wish else None}
        self.connection.attachment.say("stream.subscribed", members, at=position)

    def read(self, most: int | None = None) -> None:
        """Take what has come; `most`: so many frames, of which the connection then breaks off after the last."""
        if self.connection is not None:
            for frame in self.connection.frames()[:most]:
                self._take(frame)

    # --- what it is told ---------------------------------------------------------------------------------------------

    def _take(self, frame: dict[str, Any]) -> None:
        name = frame["type"]
        self.told[name] += 1
        if not name.startswith("stream."):
            self._take_event(frame)
        elif name == "stream.subscribed":
            self._take_selection(frame)
        elif name == "stream.snapshot":
            self._rows.append(frame)
        elif name == "stream.snapshot-end":
            self._take_snapshot(frame)
        elif name in ("stream.gap", "stream.reset"):
            self._take_loss(frame)
        elif name == "stream.log-gap":
            self._take_log_gap(frame)
        elif "position" in frame:
            self._move(frame)

    def _take_event(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "log.appended":
            ids = list(dict.fromkeys(line["message"] for line in frame["data"]["lines"]))
        else:
            ids = [frame["id"]]
        for id_ in ids:
            self._account(id_)
        release = self._chronicle.releases.get(frame["id"])
        if release is None or self.position is None:
            return
        record = release.event.record
        self._move(frame)
        if self._chronicle.is_last(release) and not self.position.covers(record.partition, record.offset):
            self.complaints.append(f"the token of {frame['id']} does not cover it")
        self._see(frame)

    def _account(self, id_: str) -> None:
        release = self._chronicle.releases.get(id_)
        if release is None or self.position is None or self._is_lost:
            self.complaints.append(f"{id_} came out of nowhere")
            return
        event, record = release.event, release.event.record
        latest = self._latest.setdefault(event.execution_id, record)
        if not self.selection.matches(release):
            self.complaints.append(f"nobody wants {id_}")
        if self.position.covers(record.partition, record.offset) or id_ in self._got_here:
            self.complaints.append(f"{id_} came twice")
        elif record.offset < latest.offset:
            self.complaints.append(f"{id_} came after a later one")
        self._latest[event.execution_id] = record
        self.got.add(id_)
        self._got_here.add(id_)

    def _take_selection(self, frame: dict[str, Any]) -> None:
        before, self.selection = self.selection, self._asked[frame["selected"]]
        if "position" in frame and (self.position is None or self._is_lost):
            # It begins there; what was lost was of subscriptions that it does not have any more.
            self.position, self._is_lost, self.view = open_position(SEALER, frame["position"]), False, {}
            self._owed_since = self.position
        elif "position" in frame:
            self._move(frame, before)
        if before == self.selection:
            return
        added = self.selection.subscriptions - before.subscriptions
        # What is due now shows something else than what was asked for.
        self._due = None
        self.is_complete = self.is_complete and (frame["shown"] == "active" or not added)
        if any(not wanted.subscriptions <= self.selection.subscriptions for wanted in self._additions):
            # What stands in for what is not shown after all is no business of the client's.
            self._additions = [Wanted(frozenset(), ACTIVE)] * 1000
        elif frame["shown"]:
            self._additions.append(Wanted(added, SnapshotWish(frame["shown"])))
        if self.position is not None:
            self._owed_since = self.position
        self.view = {id_: row for id_, row in self.view.items() if self._follows(id_, row)}

    def _take_snapshot(self, frame: dict[str, Any]) -> None:
        """Rows as they were at the cut, and all of them; after a loss, they replace what was known."""
        cut = open_position(SEALER, frame["position"])
        told, self._rows = self._rows[len(self._rows) - frame["count"] :], []
        rows = {row["executionId"]: Row(row["version"], row["state"]["status"], row["workflowId"]) for row in told}
        if len(rows) != frame["count"]:
            self.complaints.append("an execution is shown twice, or was not shown")
        if self.position is not None and not self._is_lost:
            self._move(frame)
            self._compare(rows, self._additions.pop(0) if self._additions else Wanted(frozenset(), ACTIVE))
            for id_, row in rows.items():
                self._know(id_, row)
            return
        if self.position is not None and not cut.includes(self.position):
            self.complaints.append("a snapshot took back what was known")
        state = self._chronicle.states.get(cut)
        if state is None or any(state.get(id_) != row for id_, row in rows.items()):
            self.complaints.append("a snapshot shows what was not so at its cut")
        elif self._due is not None:
            self.complaints += shortcomings(self._due, rows, state)
        self.position, self._is_lost = cut, False
        self.view = {id_: row for id_, row in rows.items() if self._follows(id_, row)}
        self.is_complete = self._due is not None and self._due.wish.kind == "active"
        self._due, self._owed_since = None, cut

    def _compare(self, rows: Mapping[str, Row], wanted: Wanted) -> None:
        """Rows of added subscriptions are as new as the connection is: what it has had already comes no more."""
        assert self.position is not None
        latest: dict[str, Release] = {}
        for release in self._chronicle.between(self._chronicle.beginning, self._chronicle.end):
            record, id_ = release.event.record, release.event.execution_id
            if self.position.covers(record.partition, record.offset):
                latest[id_] = release
            else:
                latest.pop(id_, None)
        for id_, release in latest.items():
            row = Row(release.version, release.status, release.workflow_id)
            if id_ in rows and rows[id_].version < row.version:
                self.complaints.append(f"{id_} is shown older than it is known")
            is_missing = id_ not in rows and row.status in IN_FLIGHT and id_ in self._chronicle.now
            plain = frozenset(it for it in wanted.subscriptions if it.filter == EVERYTHING and wanted.wish == ACTIVE)
            if is_missing and is_named(Selection("default", plain), id_, row):
                self.complaints.append(f"{id_} is not shown")

    def _take_loss(self, frame: dict[str, Any]) -> None:
        if not self._is_due(frame["reason"]):
            self.complaints.append(f"told {frame['type']} {frame['reason']} for nothing")
        self._rows, self.is_complete, self._additions = [], False, []
        self._due = None if self._on_loss is None else Wanted(self.selection.subscriptions, self._on_loss)
        if "position" not in frame:
            self._is_lost = True
            return
        self.position, self._is_lost = open_position(SEALER, frame["position"]), False
        self._owed_since, self.view = self.position, {}

    def _is_due(self, reason: str) -> bool:
        """Whether there was no way without a loss."""
        if self.position is None:
            return False
        if reason == "retention":
            return any(had < first for had, first in zip(self.position.offsets, self._chronicle.trimmed, strict=True))
        behind = sum(self._chronicle.end.offsets) - sum(self.position.offsets)
        return reason == "budget" and behind > self.limits.replay_records

    def _take_log_gap(self, frame: dict[str, Any]) -> None:
        span = parse_time_us(frame["from"]), parse_time_us(frame["to"])
        if frame["count"] < 1 or span[0] > span[1]:
            self.complaints.append(f"an odd gap in a log: {frame}")
        self._log_gaps[frame["executionId"]].append(span)
        self._move(frame)

    def _move(self, frame: dict[str, Any], selection: Selection | None = None) -> None:
        """Hold the promise of a token against what has come."""
        to, selection = open_position(SEALER, frame["position"]), selection or self.selection
        if self.position is None or self._is_lost:
            self.complaints.append(f"{frame['type']} tells a position inside of a snapshot")
            return
        if not to.includes(self.position):
            self.complaints.append(f"{frame['type']} takes back a position")
        if not self._chronicle.end.includes(to):
            self.complaints.append(f"{frame['type']} promises what has not happened")
        for release in self._chronicle.between(self.position, to):
            id_ = release.event.id
            if is_lifecycle(release) and id_ not in self.got and selection.matches(release):
                self.complaints.append(f"{id_} never came, says {frame['type']}")
        self.position = to

    def _see(self, frame: dict[str, Any]) -> None:
        id_, row = frame["executionId"], Row(frame["version"], frame["state"]["status"], frame["workflowId"])
        if frame["type"] == "execution.deleted":
            self.view.pop(id_, None)
        else:
            self._know(id_, row)

    def _know(self, id_: str, row: Row) -> None:
        if self._follows(id_, row) and (id_ not in self.view or row.version > self.view[id_].version):
            self.view[id_] = row

    def _follows(self, id_: str, row: Row) -> bool:
        """Whether it is told how this execution goes on: by a subscription that keeps nothing of that back."""
        told = frozenset(it for it in self.selection.subscriptions if it.filter == EVERYTHING and tells_all(it))
        return is_named(Selection("default", told), id_, row)

    # --- in the end --------------------------------------------------------------------------------------------------

    def look_around(self) -> None:
        """At the head: what it knows is what there is."""
        if self.position != self._chronicle.end:
            self.complaints.append(f"it stands at {self.position}, not at {self._chronicle.end}")
            return
        self._look_at_view()
        owed = [it for it in self._chronicle.between(self._owed_since, self.position) if self.selection.matches(it)]
        latest = {
            (it.event.execution_id, it.event.type): it.event for it in owed if stream_class(it.event.type) == "progress"
        }
        self.complaints += [f"progress {it.id} never came" for it in latest.values() if it.id not in self.got]
        for event in (it.event for it in owed if it.event.type == "log.appended"):
            spans = self._log_gaps[event.execution_id]
            if event.id not in self.got and not any(start <= event.time_us <= end for start, end in spans):
                self.complaints.append(f"lines of {event.id} never came")

    def _look_at_view(self) -> None:
        now = self._chronicle.now
        known = {id_: row.status for id_, row in self.view.items()}
        wrong = {id_: status for id_, status in known.items() if id_ not in now or now[id_].status != status}
        if wrong:
            self.complaints.append(f"it believes {wrong}")
        in_flight = {id_ for id_, row in now.items() if row.status in IN_FLIGHT and self._follows(id_, row)}
        if self.is_complete and not in_flight <= known.keys():
            self.complaints.append(f"it knows nothing of {in_flight - known.keys()}")


def tells_all(subscription: Subscription) -> bool:
    """Whether no lifecycle event is kept back by its type."""
    return subscription.events in (None, frozenset({"*"}))


def is_lifecycle(release: Release) -> bool:
    """Whether it must come."""
    return stream_class(release.event.type) == "lifecycle"


def is_named(selection: Selection, id_: str, row: Row) -> bool:
    """Whether an execution is in one of the channels."""
    return not selection.channels.isdisjoint(("executions", f"workflow:{row.workflow_id}", f"execution:{id_}"))


def shortcomings(wanted: Wanted, rows: Mapping[str, Row], state: Mapping[str, Row]) -> list[str]:
    """What a snapshot shows too much or too little, given how everything stood at its cut."""
    if any(it.filter != EVERYTHING for it in wanted.subscriptions):
        return []
    selection = Selection("default", wanted.subscriptions)
    named = {id_ for id_ in state if f"execution:{id_}" in selection.channels}
    there = {id_ for id_, row in state.items() if is_named(selection, id_, row)}
    if wanted.wish.kind == "active":
        expected = named | {id_ for id_ in there if state[id_].status in IN_FLIGHT}
        return [] if rows.keys() == expected else [f"a snapshot shows {sorted(rows)}, not {sorted(expected)}"]
    enough = min(len(there), wanted.wish.limit)
    is_right = named | rows.keys() <= there and named <= rows.keys() and len(rows) >= enough
    return [] if is_right else [f"a snapshot shows {sorted(rows)} of {sorted(there)}"]
