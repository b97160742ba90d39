"""The session decides about every message without touching anything."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import InvalidPosition
from monitor.events.position import Position
from monitor.fanout.channels import Subscription
from monitor.projections.filter import parse_json
from monitor.streams.session import (
    CLOSE_CODES,
    MAX_CHANNELS,
    MAX_MESSAGE_CHARACTERS,
    Close,
    Decision,
    Reply,
    Select,
    Session,
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


def test_a_subscription_selects_for_the_sessions_team(session: Session) -> None:
    """Whatever the message says."""
    decision = tell(
        session,
        type="subscribe",
        channels=["executions"],
        events=["execution.*"],
        filter={"status": ["failed"]},
        logs=True,
        position="here",
        id="a",
    )
    subscription = Subscription(
        frozenset({"executions"}), frozenset({"execution.*"}), parse_json({"status": ["failed"]}), logs=True
    )
    assert isinstance(decision, Select)
    assert (decision.selection.team, decision.selection.subscriptions) == ("red", frozenset({subscription}))
    assert decision.start == HERE
    assert decision.reply == Reply("stream.subscribed", {"channels": ["executions"], "id": "a"})
    assert session.selection == decision.selection


@pytest.mark.parametrize(
    ("said", "start"), [({}, None), ({"position": "now"}, "now"), ({"position": "earliest"}, "earliest")]
)
def test_a_subscription_begins_where_it_says(session: Session, said: dict[str, str], start: object) -> None:
    """Without a word: where the connection stands."""
    decision = tell(session, type="subscribe", channels=["executions"], **said)
    assert isinstance(decision, Select)
    assert decision.start == start
    assert decision.selection.backfill is (start == "earliest")


def test_subscriptions_add_up_and_equal_ones_are_one(session: Session) -> None:
    """Asking twice changes nothing."""
    for channels in (["executions"], ["workflow:a", "workflow:b"], ["executions"]):
        tell(session, type="subscribe", channels=channels)
    assert len(session.selection.subscriptions) == 2
    assert session.selection.channels == {"executions", "workflow:a", "workflow:b"}


def test_channels_leave_every_subscription(session: Session) -> None:
    """Those without any left vanish; without names all of them go."""
    tell(session, type="subscribe", channels=["executions", "workflow:a"])
    tell(session, type="subscribe", channels=["executions"], events=["*"])
    decision = tell(session, type="unsubscribe", channels=["executions"])
    assert isinstance(decision, Select)
    assert decision.reply == Reply("stream.unsubscribed", {"channels": ["workflow:a"]})
    assert len(session.selection.subscriptions) == 1
    tell(session, type="unsubscribe")
    assert session.selection.subscriptions == frozenset()


def test_a_connection_takes_a_hundred_channels(session: Session) -> None:
    """The next one is refused and what was there stays; with one less there is room again."""
    for number in range(MAX_CHANNELS):
        assert isinstance(tell(session, type="subscribe", channels=[f"execution:{number}"]), Select)
    before = session.selection
    refused = tell(session, type="subscribe", channels=["execution:one-more"], id=1)
    assert isinstance(refused, Reply)
    assert (refused.name, refused.members["code"], refused.members["id"]) == ("stream.error", "INVALID_REQUEST", 1)
    assert session.selection == before
    tell(session, type="unsubscribe", channels=["execution:0"])
    assert isinstance(tell(session, type="subscribe", channels=["execution:one-more"]), Select)


def test_a_ping_is_answered(session: Session) -> None:
    """For clients that cannot see the protocol's own."""
    assert tell(session, type="ping") == Reply("stream.pong", {})


def test_a_message_too_large_is_not_even_read(session: Session) -> None:
    """One character more than is taken."""
    assert isinstance(session.receive("x" * MAX_MESSAGE_CHARACTERS), Reply)
    assert session.receive("x" * (MAX_MESSAGE_CHARACTERS + 1)) == Close("too_large")
    assert "too_large" in CLOSE_CODES


WORDS = st.sampled_from(["subscribe", "unsubscribe", "ping", "executions", "workflow:a", "execution.*", "here", "now"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | WORDS, inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(["type", "channels", "events", "filter", "position", "logs", "id", "other"])


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
        assert len(session.selection.channels) <= MAX_CHANNELS
