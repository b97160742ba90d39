"""Whoever asked for it hears of webhooks in trouble; nobody hears of those who hear."""

import json
from typing import Any

import pytest

from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import OPERATOR_TYPES
from monitor.webhooks.lane import Lane, after
from monitor.webhooks.notices import NOTICES, About, Notice, plan_notices
from tests.support.webhooks import NOW_US, make_endpoint

ABOUT = make_endpoint("wh_about", key=1, name="Billing")
HEARER = make_endpoint("wh_hears", key=2, events=("endpoint.*",))
DISABLED = Notice("endpoint.disabled", ABOUT, {"reason": "gone"})


def planned(*notices: Notice, hearer: dict[str, Any] | None = None, now_us: int = NOW_US) -> list[Planned]:
    """What is owed to an endpoint that hears of endpoints."""
    members: dict[str, Any] = {"key": 2, "events": ("endpoint.*",)} | (hearer or {})
    return plan_notices(notices, [ABOUT, make_endpoint("wh_hears", **members)], now_us)


def test_notice_is_a_delivery_like_any_other() -> None:
    """The body has the members that every webhook has, and says in `data` which endpoint it is about."""
    (owed,) = planned(DISABLED)
    assert (owed.endpoint_key, owed.event_type, owed.team, owed.execution_id) == (2, "endpoint.disabled", "default", "")
    assert (owed.due_us, owed.order_key) == (NOW_US, None)
    assert json.loads(owed.body) == {
        "event": "endpoint.disabled",
        "timestamp": "2026-11-22T10:30:00.000Z",
        "data": {"webhookId": "wh_about", "name": "Billing", "reason": "gone"},
        "id": owed.event_id,
        "type": "endpoint.disabled",
    }


@pytest.mark.parametrize(
    ("events", "hears"),
    [
        (("endpoint.*",), True),
        (("endpoint.disabled", "execution.failed"), True),
        (("endpoint.failing",), False),
        (("delivery.*",), False),
        (("*",), False),
        (("execution.*", "node.*"), False),
    ],
)
def test_only_those_hear_who_named_it(events: tuple[str, ...], *, hears: bool) -> None:
    """By type or wildcard; `*` means what happens to executions."""
    assert bool(planned(DISABLED, hearer={"events": events})) is hears


def test_teams_hear_of_their_own() -> None:
    """Another team's endpoint hears nothing."""
    assert planned(DISABLED, hearer={"team": "red"}) == []


def test_case_55_trouble_of_those_who_hear_is_told_to_nobody() -> None:
    """Two of them would keep each other busy for ever; it does not help to want executions as well."""
    other = make_endpoint("wh_other", key=3, events=("lane.backlog", "execution.*"))
    assert plan_notices([DISABLED._replace(about=HEARER)], [HEARER, other], NOW_US) == []
    assert plan_notices([DISABLED._replace(about=other)], [HEARER, other], NOW_US) == []


def test_telling_twice_is_telling_once() -> None:
    """The same of the same moment has the same id; anything else has another, for each who hears it."""
    of_others = [
        DISABLED,
        DISABLED._replace(members={"reason": "failing"}),
        DISABLED._replace(type="endpoint.recovered"),
        DISABLED._replace(about=make_endpoint("wh_x", key=9, name="Billing")),
    ]
    owed = planned(*of_others) + planned(DISABLED, now_us=NOW_US + 1)
    owed += plan_notices([DISABLED], [make_endpoint("wh_third", key=3, events=("endpoint.*",))], NOW_US)
    assert len({it.id for it in owed}) == 6
    assert planned(DISABLED) == planned(DISABLED)
    assert [it.id for it in planned(DISABLED, DISABLED)] == [owed[0].id] * 2


@pytest.mark.parametrize(("ordering", "order_key"), [("none", None), ("execution", "wh_about"), ("strict", "")])
def test_notices_keep_the_order_that_was_asked_for(ordering: str, order_key: str | None) -> None:
    """By the webhook that they tell of, as others by execution."""
    (owed,) = planned(DISABLED, hearer={"ordering": ordering})
    assert owed.order_key == order_key


def test_every_type_has_its_members_written_down() -> None:
    """What lanes tell has these, and no others."""
    assert tuple(NOTICES) == OPERATOR_TYPES
    failing = Lane(failures=30, failing_since_us=NOW_US - 3 * 86_400_000_000)
    warned = after(failing, ABOUT, "failed", 0, NOW_US)
    recovered = after(warned.lane, ABOUT, "ok", 0, NOW_US)
    notices = [*warned.notices, *recovered.notices]
    told = {it.type: {*it.members, *About.__annotations__} for it in notices}
    assert told == {type_: {*NOTICES[type_].__annotations__} for type_ in ("endpoint.failing", "endpoint.recovered")}
