"""Channels and subscriptions: what is named, what passes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import InvalidRequest
from monitor.fanout.channels import VALUES_OF, Selection, Subscription, channel, channels_of, event_pattern
from monitor.projections.filter import parse_json
from monitor.projections.fold import Release
from tests.support.webhooks import make_release

EVERYTHING = frozenset({"executions"})


@pytest.mark.parametrize("said", ["executions", "workflow:wf 1", "execution:n8n:prod:17", "execution:" + "x" * 256])
def test_channels_are_taken_as_they_are(said: str) -> None:
    """Ids hold whatever ids hold, colons too."""
    assert channel(said) == said


@pytest.mark.parametrize(
    "said",
    ["", "everything", "executions:", "workflow", "workflow:", "execution:" + "x" * 257, "execution:a\nb", None, 7, []],
)
def test_other_words_are_no_channels(said: object) -> None:
    """The error names what was said and what would do."""
    with pytest.raises(InvalidRequest, match="channels are 'executions'") as refused:
        channel(said)
    assert refused.value.details == {"field": "channels"}


@pytest.mark.parametrize("said", ["*", "execution.*", "node.completed", "vendor.thing.done", "vendor.thing.*"])
def test_patterns_are_types_or_families(said: str) -> None:
    """Unknown types can be asked for: they are forwarded as well."""
    assert event_pattern(said) == said


@pytest.mark.parametrize("said", ["", "*.failed", "execution.", "exec*", "a b", "x" * 257, None, {}])
def test_other_patterns_are_refused(said: object) -> None:
    """A star stands at the end, behind a dot, or alone."""
    with pytest.raises(InvalidRequest, match="no event type"):
        event_pattern(said)


def wants(subscription: Subscription, name: str) -> bool:
    """Whether a subscription wants an event of this type."""
    return subscription.wants(make_release(name))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("execution.started", True),
        ("node.completed", True),
        ("execution.conflict", True),
        ("command.accepted", True),
        ("vendor.invented", True),
        ("execution.progress", False),
        ("execution.heartbeat", False),
        ("node.progress", False),
        ("log.appended", False),
    ],
)
def test_lifecycle_is_what_nobody_has_to_ask_for(name: str, wanted: bool) -> None:
    """Progress, heartbeats and logs are asked for; unknown types count as lifecycle."""
    assert wants(Subscription(EVERYTHING), name) is wanted


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("execution.*", "execution.progress", True),
        ("execution.*", "node.completed", False),
        ("execution.*", "executions.started", False),
        ("node.failed", "node.failed", True),
        ("node.failed", "node.completed", False),
        ("vendor.*", "vendor.thing.done", True),
        ("vendor.thing.*", "vendor.thing.done", True),
        ("*", "log.appended", True),
    ],
)
def test_patterns_decide_where_there_are_any(pattern: str, name: str, wanted: bool) -> None:
    """Exact types, families of any depth, and everything."""
    assert wants(Subscription(EVERYTHING, frozenset({pattern})), name) is wanted


@pytest.mark.parametrize("events", [None, frozenset({"node.failed"})])
def test_logs_come_beside_whatever_else_is_wanted(events: frozenset[str] | None) -> None:
    """`logs` adds, it never takes away."""
    subscription = Subscription(EVERYTHING, events, logs=True)
    assert wants(subscription, "log.appended")
    assert wants(subscription, "node.failed")


def test_filters_look_at_the_state_that_the_event_left_behind() -> None:
    """The grammar of lists and webhooks."""
    subscription = Subscription(EVERYTHING, filter=parse_json({"workflowId": "wf_1"}))
    assert subscription.wants(make_release("node.completed", workflow_id="wf_1"))
    assert not subscription.wants(make_release("node.completed", workflow_id="wf_2"))


def one_of_each(release: Release) -> list[Selection]:
    """A selection for every channel of a release."""
    team = release.event.team
    return [Selection(team, frozenset({Subscription(frozenset({name}))})) for name in channels_of(release)]


def test_a_release_is_in_three_channels() -> None:
    """Its team's, its workflow's, its own."""
    release = make_release("node.completed")
    assert all(selection.matches(release) for selection in one_of_each(release))


def test_selections_are_of_one_team() -> None:
    """Equal names elsewhere are somebody else's."""
    red, blue = make_release("node.completed", team="red"), make_release("node.completed", team="blue")
    assert not any(selection.matches(blue) for selection in one_of_each(red))


@pytest.mark.parametrize(
    ("subscription", "keys"),
    [
        (Subscription(EVERYTHING), {("all", "")}),
        (Subscription(frozenset({"execution:a", "workflow:b"})), {("execution", "a"), ("workflow", "b")}),
        (
            Subscription(EVERYTHING, filter=parse_json({"workflowId": ["a", "b"]})),
            {("workflow", "a"), ("workflow", "b")},
        ),
        (Subscription(frozenset({"workflow:b"}), filter=parse_json({"id": "a"})), {("execution", "a")}),
        (Subscription(EVERYTHING, frozenset({"node.failed"})), {("type", "node.failed")}),
        (
            Subscription(EVERYTHING, frozenset({"node.failed"}), logs=True),
            {("type", "node.failed"), ("type", "log.appended")},
        ),
        (Subscription(EVERYTHING, frozenset({"node.*"})), {("all", "")}),
        (Subscription(EVERYTHING, filter=parse_json({"status": {"ne": "failed"}})), {("all", "")}),
        (Subscription(EVERYTHING, filter=parse_json({"status": "failed", "tag": "x"})), {("tag", "x")}),
        (Subscription(EVERYTHING, filter=parse_json({"duration": {"gte": 5}})), {("all", "")}),
    ],
)
def test_releases_are_looked_up_where_fewest_others_are(subscription: Subscription, keys: set[tuple[str, str]]) -> None:
    """So that a thousand different filters cost one look into a dictionary."""
    assert subscription.keys == keys


SUBSCRIPTIONS = st.builds(
    Subscription,
    st.sets(st.sampled_from(["executions", "workflow:wf_1", "workflow:wf_2", "execution:exec_1"]), min_size=1).map(
        frozenset
    ),
    st.none() | st.sets(st.sampled_from(["node.failed", "node.*", "execution.started"]), min_size=1).map(frozenset),
    st.fixed_dictionaries(
        {},
        optional={
            "workflowId": st.sampled_from(["wf_1", "wf_2"]),
            "status": st.sampled_from(["running", "failed"]),
            "tag": st.sampled_from(["blue", "red"]),
            "mode": st.just("manual"),
            "id": st.sampled_from(["exec_1", "exec_2"]),
        },
    ).map(parse_json),
    st.booleans(),
)


RELEASES = st.builds(
    lambda name, **members: msgspec.structs.replace(make_release(name), **members),
    st.sampled_from(["node.failed", "node.completed", "execution.started", "log.appended"]),
    workflow_id=st.sampled_from(["wf_1", "wf_2"]),
    status=st.sampled_from(["running", "failed"]),
    tags=st.lists(st.sampled_from(["blue", "red"]), unique=True),
    mode=st.none() | st.just("manual"),
)


@given(SUBSCRIPTIONS, RELEASES)
def test_whatever_is_wanted_is_found(subscription: Subscription, release: Release) -> None:
    """A release that a selection matches stands under one of the selection's keys."""
    selection = Selection(release.event.team, frozenset({subscription}))
    if selection.matches(release):
        found = {(dimension, value) for dimension, of in VALUES_OF.items() for value in of(release)}
        assert selection.keys & found


def test_channel_and_filter_must_fit_in_the_same_subscription() -> None:
    """Two subscriptions add up; they do not mix."""
    selection = Selection(
        "default",
        frozenset(
            {
                Subscription(frozenset({"workflow:wf_1"}), frozenset({"node.failed"})),
                Subscription(frozenset({"workflow:wf_2"}), frozenset({"node.completed"})),
            }
        ),
    )
    assert not selection.matches(make_release("node.completed", team="default", workflow_id="wf_1"))
    assert selection.matches(make_release("node.completed", team="default", workflow_id="wf_2"))


def test_equal_selections_are_one() -> None:
    """However their subscriptions came about, so that their connections share one group."""
    one = Subscription(frozenset({"executions"}), filter=parse_json({"status": ["failed", "timeout"]}))
    same = Subscription(frozenset({"executions"}), filter=parse_json({"status": ["failed", "timeout"]}))
    assert len({Selection("red", frozenset({one})), Selection("red", frozenset({same}))}) == 1
