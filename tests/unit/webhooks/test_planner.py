"""The planner owes an event to exactly those endpoints that asked for it."""

import string
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from monitor.webhooks.planner import Planner, delivery_id
from tests.support.webhooks import BODIES, NOW_US, make_endpoint, make_release


def wanted(events: tuple[str, ...], type_: str) -> bool:
    """Whether an endpoint with these `events` is owed an event of this type."""
    return bool(Planner([make_endpoint(events=events)], BODIES).plan([make_release(type_)], {}, NOW_US))


@pytest.mark.parametrize(
    ("events", "type_", "expected"),
    [
        (("execution.failed",), "execution.failed", True),
        (("execution.failed",), "execution.completed", False),
        (("execution.failed", "execution.completed"), "execution.completed", True),
        (("execution.*",), "execution.recovered", True),
        (("execution.*",), "execution.invented", True),
        (("execution.*",), "node.failed", False),
        (("node.*",), "node.invented", True),
        (("node.*",), "execution.failed", False),
        (("*",), "log.appended", True),
        (("*",), "vendor.invented", True),
        (("node.*", "execution.*"), "vendor.invented", False),
    ],
)
def test_types_and_wildcards_choose(events: tuple[str, ...], type_: str, expected: bool) -> None:
    """A type by its name, a family by its wildcard, everything by the star; unknown types by wildcards alone."""
    assert wanted(events, type_) is expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"workflowId": "wf_1"}, True),
        ({"workflowId": ["wf_0", "wf_1"]}, True),
        ({"workflowId": "wf_2"}, False),
        ({"workflowId": {"ne": "wf_1"}}, False),
        ({"workflowId": {"eq": ["wf_1", "wf_2"], "ne": "wf_1"}}, False),
        ({"workflowId": "wf_1", "status": "failed"}, True),
        ({"workflowId": "wf_1", "status": "timeout"}, False),
        ({"mode": "webhook", "duration": {"gte": 15}}, True),
        ({"duration": {"gt": 20}}, False),
    ],
)
def test_filter_chooses(filters: Mapping[str, Any], expected: bool) -> None:
    """The filter is that of lists and streams, asked of the state that the event left behind."""
    planner = Planner([make_endpoint(filters=filters)], BODIES)
    assert bool(planner.plan([make_release()], {}, NOW_US)) is expected


def test_every_endpoint_that_asked_is_owed_one_delivery() -> None:
    """Endpoints that name the workflow and endpoints that do not are both served, each under its own id."""
    endpoints = [
        make_endpoint("wh_1", key=1, filters={"workflowId": "wf_1"}),
        make_endpoint("wh_2", key=2),
        make_endpoint("wh_3", key=3, filters={"workflowId": "wf_2"}),
    ]
    release = make_release(offset=7)
    owed = Planner(endpoints, BODIES).plan([release], {}, NOW_US)
    assert {(one.endpoint_key, one.id) for one in owed} == {
        (endpoint.key, delivery_id(endpoint, release)) for endpoint in endpoints[:2]
    }
    assert {(one.event_id, one.event_type, one.execution_id, one.due_us) for one in owed} == {
        ("ev_1", "execution.failed", "exec_1", NOW_US)
    }
    assert owed[0].body is owed[1].body


def test_endpoints_share_a_body_in_each_of_its_forms() -> None:
    """Each form is made once for an event: a thousand endpoints cost no thousand encodings, and are stored once."""
    endpoints = [
        make_endpoint(f"wh_{key}", key=key, payload=payload)
        for key, payload in enumerate(["full", "thin", "full", "thin"], 1)
    ]
    release = make_release(data={"n": 1})
    owed = Planner(endpoints, BODIES).plan([release], {}, NOW_US)
    full, thin = BODIES.of(release, thin=False), BODIES.of(release, thin=True)
    assert {one.endpoint_key: one.body for one in owed} == {1: full, 2: thin, 3: full, 4: thin}
    assert len({id(one.body) for one in owed}) == 2


@pytest.mark.parametrize("event_id", ["a.b", "a\u2028b", "a\r\nb: c", "x" * 10_000, "🚀", "id with spaces", ""])
def test_case_42_delivery_id_is_fit_for_a_header(event_id: str) -> None:
    """Whatever an event's id is made of, the delivery's holds letters and digits after its prefix."""
    prefix, _, mark = delivery_id(make_endpoint(), make_release(event_id=event_id)).partition("_")
    assert (prefix, len(mark), set(mark) - set(string.ascii_letters + string.digits)) == ("msg", 32, set())


def test_case_42_delivery_id_stays_the_same_across_releases_of_the_service() -> None:
    """It is stored, and receivers remember it: a change of the hash would deliver everything owed a second time."""
    assert delivery_id(make_endpoint(), make_release()) == "msg_ca9efc2b3d34af897381d6d0ad054077"


def test_equal_event_ids_of_two_executions_are_two_deliveries() -> None:
    """Producers number their events per execution."""
    ids = {delivery_id(make_endpoint(), make_release(execution_id=id_)) for id_ in ("exec_1", "exec_2")}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("partition", "offset", "expected"), [(0, 9, False), (0, 10, True), (1, 4, False), (1, 5, True), (2, 0, True)]
)
def test_endpoint_hears_nothing_older_than_itself(partition: int, offset: int, expected: bool) -> None:
    """It starts at the journal's end at its registration; one that is added later is heard in full."""
    planner = Planner([make_endpoint(since={0: 10, 1: 5})], BODIES)
    assert bool(planner.plan([make_release(partition=partition, offset=offset)], {}, NOW_US)) is expected


@pytest.mark.parametrize(("offset", "expected"), [(99, False), (100, True)])
def test_rebuild_owes_nothing_again(offset: int, expected: bool) -> None:
    """Records below the partition's planned offset were planned before."""
    assert bool(Planner([make_endpoint()], BODIES).plan([make_release(offset=offset)], {0: 100}, NOW_US)) is expected


def test_imported_history_is_not_sent() -> None:
    """Backfill changes state and statistics only."""
    assert Planner([make_endpoint()], BODIES).plan([make_release(backfill=True)], {}, NOW_US) == []


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_case_50_endpoint_that_is_switched_off_is_owed_too(status: Any) -> None:
    """What happens meanwhile waits for whoever resumes it."""
    assert len(Planner([make_endpoint(status=status)], BODIES).plan([make_release()], {}, NOW_US)) == 1


@pytest.mark.parametrize(("ordering", "key"), [("none", None), ("execution", "exec_1"), ("strict", "")])
def test_case_51_order_is_part_of_what_is_owed(ordering: Any, key: str | None) -> None:
    """Deliveries of one order wait for each other."""
    (owed,) = Planner([make_endpoint(ordering=ordering)], BODIES).plan([make_release()], {}, NOW_US)
    assert owed.order_key == key


def made_bytes(events: tuple[str, ...]) -> int:
    """What a planner for endpoints that want these events and name a hundred workflows each takes while it is made."""
    filters = {"workflowId": [f"wf_{number}" for number in range(100)]}
    endpoints = [make_endpoint(f"wh_{key}", key=key, events=events, filters=filters) for key in range(100)]
    tracemalloc.start()
    Planner(endpoints, BODIES)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak_bytes


def test_making_a_planner_costs_no_more_for_whoever_wants_everything() -> None:
    """It is made while events wait, whenever somebody changes an endpoint: not once for each type that there is."""
    assert made_bytes(("*",)) <= 1.5 * made_bytes(("execution.failed",))
