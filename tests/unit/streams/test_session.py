"""The session decides about every message without touching anything."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import InvalidPosition, LimitReached
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE, MAX_ROWS, SnapshotWish, Subscription
from monitor.projections.filter import parse_json
from monitor.streams.session import (
    FAREWELLS,
    MAX_CHANNELS,
    MAX_MESSAGE_CHARACTERS,
    MAX_SUBSCRIPTIONS,
    Close,
    Decision,
    Reply,
    Select,
    Session,
    Showing,
    Since,
    read_showing,
)

HERE = Position("00" * 6, (7,))


def open_token(token: str) -> Position:
    """Knows one token."""
    if token != "here":
        raise InvalidPosition
    return HERE


@pytest.fixture
def session() -> Session:
    """Nothing subscribed yet."""
    return Session("red", open_token)


def tell(session: Session, **message: Any) -> Decision:
    """What the session decides about a message."""
    return session.receive(json.dumps(message))


def selected(session: Session, **message: Any) -> Select:
    """The decision about a message that is obeyed."""
    decision = tell(session, **message)
    assert isinstance(decision, Select), decision
    return decision


def refused(session: Session, message: str | bytes) -> dict[str, Any]:
    """The members of the error that a message gets; it changes nothing."""
    before = session.selection
    decision = session.receive(message)
    assert isinstance(decision, Reply)
    assert (decision.name, session.selection) == ("stream.error", before)
    return dict(decision.members)


def only(*channels: str, **members: Any) -> frozenset[Subscription]:
    """What a selection with one subscription holds."""
    return frozenset({Subscription(frozenset(channels), **members)})


# --- subscribing -----------------------------------------------------------------------------------------------------


def test_a_subscription_selects_for_the_sessions_team(session: Session) -> None:
    """Whatever the message says."""
    decision = selected(
        session,
        type="subscribe",
        channels=["executions"],
        events=["execution.*"],
        filter={"status": ["failed"]},
        logs=True,
        position="here",
        id="a",
    )
    assert decision.selection.team == "red"
    assert decision.selection.subscriptions == only(
        "executions", events=frozenset({"execution.*"}), filter=parse_json({"status": ["failed"]}), logs=True
    )
    assert decision.start == HERE
    assert decision.reply == Reply("stream.subscribed", {"channels": ["executions"], "id": "a"})
    assert session.selection == decision.selection


@pytest.mark.parametrize(
    ("said", "start"),
    [
        (None, None),
        ("now", "now"),
        ("earliest", "earliest"),
        ("here", HERE),
        ("1970-01-01T00:00:01Z", Since(1_000_000)),
        ("1970-01-01T01:00:00.5+01:00", Since(500_000)),
    ],
)
def test_a_subscription_begins_where_it_says(session: Session, said: str | None, start: object) -> None:
    """Without a word: where the connection stands. Imported history is for who wants everything there is."""
    decision = selected(session, type="subscribe", channels=["executions"], position=said)
    assert decision.start == start
    assert decision.selection.backfill is (start == "earliest")


def test_imported_history_stays_wanted(session: Session) -> None:
    """As long as the connection lives, whatever else it asks for."""
    selected(session, type="subscribe", channels=["executions"], position="earliest")
    assert selected(session, type="subscribe", channels=["workflow:a"]).selection.backfill
    assert selected(session, type="unsubscribe").selection.backfill


def test_another_subscription_moves_nothing_unless_it_says_so(session: Session) -> None:
    """The connection goes on where it stands."""
    selected(session, type="subscribe", channels=["executions"], position="here")
    assert selected(session, type="subscribe", channels=["workflow:a"]).start is None
    assert selected(session, type="subscribe", channels=["workflow:b"], position="now").start == "now"


def test_null_is_what_nobody_said(session: Session) -> None:
    """Programs that send every member of a form need not leave any out."""
    members = dict.fromkeys(("events", "filter", "logs", "snapshot", "position", "name", "id"))
    assert tell(session, type="subscribe", channels=["executions"], **members) == tell(
        Session("red", open_token), type="subscribe", channels=["executions"]
    )


def test_equal_wishes_are_equal_selections_however_they_are_put(session: Session) -> None:
    """In any order and spelling, with names or without, twice or once, and whatever was there in between."""
    selected(session, type="subscribe", channels=["workflow:a", "workflow:b"], events=["node.*", "execution.*"])
    selected(session, type="subscribe", channels=["executions"], filter={"status": ["failed", "crashed"]})
    other = Session("red", open_token)
    crashed = {"status": {"eq": ["crashed", "failed", "failed"]}}
    selected(other, type="subscribe", channels=["execution:x"], name="gone", snapshot="active")
    selected(other, type="subscribe", channels=["executions"], name="x", filter=crashed)
    selected(other, type="subscribe", channels=["executions"], filter=crashed, logs=False, snapshot="none")
    selected(other, type="subscribe", channels=["workflow:b", "workflow:a"], events=["execution.*", "node.*"])
    selected(other, type="unsubscribe", name="gone")
    assert session.selection == other.selection
    assert hash(session.selection) == hash(other.selection)
    assert session.selection != Session("blue", open_token).selection


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_name_is_replaced_by_whoever_has_it_next(session: Session) -> None:
    """The answer tells the name; unnamed ones stay."""
    selected(session, type="subscribe", channels=["workflow:a"])
    first = selected(session, type="subscribe", channels=["workflow:b"], name="mine", id=1)
    assert first.reply.members == {"channels": ["workflow:b"], "name": "mine", "id": 1}
    again = selected(session, type="subscribe", channels=["workflow:c"], name="mine", logs=True)
    assert again.selection.subscriptions == only("workflow:a") | only("workflow:c", logs=True)


def test_a_change_alters_what_it_gives(session: Session) -> None:
    """And leaves the rest as it was; null gives a member back."""
    failed, timeout = ({"status": [word]} for word in ("failed", "timeout"))
    selected(session, type="subscribe", channels=["workflow:a"], filter=failed, logs=True, name="mine")
    changed = selected(session, type="change", name="mine", filter=timeout, id="x")
    assert changed.selection.subscriptions == only("workflow:a", filter=parse_json(timeout), logs=True)
    assert changed.reply == Reply("stream.subscribed", {"channels": ["workflow:a"], "name": "mine", "id": "x"})
    assert (changed.start, changed.snapshot) == (None, None)
    changed = selected(session, type="change", name="mine", filter=None, channels=["workflow:b"], position="here")
    assert changed.selection.subscriptions == only("workflow:b", logs=True)
    assert changed.start == HERE


@pytest.mark.parametrize("kind", ["change", "unsubscribe"])
def test_an_unknown_name_is_told(session: Session, kind: str) -> None:
    """What the client believes to have and what it has would differ from here on."""
    selected(session, type="subscribe", channels=["workflow:a"], name="mine")
    error = refused(session, json.dumps({"type": kind, "name": "yours"}))
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", "name")


def test_channels_leave_every_subscription(session: Session) -> None:
    """Those without any left vanish; without names all of them go. The answer tells what is left."""
    selected(session, type="subscribe", channels=["executions", "workflow:a"])
    selected(session, type="subscribe", channels=["executions"], events=["*"], name="mine")
    decision = selected(session, type="unsubscribe", channels=["executions"], id=7)
    assert decision.reply == Reply("stream.unsubscribed", {"channels": ["workflow:a"], "id": 7})
    assert decision.start is None
    assert session.selection.subscriptions == only("workflow:a")
    assert selected(session, type="unsubscribe").selection.subscriptions == frozenset()


def test_a_named_subscription_leaves_alone(session: Session) -> None:
    """The whole of it, or only some channels; others keep theirs."""
    for name in ("x", "y"):
        selected(session, type="subscribe", channels=["workflow:a", "workflow:b"], name=name, logs=name == "y")
    left = selected(session, type="unsubscribe", name="x", channels=["workflow:a"])
    assert left.reply == Reply("stream.unsubscribed", {"channels": ["workflow:a", "workflow:b"], "name": "x"})
    assert left.selection.subscriptions == only("workflow:b") | only("workflow:a", "workflow:b", logs=True)
    left = selected(session, type="unsubscribe", name="y")
    assert left.selection.subscriptions == only("workflow:b")


# --- snapshots -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "first", "after_loss"),
    [
        (None, None, ACTIVE),
        ("none", None, None),
        ("active", ACTIVE, ACTIVE),
        ("recent:1", SnapshotWish("recent", 1), SnapshotWish("recent", 1)),
        (f"recent:{MAX_ROWS}", SnapshotWish("recent", MAX_ROWS), SnapshotWish("recent", MAX_ROWS)),
    ],
)
def test_a_snapshot_is_shown_as_asked(
    session: Session, said: str | None, first: SnapshotWish | None, after_loss: SnapshotWish | None
) -> None:
    """Who says nothing gets none at first and what is in flight after a loss; who says none never gets one."""
    decision = selected(session, type="subscribe", channels=["executions"], snapshot=said)
    assert (decision.snapshot, decision.shown, decision.on_loss) == (first, None, after_loss)


def test_an_added_subscription_shows_itself_alone(session: Session) -> None:
    """The others were shown already; without a snapshot nothing is."""
    selected(session, type="subscribe", channels=["workflow:a"], snapshot="active")
    assert selected(session, type="subscribe", channels=["workflow:b"], snapshot="active").shown == only("workflow:b")
    assert selected(session, type="subscribe", channels=["workflow:c"]).shown is None


def test_a_change_shows_anew_if_it_says_so(session: Session) -> None:
    """Else it keeps what it wanted after a loss, and shows nothing."""
    selected(session, type="subscribe", channels=["workflow:a"], snapshot="recent:5", name="mine")
    changed = selected(session, type="change", name="mine", channels=["workflow:b"])
    assert (changed.snapshot, changed.on_loss) == (None, SnapshotWish("recent", 5))
    changed = selected(session, type="change", name="mine", snapshot="none")
    assert (changed.snapshot, changed.on_loss) == (None, None)


def test_a_snapshot_begins_now_by_itself(session: Session) -> None:
    """`position=now` asks for nothing else, and must not skip the cut."""
    decision = selected(session, type="subscribe", channels=["executions"], snapshot="active", position="now")
    assert (decision.start, decision.snapshot) == (None, ACTIVE)


def test_after_a_loss_one_snapshot_serves_all_subscriptions(session: Session) -> None:
    """What is in flight if one wants that, else the longest list that one wants, else none."""
    told = [
        selected(session, type="subscribe", channels=[f"workflow:{wish}"], snapshot=wish, name=wish).on_loss
        for wish in ("none", "recent:5", "recent:9", "recent:7", "active")
    ]
    assert told == [None, SnapshotWish("recent", 5), SnapshotWish("recent", 9), SnapshotWish("recent", 9), ACTIVE]
    assert selected(session, type="unsubscribe", name="active").on_loss == SnapshotWish("recent", 9)
    assert selected(session, type="unsubscribe").on_loss is None


@pytest.mark.parametrize(
    "said",
    ["all", "recent", "recent:", "recent:0", "recent:-1", "recent:05", "recent:2001", "recent:٣", "", 5, ["active"]],
)
def test_other_snapshots_are_refused(session: Session, said: object) -> None:
    """With what there is."""
    error = refused(session, json.dumps({"type": "subscribe", "channels": ["executions"], "snapshot": said}))
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", "snapshot")


def test_unsaid_is_none_at_first() -> None:
    """The readers of addresses and messages share one rule."""
    assert read_showing(None) == Showing(None, ACTIVE)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_connection_takes_a_hundred_subscriptions(session: Session) -> None:
    """The next one is refused and what was there stays; one may still take another's place, or come when one left."""
    for number in range(MAX_SUBSCRIPTIONS):
        selected(session, type="subscribe", channels=["executions"], name=f"n{number}")
    error = refused(session, '{"type":"subscribe","channels":["workflow:a"],"id":1}')
    assert (error["code"], error["limit"], error["id"]) == ("LIMIT_REACHED", MAX_SUBSCRIPTIONS, 1)
    selected(session, type="subscribe", channels=["workflow:a"], name="n0")
    selected(session, type="unsubscribe", name="n1")
    selected(session, type="subscribe", channels=["workflow:b"])


def test_a_connection_takes_a_thousand_channels(session: Session) -> None:
    """Over all of its subscriptions, also when a change brings the last."""
    for part in range(4):
        first = part * MAX_CHANNELS // 4
        channels = [f"execution:{number}" for number in range(first, first + MAX_CHANNELS // 4)]
        selected(session, type="subscribe", channels=channels, name=f"n{part}")
    for message in (
        {"type": "subscribe", "channels": ["execution:one-more"]},
        {"type": "change", "name": "n0", "channels": [f"workflow:{n}" for n in range(251)]},
    ):
        error = refused(session, json.dumps(message))
        assert (error["code"], error["field"], error["limit"]) == ("LIMIT_REACHED", "channels", MAX_CHANNELS)
    selected(session, type="unsubscribe", channels=["execution:0"])
    selected(session, type="subscribe", channels=["execution:one-more"])


def test_who_subscribes_by_address_meets_the_same_limit(session: Session) -> None:
    """It raises there."""
    many = Subscription(frozenset(f"execution:{number}" for number in range(MAX_CHANNELS + 1)))
    with pytest.raises(LimitReached):
        session.subscribe(many, None)
    assert session.selection.subscriptions == frozenset()


def test_a_message_too_large_is_not_even_read(session: Session) -> None:
    """One character more than is taken."""
    assert isinstance(session.receive("x" * MAX_MESSAGE_CHARACTERS), Reply)
    assert session.receive("x" * (MAX_MESSAGE_CHARACTERS + 1)) == Close("too_large")
    assert "too_large" in FAREWELLS


# --- other messages --------------------------------------------------------------------------------------------------


def test_a_ping_is_answered(session: Session) -> None:
    """For clients that cannot see the protocol's own."""
    assert tell(session, type="ping") == Reply("stream.pong", {})
    assert tell(session, type="ping", id=3) == Reply("stream.pong", {"id": 3})


@pytest.mark.parametrize(
    "message",
    ["", "{", "[]", "\ud800", "[" * 60_000, '{"type":NaN}', '"subscribe"', b'{"type":"ping"}'],
)
def test_what_is_no_object_is_answered(session: Session, message: str | bytes) -> None:
    """Binary messages as well; the next one is read as if nothing had been."""
    error = refused(session, message)
    assert (error["code"], set(error)) == ("INVALID_REQUEST", {"code", "message"})
    selected(session, type="subscribe", channels=["workflow:a"])


@pytest.mark.parametrize(
    ("members", "code", "field"),
    [
        ({"type": None}, "INVALID_REQUEST", "type"),
        ({"type": "publish"}, "INVALID_REQUEST", "type"),
        ({"type": ["subscribe"]}, "INVALID_REQUEST", "type"),
        ({"channels": None}, "INVALID_REQUEST", "channels"),
        ({"channels": []}, "INVALID_REQUEST", "channels"),
        ({"channels": "executions"}, "INVALID_REQUEST", "channels"),
        ({"channels": ["everything"]}, "INVALID_REQUEST", "channels"),
        ({"channels": ["execution:"]}, "INVALID_REQUEST", "channels"),
        ({"channels": [{}]}, "INVALID_REQUEST", "channels"),
        ({"events": []}, "INVALID_REQUEST", "events"),
        ({"events": ["*.failed"]}, "INVALID_REQUEST", "events"),
        ({"events": [f"a.{number}" for number in range(101)]}, "INVALID_REQUEST", "events"),
        ({"filter": "failed"}, "INVALID_REQUEST", "filter"),
        ({"filter": {"stauts": "failed"}}, "INVALID_FILTER", "filter[stauts]"),
        ({"filter": {"status": {"is": "failed"}}}, "INVALID_FILTER", "filter[status]"),
        ({"filter": {"status": [{"eq": "failed"}]}}, "INVALID_FILTER", "filter[status]"),
        ({"logs": 1}, "INVALID_REQUEST", "logs"),
        ({"name": ""}, "INVALID_REQUEST", "name"),
        ({"name": "a\n"}, "INVALID_REQUEST", "name"),
        ({"name": "a" * 257}, "INVALID_REQUEST", "name"),
        ({"position": "yesterday"}, "INVALID_POSITION", "position"),
        ({"position": "12:30"}, "INVALID_POSITION", "position"),
        ({"position": "2026-11-22T10:30:00"}, "INVALID_POSITION", "position"),
        ({"position": 7}, "INVALID_POSITION", "position"),
        ({"chanels": ["executions"]}, "INVALID_REQUEST", "chanels"),
        ({"type": "change"}, "INVALID_REQUEST", "name"),
        ({"type": "unsubscribe", "channels": []}, "INVALID_REQUEST", "channels"),
        ({"type": "unsubscribe", "events": ["*"]}, "INVALID_REQUEST", "events"),
        ({"type": "ping"}, "INVALID_REQUEST", "channels"),
        ({"id": True}, "INVALID_REQUEST", "id"),
        ({"id": 1.5}, "INVALID_REQUEST", "id"),
        ({"id": "a" * 257}, "INVALID_REQUEST", "id"),
    ],
)
def test_a_bad_message_is_answered_and_changes_nothing(
    session: Session, members: dict[str, Any], code: str, field: str
) -> None:
    """With a code that stays the same and the member at fault."""
    selected(session, type="subscribe", channels=["workflow:a"], name="mine")
    error = refused(session, json.dumps({"type": "subscribe", "channels": ["executions"]} | members))
    assert (error["code"], error["field"]) == (code, field)


@pytest.mark.parametrize(
    "members",
    [{"x" * 60_000: 1}, {"filter": {"x" * 60_000: 1}}, {"channels": ["x" * 60_000]}, {"position": "x" * 60_000}],
)
def test_an_error_echoes_its_question_but_not_all_of_it(session: Session, members: dict[str, Any]) -> None:
    """The id in full; long words are cut, so that nobody has megabytes sent to himself."""
    message = {"type": "subscribe", "channels": ["executions"], "id": "q"} | members
    error = refused(session, json.dumps(message))
    assert error["id"] == "q"
    assert len(json.dumps(error)) < 1000


def test_a_misspelt_filter_names_the_nearest_field(session: Session) -> None:
    """As lists do."""
    error = refused(session, '{"type":"subscribe","channels":["executions"],"filter":{"workflowid":"a"}}')
    assert error["message"] == "unknown filter field 'workflowid'; did you mean 'workflowId'?"


WORDS = st.sampled_from(
    ["subscribe", "change", "unsubscribe", "ping", "executions", "workflow:a", "execution.*", "here", "now", "active"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | WORDS, inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    ["type", "channels", "events", "filter", "snapshot", "position", "logs", "name", "id", "other"]
)


@given(st.lists(st.dictionaries(MEMBERS, VALUES | WORDS, max_size=6).map(json.dumps) | st.text() | st.binary()))
def test_no_message_can_break_it(messages: list[str | bytes]) -> None:
    """Any bytes get a decision; an error leaves the selection as it was; the team never changes."""
    session = Session("red", open_token)
    for message in messages:
        before = session.selection
        decision = session.receive(message)
        assert isinstance(decision, Reply | Select | Close)
        if not isinstance(decision, Select):
            assert session.selection == before
        assert session.selection.team == "red"
