"""Whatever is registered and whatever happens, the planner agrees with the plainest reading of its rules."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.projections.filter import matches
from monitor.projections.fold import Release
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.planner import Planner, delivery_id
from tests.support.webhooks import BODIES, NOW_US, make_endpoint, make_release

TEAMS = st.sampled_from(["red", "blue"])
WORKFLOWS = st.sampled_from(["wf_1", "wf_2", "wf_3"])
OFFSETS = st.integers(0, 5)
TYPES = ["execution.failed", "execution.completed", "node.failed", "execution.invented", "vendor.invented"]
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "workflowId": st.lists(WORKFLOWS, min_size=1, max_size=2)
        | st.fixed_dictionaries({"ne": st.lists(WORKFLOWS, min_size=1, max_size=2)}),
        "status": st.sampled_from(["failed", "success"]),
    },
)
ENDPOINTS = st.lists(
    st.builds(
        make_endpoint,
        st.uuids().map(str),
        team=TEAMS,
        events=st.lists(st.sampled_from([*TYPES[:3], "execution.*", "node.*", "*"]), min_size=1, max_size=3).map(tuple),
        filters=FILTERS,
        status=st.sampled_from(["active", "active", "paused", "disabled"]),
        since=st.dictionaries(st.integers(0, 1), OFFSETS),
    ),
    max_size=6,
)
RELEASES = st.lists(
    st.builds(
        make_release,
        st.sampled_from(TYPES),
        team=TEAMS,
        execution_id=st.sampled_from(["exec_1", "exec_2"]),
        workflow_id=WORKFLOWS,
        event_id=st.uuids().map(str),
        partition=st.integers(0, 1),
        offset=OFFSETS,
        backfill=st.booleans(),
    ),
    max_size=8,
)
PLANNED = st.dictionaries(st.integers(0, 1), OFFSETS)


def is_owed(endpoint: Endpoint, release: Release, planned: dict[int, int]) -> bool:
    """The rules, one a line."""
    event = release.event
    partition, offset = event.record.partition, event.record.offset
    family = event.type.partition(".")[0]
    return (
        endpoint.team == event.team
        and not event.backfill
        and offset >= endpoint.since.get(partition, 0)
        and offset >= planned.get(partition, 0)
        and not {event.type, f"{family}.*", "*"}.isdisjoint(endpoint.events)
        and matches(endpoint.filter, release)
    )


@given(ENDPOINTS, RELEASES, PLANNED)
def test_exactly_the_rules_decide_who_is_owed(
    endpoints: list[Endpoint], releases: list[Release], planned: dict[int, int]
) -> None:
    """Tables and shortcuts add no delivery and lose none; no team is owed another one's event."""
    owed = [(one.id, one.team) for one in Planner(endpoints, BODIES).plan(releases, planned, NOW_US)]
    expected = [
        (delivery_id(endpoint, release), endpoint.team)
        for release in releases
        for endpoint in endpoints
        if is_owed(endpoint, release, planned)
    ]
    assert sorted(owed) == sorted(expected)


@given(ENDPOINTS, RELEASES, PLANNED)
def test_planning_again_gives_the_same(
    endpoints: list[Endpoint], releases: list[Release], planned: dict[int, int]
) -> None:
    """Another process that plans the same batch owes the same deliveries with the same bytes."""
    once, again = (Planner(endpoints, BODIES).plan(releases, planned, NOW_US) for _ in range(2))
    assert once == again
