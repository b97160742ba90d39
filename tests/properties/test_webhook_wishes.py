"""However a webhook is changed, it is shown as it was wished for, and what is shown can be wished for again."""

import asyncio
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.webhooks.endpoint import OPERATOR_TYPES, OPERATOR_WILDCARDS, WILDCARDS
from tests.support.house import open_house
from tests.support.webhook_house import client_of, register

TOKENS = st.text("abcdefghij0123456789-", min_size=1, max_size=8).map(lambda it: f"X-{it}")
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    # Of one host: to another one headers do not move by themselves.
    "url": st.from_regex(r"https://example\.com/[a-z/]{0,9}(\?[a-z]=[0-9])?", fullmatch=True),
    "events": st.lists(st.sampled_from([*WILDCARDS, "execution.failed", "node.started"]), min_size=1, unique=True),
    "filters": st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["failed", {"ne": "success"}, ["crashed", "failed"]]),
            "duration": st.fixed_dictionaries({"gte": st.integers(0, 10**6).map(lambda it: it / 1000)}),
            "workflowId": st.text("abc_:/.ä", min_size=1, max_size=9),
        },
    ),
    "name": st.none() | st.text("abc \u00fc\u4e2d\U0001f514", min_size=1, max_size=100).filter(str.strip),
    "headers": st.dictionaries(TOKENS, st.from_regex(r"[!-~]([ -~]{0,8}[!-~])?", fullmatch=True), max_size=4).filter(
        lambda it: len({name.lower() for name in it}) == len(it) and "***" not in it.values()
    ),
    "payload": st.sampled_from(["full", "thin"]),
    "ordering": st.sampled_from(["none", "execution", "strict"]),
    "onExhausted": st.sampled_from(["skip", "halt"]),
    "maxInFlight": st.integers(1, 32),
    "rateLimit": st.none() | st.fixed_dictionaries({"perSecond": st.floats(0.01, 1000), "burst": st.integers(1, 1000)}),
    "retrySchedule": st.none() | st.lists(st.integers(1, 17_280), min_size=1, max_size=20),
    "timeoutSeconds": st.floats(1, 30),
    "giveUpOn": st.lists(st.integers(300, 599), unique=True, max_size=20).map(sorted),
    "obeyReceiver": st.booleans(),
}
SHOWN_ALONE = ("id", "status", "reason", "createdAt", "updatedAt")


def shown(changes: dict[str, Any]) -> dict[str, Any]:
    """As answers show it."""
    if "headers" not in changes:
        return changes
    return changes | {"headers": dict.fromkeys(changes["headers"], "***")}


async def patched(client: httpx.AsyncClient, path: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The webhook after a change, as both answers show it."""
    answer = await client.patch(path, json=changes)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (await client.get(path)).json() == found
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=CHANGES), min_size=1, max_size=4))
def test_changes_are_shown_and_what_is_shown_changes_nothing(steps: list[dict[str, Any]]) -> None:
    """Each named member is as it was wished for, each other one as it was before."""

    async def go_through() -> None:
        async with client_of(await open_house()) as client:
            expected = await register(client, url="https://example.com/hook")
            del expected["secret"]
            path = f"/v1/webhooks/{expected['id']}"
            for changes in steps:
                found = await patched(client, path, changes)
                expected |= shown(changes) | {"updatedAt": found["updatedAt"]}
                assert found == expected
                again = {name: value for name, value in found.items() if name not in SHOWN_ALONE}
                assert await patched(client, path, again) == found

    asyncio.run(go_through())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*WILDCARDS, "execution.failed", *OPERATOR_TYPES, *OPERATOR_WILDCARDS]), min_size=1),
    st.fixed_dictionaries({}, optional={name: CHANGES[name] for name in ("filters", "payload", "ordering")}),
)
def test_endpoint_hears_of_executions_or_of_webhooks(events: list[str], wish: dict[str, Any]) -> None:
    """Never of both, and of webhooks without what belongs to executions."""
    about_webhooks = {*OPERATOR_TYPES, *OPERATOR_WILDCARDS}
    is_plain = (
        not wish.get("filters") and wish.get("payload", "full") == "full" and wish.get("ordering") in (None, "none")
    )
    is_fine = about_webhooks.isdisjoint(events) or (about_webhooks.issuperset(events) and is_plain)

    async def ask() -> int:
        async with client_of(await open_house()) as client:
            body = {"url": "https://example.com/", "events": events, **wish}
            return (await client.post("/v1/webhooks", json=body)).status_code

    assert asyncio.run(ask()) == (201 if is_fine else 422)
