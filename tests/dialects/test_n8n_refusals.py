"""What n8n's dialect refuses: a status that clients know, one member `message`, and nothing has changed."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import httpx
import pytest

from monitor.events.model import MAX_ID_CHARACTERS
from tests.dialects.test_n8n_captures import keyed
from tests.support.commanding import commanding
from tests.support.vectors import Player

AT: Final = "/api/v1/executions"
NOT_THERE: Final = "Execution not found"
STILL_RUNS: Final = "Cannot retry a running or waiting execution"
NOT_DELETED: Final = "Cannot delete a running execution"
DEEP: Final = b'{"filter":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"


def event(execution_id: str, name: str, **data: Any) -> dict[str, Any]:
    """Of a workflow that some engine runs."""
    about = {"executionId": execution_id, "workflowId": "wf", "timestamp": "2026-11-22T10:30:00Z"}
    return {**about, "type": f"execution.{name}", "data": data}


TOLD: Final = (
    event("queued", "queued"),
    event("running", "started"),
    event("waiting", "waiting", kind="webhook"),
    event("success", "completed"),
    event("failed", "failed"),
)
THEIRS: Final = event("theirs", "failed")

READS: Final[Mapping[str, tuple[int, str]]] = {
    "/unknown": (404, NOT_THERE),
    "/theirs": (404, NOT_THERE),
    "/unknown/tags": (404, NOT_THERE),
    f"/{'x' * (MAX_ID_CHARACTERS + 1)}": (404, NOT_THERE),
    "/%00": (404, NOT_THERE),
    "/running/nothing": (404, "not found"),
    "/success?includeData=yes": (400, "'includeData' does not know 'yes'"),
    "?status=failed": (400, "'status' does not know 'failed'"),
    "?status=SUCCESS": (400, "'status' does not know 'SUCCESS'"),
    "?status=success,error": (400, "'status' does not know 'success,error'"),
    "?status=success&status=error": (400, "'status' is given 2 times"),
    "?status=": (400, "'status' does not know ''"),
    "?cursor=garbage": (400, "An invalid cursor was provided"),
    "?cursor=eyJsYXN0SWQiOiIzIiwibGltaXQiOjJ9": (400, "An invalid cursor was provided"),
    "?cursor=": (400, "An invalid cursor was provided"),
    "?lastId=unknown": (404, NOT_THERE),
    "?lastId=theirs": (404, NOT_THERE),
    "?limit=0": (400, "'limit' is a whole number from 1"),
    "?limit=-1": (400, "'limit' is a whole number from 1"),
    "?limit=abc": (400, "'limit' is a whole number from 1"),
    "?limit=1e3": (400, "'limit' is a whole number from 1"),
    "?limit=٣": (400, "'limit' is a whole number from 1"),
    "?startedAfter=2026-11-22": (400, "'startedAfter' is not an RFC 3339 time"),
    "?startedBefore=soon": (400, "'startedBefore' is not an RFC 3339 time"),
    "?startedAfter=2026-11-22T10:00:00": (400, "'startedAfter' names no offset from UTC"),
    "?sort=id": (400, "unknown parameter 'sort'"),
}

CHANGES: Final[Mapping[str, tuple[str, str, Any, int, str]]] = {
    "stop an unknown one": ("POST", "/unknown/stop", None, 404, NOT_THERE),
    "stop another team's": ("POST", "/theirs/stop", None, 404, NOT_THERE),
    "stop one that has ended": (
        *("POST", "/success/stop", None, 409),
        "Only running or waiting executions can be stopped and success is currently success",
    ),
    "retry an unknown one": ("POST", "/unknown/retry", {}, 404, NOT_THERE),
    "retry a running one": ("POST", "/running/retry", {}, 409, STILL_RUNS),
    "retry a queued one": ("POST", "/queued/retry", {}, 409, STILL_RUNS),
    "retry a waiting one": ("POST", "/waiting/retry", {}, 409, STILL_RUNS),
    "retry a success": (
        *("POST", "/success/retry", {}, 409),
        "The execution succeeded, so it cannot be retried.",
    ),
    "retry otherwise": ("POST", "/failed/retry", {"loadWorkflow": "yes"}, 400, "'loadWorkflow'"),
    "retry with a text": ("POST", "/failed/retry", b"x=1", 415, "send the body as application/json"),
    "delete a running one": ("DELETE", "/running", None, 400, NOT_DELETED),
    "delete an unknown one": ("DELETE", "/unknown", None, 404, NOT_THERE),
    "delete another team's": ("DELETE", "/theirs", None, 404, NOT_THERE),
    "delete none": ("POST", "/delete", {"ids": []}, 400, "'ids'"),
    "delete without ids": ("POST", "/delete", {}, 400, "'ids'"),
    "delete numbers": ("POST", "/delete", {"ids": [1]}, 400, "'ids.0'"),
    "delete too many": ("POST", "/delete", {"ids": [str(it) for it in range(1001)]}, 400, "'ids'"),
    "delete ten thousand": ("POST", "/delete", {"ids": [str(it) for it in range(10_000)]}, 413, "the body is larger"),
    "delete with one unknown": ("POST", "/delete", {"ids": ["success", "unknown"]}, 404, NOT_THERE),
    "delete with one of another team": ("POST", "/delete", {"ids": ["success", "theirs"]}, 404, NOT_THERE),
    "delete with one that runs": ("POST", "/delete", {"ids": ["success", "running"]}, 400, NOT_DELETED),
    "stop many, flat": ("POST", "/stopMany", {"status": ["running"]}, 400, "unknown member 'status'"),
    "stop, nested": ("POST", "/stop", {"filter": {"status": ["running"]}}, 400, "unknown member 'filter'"),
    "stop what has ended": ("POST", "/stop", {"status": ["success"]}, 400, "'status.0'"),
    "stop in no status": ("POST", "/stop", {"status": []}, 400, "'status'"),
    "stop in one word": ("POST", "/stop", {"status": "running"}, 400, "'status'"),
    "stop by no time": (
        *("POST", "/stop", {"status": ["running"], "startedAfter": "soon"}, 400),
        "'startedAfter' is no time",
    ),
    "tag with no list": ("PUT", "/failed/tags", {"id": "urgent"}, 400, "the body is not"),
    "tag with texts": ("PUT", "/failed/tags", ["urgent"], 400, ""),
    "tag too often": ("PUT", "/failed/tags", [{"id": str(it)} for it in range(51)], 400, "the body has 51 items"),
    "tag with a blank": ("PUT", "/failed/tags", [{"id": ""}], 400, "'0.id' takes printable"),
    "tag an unknown one": ("PUT", "/unknown/tags", [], 404, NOT_THERE),
    "annotate with a word": ("PATCH", "/failed", {"annotation": {"vote": "great"}}, 400, "'annotation.vote'"),
    "annotate with nothing": ("PATCH", "/failed", {}, 400, "'annotation'"),
    "annotate at the top": ("PATCH", "/failed", {"vote": "up"}, 400, "unknown member 'vote'"),
    "put an execution": ("PUT", "/failed", {}, 405, "PUT method not allowed"),
    "cancel, which is called stop": ("POST", "/running/cancel", {}, 404, "not found"),
    "a body that is cut": ("POST", "/stop", b'{"status": ["run', 400, "the body is not JSON"),
    "a body that is no object": ("POST", "/stop", ["running"], 400, "the body is not a JSON object"),
    "a body of two megabytes": ("POST", "/stopMany", DEEP, 413, "the body is larger than"),
    "a deep body": ("POST", "/stopMany", DEEP[:30_000], 400, "the body is not JSON"),
    "no body": ("POST", "/stop", b"", 400, "the body is not JSON"),
    "execute an unknown workflow": (
        *("POST", "/../workflows/demo-unknown/execute", {}, 404),
        "Workflow with ID 'demo-unknown' not found",
    ),
    "execute with more": (
        *("POST", "/../workflows/wf/execute", {"input": 1}, 400),
        "unknown member 'input'; did you mean 'inputData'?",
    ),
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Of a house in which executions of every kind are known; nothing here may change them."""
    async with commanding(Player(())) as house, house.client() as client:
        await house.tell(*TOLD)
        await house.tell(THEIRS, team="zeta")
        yield client


def is_refusal(answer: httpx.Response, status: int, said: str) -> bool:
    """Of the dialect's form."""
    body = answer.json()
    return answer.status_code == status and list(body) == ["message"] and body["message"].startswith(said)


@pytest.mark.parametrize("asked", READS)
async def test_what_cannot_be_read_is_refused(client: httpx.AsyncClient, asked: str) -> None:
    """Before anything is looked up where the question makes no sense."""
    answer = await client.get(AT + asked)
    assert is_refusal(answer, *READS[asked]), (answer.status_code, answer.text)


@pytest.mark.parametrize("name", CHANGES)
async def test_what_cannot_be_changed_is_refused(client: httpx.AsyncClient, name: str) -> None:
    """All or nothing: every execution is afterwards as it was."""
    method, path, body, status, said = CHANGES[name]
    before = (await client.get(AT)).json()
    if isinstance(body, bytes):
        kind = "text/plain" if status == 415 else "application/json"
        answer = await client.request(method, AT + path, content=body, headers={"content-type": kind})
    else:
        answer = await client.request(method, AT + path, json=body)
    assert is_refusal(answer, status, said), (answer.status_code, answer.text)
    assert (await client.get(AT)).json() == before
    assert len(before["data"]) == len(TOLD)


@pytest.mark.parametrize(
    "found",
    ["limit=1000000000", "limit=250", "status=unknown", "projectId=zeta", "workflowId=nope", "status=success&limit=1"],
)
async def test_what_finds_little_is_no_fault(client: httpx.AsyncClient, found: str) -> None:
    """Clients of the real API get a page for it."""
    assert (await client.get(f"{AT}?{found}")).status_code == 200


async def test_a_range_that_is_turned_around_is_empty(client: httpx.AsyncClient) -> None:
    """As in the real API."""
    asked = f"{AT}?startedAfter=2026-11-23T00:00:00Z&startedBefore=2026-11-21T00:00:00Z"
    assert (await client.get(asked)).json()["data"] == []


@pytest.mark.parametrize(
    "other", ["/v1/executions?limit=1", f"{AT}?limit=1&status=error", f"{AT}?limit=1&workflowId=wf"]
)
async def test_cursor_of_another_question_is_refused(client: httpx.AsyncClient, other: str) -> None:
    """Also one of another dialect."""
    page = (await client.get(other)).json()
    cursor = page.get("nextCursor") or page.get("pagination", {}).get("cursor") or "none"
    answer = await client.get(AT, params={"cursor": cursor})
    assert is_refusal(answer, 400, "An invalid cursor was provided"), answer.text


WRONG_KEYS: Final[Mapping[str, Callable[[str], list[tuple[str, str]]]]] = {
    "none": lambda _: [],
    "garbage": lambda _: [("x-n8n-api-key", "garbage")],
    "empty": lambda _: [("x-n8n-api-key", "")],
    "n8n's own": lambda _: [("x-n8n-api-key", "eyJhbGciOiJIUzI1NiJ9.e30.x")],
    "of so1": lambda key: [("x-n8n-api-key", key.replace("mon_", "so1_key_", 1))],
    "of so1, as a bearer's": lambda key: [("authorization", f"Bearer {key.replace('mon_', 'so1_key_', 1)}")],
    "of a team": lambda key: [("x-n8n-api-key", key.replace("mon_", "sdk_", 1))],
    "twice": lambda key: [("x-n8n-api-key", key), ("x-n8n-api-key", key)],
    "in both headers": lambda key: [("x-n8n-api-key", key), ("authorization", f"Bearer {key}")],
    "with a letter more": lambda key: [("x-n8n-api-key", key + "a")],
    "by another scheme": lambda key: [("authorization", f"Basic {key}")],
}


async def test_wrong_keys_are_refused_and_none_is_repeated(tmp_path: Any) -> None:
    """401 and a message, whatever is wrong; at every address, also where nothing is served."""
    async with keyed(tmp_path) as (client, key):
        assert (await client.get(AT, headers={"x-n8n-api-key": key})).status_code == 200
        for name, headers in WRONG_KEYS.items():
            for method, path in (("GET", AT), ("POST", f"{AT}/stop"), ("DELETE", f"{AT}/1")):
                answer = await client.request(method, path, headers=headers(key))
                assert is_refusal(answer, 401, ""), (name, answer.status_code, answer.text)
                assert key[-20:] not in answer.text


async def test_key_without_the_scope_is_refused(tmp_path: Any) -> None:
    """403 names what is missing; data of executions needs a scope of its own, unless they are redacted."""
    async with keyed(tmp_path) as (client, key):
        wish = {"name": "t", "role": "admin", "team": "default", "scopes": ["executions:read"]}
        made = await client.post("/v1/tokens", json=wish, headers={"authorization": f"Bearer {key}"})
        reader = {"x-n8n-api-key": made.json()["token"]}
        asked = {
            ("GET", f"{AT}?includeData=true"): "executions:data",
            ("POST", "/api/v1/workflows/demo-loop/execute"): "workflow:execute",
            ("POST", f"{AT}/stop"): "executions:write",
            ("DELETE", f"{AT}/1"): "executions:write",
        }
        for (method, path), scope in asked.items():
            answer = await client.request(method, path, headers=reader)
            assert is_refusal(answer, 403, f"this needs the scope '{scope}'"), answer.text
        redacted = await client.get(f"{AT}?includeData=true&redactExecutionData=true", headers=reader)
        assert redacted.status_code == 200
