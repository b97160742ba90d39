"""What webhooks say of themselves is what the contract tells."""

import json
from typing import Any

import pytest

from monitor.app import spoken
from monitor.web.async_contract import asyncapi
from monitor.webhooks.lane import Lane, after
from monitor.webhooks.notices import Notice, plan_notices
from tests.support.spoken import Contract
from tests.support.webhooks import NOW_US, make_endpoint

CONTRACT = Contract(asyncapi(spoken()))
ABOUT = make_endpoint("wh_about", key=1, name="Billing")
HEARER = make_endpoint("wh_hears", key=2, events=("endpoint.*", "delivery.*", "lane.*"))


def body_of(notice: Notice) -> Any:
    """What a webhook receives of it."""
    [owed] = plan_notices([notice], [HEARER], NOW_US)
    return json.loads(owed.body)


def test_a_lane_in_trouble_is_told_as_the_contract_says() -> None:
    """The warning, and that it works again."""
    failing = after(Lane(failures=30, failing_since_us=NOW_US - 3 * 86_400_000_000), ABOUT, "failed", 0, NOW_US)
    recovered = after(failing.lane, ABOUT, "ok", 0, NOW_US)
    notices = [Notice(it.type, ABOUT, it.members) for it in (*failing.notices, *recovered.notices)]
    assert [it.type for it in notices] == ["endpoint.failing", "endpoint.recovered"]
    assert [fault for it in notices for fault in CONTRACT.faults("webhook", body_of(it))] == []


@pytest.mark.parametrize("members", [{"held": 5}, {"held": 5, "limit": 4, "surplus": 1}, {"held": "5", "limit": 4}])
def test_what_the_contract_does_not_tell_is_found(members: dict[str, object]) -> None:
    """So that silence says something."""
    told = Notice("lane.backlog", ABOUT, {"held": 5, "limit": 4})
    assert CONTRACT.faults("webhook", body_of(told)) == []
    assert CONTRACT.faults("webhook", body_of(told._replace(members=members)))
