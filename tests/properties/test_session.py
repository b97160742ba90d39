"""Any sequence of messages, good and hostile, leaves a session where a naive model of it stands.

The model keeps a list of what was asked for, spells out what passes on each channel, and looks at it anew each time.
"""

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.errors import InvalidPosition
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE, Selection, SnapshotWish
from monitor.projections.filter import to_json
from monitor.streams import session as module
from monitor.streams.session import Close, Decision, Reply, Select, Session

HERE = Position("00" * 6, (7,))
MAX_SUBSCRIPTIONS, MAX_CHANNELS = 4, 9
"""Small, so that they are met."""

NAMES = ("x", "y", "z")
CHANNELS = st.sampled_from(["executions", *(f"workflow:{n}" for n in range(3)), *(f"execution:{n}" for n in range(3))])
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "events": st.none() | st.lists(st.sampled_from(["*", "node.*", "execution.failed"]), min_size=1, max_size=3),
    "filter": st.none() | st.sampled_from([{}, {"status": "failed"}, {"status": ["failed"]}, {"mode": {"ne": ["a"]}}]),
    "logs": st.none() | st.booleans(),
    "snapshot": st.sampled_from([None, "none", "none", "active", "recent:1", "recent:2000"]),
    "position": st.none() | st.sampled_from(["now", "earliest", "here"]),
}
LISTS = st.lists(CHANNELS, min_size=1, max_size=5)
IDS = st.none() | st.integers(0, 9) | st.text(max_size=3)
SPOILT = st.sampled_from(
    [
        {"type": "subscribe"},
        {"type": "subscribe", "channels": ["executions"], "position": "forged"},
        {"type": "subscribe", "channels": ["executions"], "snapshot": "all", "name": "x"},
        {"type": "subscribe", "channels": ["executions", "no channel"], "name": "y"},
        {"type": "subscribe", "channels": ["executions"], "filter": {"stauts": "failed"}},
        {"type": "change", "name": "x", "logs": "yes"},
        {"type": "change", "name": "x", "channels": []},
        {"type": "change", "name": "nobody", "logs": True},
        {"type": "unsubscribe", "name": "nobody"},
        {"type": "unsubscribe", "channels": ["workflow:0", 7]},
        {"type": "unsubscribe", "name": "x", "everything": True},
        {"type": "publish"},
        {},
    ]
)


class Asked(NamedTuple):
    """One subscription of the model."""

    name: str | None
    channels: frozenset[str]
    # What passes, spelt so that equal things are equal.
    passes: str
    after_loss: SnapshotWish | None

    @property
    def identity(self) -> object:
        """What a later one takes the place of."""
        return self.name or (self.channels, self.passes)


def open_token(token: str) -> Position:
    """Knows one token."""
    if token != "here":
        raise InvalidPosition
    return HERE


def spelt(message: dict[str, Any]) -> str:
    """What passes a subscription that is made by this message alone."""
    events = message.get("events")
    said = message.get("filter") or {}
    tests = {field: {"eq": value} if isinstance(value, str | list) else value for field, value in said.items()}
    tests = {
        field: {op: [v] if isinstance(v, str) else sorted(v) for op, v in ops.items()} for field, ops in tests.items()
    }
    return json.dumps([sorted(set(events)) if events else None, tests, bool(message.get("logs"))], sort_keys=True)


def atoms(selection: Selection) -> set[tuple[str, str]]:
    """A selection as every channel with what passes on it."""
    return {
        (channel, spelt({"events": each.events, "filter": to_json(each.filter), "logs": each.logs}))
        for each in selection.subscriptions
        for channel in each.channels
    }


def wish_of(said: str | None) -> SnapshotWish | None:
    """The snapshot that a word names."""
    if said is None or said == "none":
        return None
    return ACTIVE if said == "active" else SnapshotWish("recent", int(said.removeprefix("recent:")))


class Conversation(RuleBasedStateMachine):
    """Tells the session and the model the same."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "MAX_SUBSCRIPTIONS", MAX_SUBSCRIPTIONS)
        self.patch.setattr(module, "MAX_CHANNELS", MAX_CHANNELS)
        self.session = Session("red", open_token)
        self.asked: list[Asked] = []
        # The messages that would make each subscription of the model.
        self.makers: dict[object, dict[str, Any]] = {}
        self.backfill = False

    def teardown(self) -> None:
        self.patch.undo()

    # --- what clients say --------------------------------------------------------------------------------------------

    @rule(
        channels=LISTS,
        members=st.fixed_dictionaries({}, optional=MEMBERS),
        name=st.sampled_from([None, *NAMES]),
        id_=IDS,
    )
    def subscribe(self, channels: list[str], members: dict[str, Any], name: str | None, id_: Any) -> None:
        """A good subscription."""
        message = {"type": "subscribe", "channels": channels, **members} | ({"name": name} if name else {})
        after_loss = ACTIVE if members.get("snapshot") is None else wish_of(members["snapshot"])
        decision = self.tell(message, id_)
        self.check(decision, message, Asked(name, frozenset(channels), spelt(message), after_loss), id_)

    @rule(
        data=st.data(),
        members=st.fixed_dictionaries({}, optional={**MEMBERS, "channels": LISTS}),
        id_=IDS,
    )
    @precondition(lambda self: any(it.name for it in self.asked))
    def change(self, data: st.DataObject, members: dict[str, Any], id_: Any) -> None:
        """A good change of a subscription that is there."""
        before = data.draw(st.sampled_from([it for it in self.asked if it.name]))
        made = {**self.makers[before.name], **members}
        message = {"type": "change", "name": before.name, **members}
        after_loss = before.after_loss
        if "snapshot" in members:
            after_loss = ACTIVE if members["snapshot"] is None else wish_of(members["snapshot"])
        decision = self.tell(message, id_)
        wanted = Asked(before.name, frozenset(made["channels"]), spelt(made), after_loss)
        self.check(
            decision, {**made, "snapshot": members.get("snapshot"), "position": members.get("position")}, wanted, id_
        )

    @rule(name=st.sampled_from([None, *NAMES]), channels=st.none() | LISTS, id_=IDS)
    def unsubscribe(self, name: str | None, channels: list[str] | None, id_: Any) -> None:
        """Some channels or all, of one subscription or of every one."""
        message = (
            {"type": "unsubscribe"} | ({"name": name} if name else {}) | ({"channels": channels} if channels else {})
        )
        before, decision = self.session.selection, self.tell(message, id_)
        if name and name not in {it.name for it in self.asked}:
            self.check_error(decision, "INVALID_REQUEST", id_)
            assert self.session.selection == before
            return
        left = []
        for it in self.asked:
            gone = (frozenset(channels) if channels else it.channels) if name in (None, it.name) else frozenset()
            left.append(it._replace(channels=it.channels - gone))
        self.asked = list({it.identity: it for it in left if it.channels}.values())
        for it in self.asked:
            if it.name:
                self.makers[it.name] = {**self.makers[it.name], "channels": sorted(it.channels)}
        assert isinstance(decision, Select)
        assert (decision.reply.name, decision.start, decision.snapshot) == ("stream.unsubscribed", None, None)
        channels_left = sorted({channel for it in self.asked for channel in it.channels})
        assert decision.reply.members == expected_members(channels_left, name, id_)
        assert decision.on_loss == self.on_loss()

    @rule(id_=IDS)
    def ping(self, id_: Any) -> None:
        """Answered, whatever is subscribed."""
        assert self.tell({"type": "ping"}, id_) == Reply("stream.pong", {} if id_ is None else {"id": id_})

    @rule(message=SPOILT, id_=IDS)
    def spoil(self, message: dict[str, Any], id_: Any) -> None:
        """A message that cannot be obeyed."""
        decision = self.tell(message, id_)
        assert isinstance(decision, Reply)
        self.check_error(decision, decision.members["code"], id_)

    @rule(message=st.text() | st.binary() | st.sampled_from(["x" * (64 * 1024 + 1), "[]", "null", '{"type":']))
    def babble(self, message: str | bytes) -> None:
        """What is no message at all."""
        decision = self.session.receive(message)
        if len(message) > 64 * 1024:
            assert decision == Close("too_large")
        else:
            self.check_error(decision, "INVALID_REQUEST", None)

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def the_selection_is_the_models(self) -> None:
        """Every channel with what passes on it, no more and no less."""
        selection = self.session.selection
        assert atoms(selection) == {(channel, it.passes) for it in self.asked for channel in it.channels}
        assert (selection.team, selection.backfill) == ("red", self.backfill)

    @invariant()
    def limits_hold(self) -> None:
        """Whatever was tried."""
        assert len(self.asked) <= MAX_SUBSCRIPTIONS
        assert sum(len(it.channels) for it in self.asked) <= MAX_CHANNELS
        assert len(self.session.selection.channels) <= MAX_CHANNELS

    @invariant()
    def whoever_asks_for_the_same_selects_the_same(self) -> None:
        """Another session, told in another order and without names, shares the group in the hub."""
        other = Session("red", open_token)
        for it in reversed(self.asked):
            events, tests, logs = json.loads(it.passes)
            message = {"channels": sorted(it.channels), "events": events, "filter": tests, "logs": logs}
            other.receive(
                json.dumps({"type": "subscribe", **message} | ({"position": "earliest"} if self.backfill else {}))
            )
        if self.asked:
            assert other.selection == self.session.selection

    # --- steps -------------------------------------------------------------------------------------------------------

    def tell(self, message: dict[str, Any], id_: Any) -> Decision:
        """What the session decides."""
        return self.session.receive(json.dumps(message | ({} if id_ is None else {"id": id_})))

    def check(self, decision: Decision, message: dict[str, Any], wanted: Asked, id_: Any) -> None:
        """The decision about a subscription that is `wanted` by a message whose members are these."""
        asked = list({it.identity: it for it in [*self.asked, wanted]}.values())
        if len(asked) > MAX_SUBSCRIPTIONS or sum(len(it.channels) for it in asked) > MAX_CHANNELS:
            self.check_error(decision, "LIMIT_REACHED", id_)
            return
        self.asked = asked
        if wanted.name:
            self.makers[wanted.name] = message
        position, first = message.get("position"), wish_of(message.get("snapshot"))
        self.backfill = self.backfill or position == "earliest"
        assert isinstance(decision, Select)
        assert decision.selection == self.session.selection
        assert decision.start == {None: None, "now": None if first else "now", "here": HERE}.get(position, position)
        assert decision.reply == Reply("stream.subscribed", expected_members(sorted(wanted.channels), wanted.name, id_))
        assert (decision.snapshot, decision.on_loss) == (first, self.on_loss())
        shown = decision.selection.subscriptions if decision.shown is None else decision.shown
        if first and len(asked) > 1:
            assert {channel for each in shown for channel in each.channels} == wanted.channels
        else:
            assert decision.shown is None

    def check_error(self, decision: Decision, code: str, id_: Any) -> None:
        """An answer that names its question; the invariants see that nothing changed."""
        assert isinstance(decision, Reply)
        assert decision.name == "stream.error"
        assert decision.members["code"] == code
        assert decision.members["message"]
        assert decision.members.get("id") == id_

    def on_loss(self) -> SnapshotWish | None:
        """The one that serves all."""
        wishes = [it.after_loss for it in self.asked if it.after_loss]
        return ACTIVE if ACTIVE in wishes else max(wishes, key=lambda wish: wish.limit, default=None)


def expected_members(channels: list[str], name: str | None, id_: Any) -> dict[str, Any]:
    """Of an answer."""
    return {"channels": channels} | ({"name": name} if name else {}) | ({} if id_ is None else {"id": id_})


TestConversation = Conversation.TestCase
