"""Commands by HTTP: carried out by an engine, refused in the wrong state, visible as events of the execution."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from monitor.engines.base import Accepted, Cancel, Execute, Refused, Retry, Submitted
from monitor.errors import JournalUnavailable
from tests.support.commanding import CommandHouse, Scripted, commanding, principal
from tests.support.service import eventually

JSON = {"content-type": "application/json"}


@pytest.fixture
async def house() -> AsyncIterator[CommandHouse]:
    """With the demo engine alone."""
    async with commanding() as house:
        yield house


@pytest.fixture
async def client(house: CommandHouse) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's."""
    async with house.client() as client:
        yield client


def event(type_: str, execution_id: str = "exec_1", **data: Any) -> dict[str, Any]:
    """An event of some engine that takes no commands."""
    about = {"executionId": execution_id, "workflowId": "wf_1", "timestamp": "2023-12-06T10:30:00Z", "source": "e"}
    return {"type": type_, **about, "data": data}


async def execute(client: httpx.AsyncClient, workflow_id: str = "demo-wait", **members: Any) -> str:
    """The id of a new execution."""
    answer = await client.post(f"/v1/workflows/{workflow_id}/execute", **members)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["executionId"])


async def commands_of(client: httpx.AsyncClient, execution_id: str) -> list[tuple[str, str]]:
    """Kind and status of each command."""
    answer = await client.get(f"/v1/executions/{execution_id}/commands")
    assert answer.status_code == 200
    return [(row["kind"], row["status"]) for row in answer.json()["data"]]


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """What stands against it, without the time."""
    error: dict[str, Any] = answer.json()["error"]
    del error["timestamp"]
    return error


# --- execute ---------------------------------------------------------------------------------------------------------


async def test_an_execution_that_was_asked_for_is_visible_at_once(client: httpx.AsyncClient) -> None:
    """202 with where to look; every address that it names answers."""
    answer = await client.post("/v1/workflows/demo-wait/execute", json={"input": [{"json": {"a": 1}}]})
    assert answer.status_code == 202
    document = answer.json()
    assert document["status"] in ("queued", "running")
    at = f"/v1/executions/{document['executionId']}"
    assert answer.headers["location"] == document["links"]["self"] == at
    shown = (await client.get(at, params={"include": "data"})).json()
    assert (shown["workflowId"], shown["mode"], shown["inputData"]) == ("demo-wait", "manual", [{"json": {"a": 1}}])
    assert (await client.get(document["links"]["commands"])).status_code == 200
    command = (await client.get(f"/v1/commands/{document['commandId']}")).json()
    assert (command["executionId"], command["kind"], command["actor"]) == (document["executionId"], "execute", "tester")
    assert command["status"] in ("accepted", "completed")
    assert "args" not in command, "the input is a payload, and told as one"


async def test_who_would_rather_wait_gets_the_execution(client: httpx.AsyncClient) -> None:
    """`Prefer: wait=N`: the ended execution with its data, and the header that says so."""
    answer = await client.post("/v1/workflows/demo-loop/execute", headers={"prefer": "respond-async, wait=30"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")
    shown = answer.json()
    assert (shown["status"], shown["workflowId"]) == ("success", "demo-loop")
    assert shown["outputData"][0]["json"]["customers"] >= 3
    assert len(shown["executionData"]) == 5


async def test_who_may_not_see_payloads_waits_for_an_execution_without_them() -> None:
    """The answer holds what a read of the same token would."""
    async with commanding() as house, house.client(scopes="workflow:execute executions:read") as client:
        answer = await client.post("/v1/workflows/demo-loop/execute", headers={"prefer": "wait=30"})
        assert (answer.status_code, answer.json()["status"]) == (200, "success")
        assert {"outputData", "executionData", "inputData"}.isdisjoint(answer.json())


async def test_too_late_is_told_where_to_look() -> None:
    """202 after the time that the client named, with the preference honoured."""
    async with commanding(speed=0.5) as house, house.client() as client:
        answer = await client.post("/v1/workflows/demo-loop/execute", headers={"prefer": "wait=1"})
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")
        assert answer.json()["status"] in ("queued", "running")
        assert len(house.house.hub.watches) == 0


async def test_whoever_goes_away_waits_no_longer() -> None:
    """The watch is closed when the client is gone; the execution goes on."""
    async with commanding(speed=0.5) as house:
        sent: list[Any] = []
        gone = asyncio.Event()
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                await gone.wait()
            return message or {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        path = "/v1/workflows/demo-loop/execute"
        headers = [(b"prefer", b"wait=60")]
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"headers": headers, "http_version": "1.1", "scheme": "http", "server": ("monitor", 80)}
        asking = asyncio.create_task(house.application(scope, receive, send))

        async def waits() -> bool:
            return len(house.house.hub.watches) == 1

        async def has_gone() -> bool:
            return len(house.house.hub.watches) == 0

        await eventually(waits)
        gone.set()
        await eventually(has_gone)
        await asking
        assert house.demo.statistics()["running"] == 1


async def test_a_service_that_stops_keeps_nobody_waiting() -> None:
    """Who waits when it drains is told where to look, and so is who comes after."""
    async with commanding(speed=0.5) as house, house.client() as client:
        asking = asyncio.create_task(client.post("/v1/workflows/demo-loop/execute", headers={"prefer": "wait=60"}))

        async def waits() -> bool:
            return len(house.house.hub.watches) == 1

        await eventually(waits)
        house.house.hub.watches.end()
        assert (await asking).status_code == 202
        late = await client.post("/v1/workflows/demo-loop/execute", headers={"prefer": "wait=60"})
        assert late.status_code == 202


async def test_a_workflow_that_nobody_knows_is_not_found(client: httpx.AsyncClient) -> None:
    """One that is known from events alone has no engine."""
    answer = await client.post("/v1/workflows/wf_1/execute")
    assert answer.status_code == 404
    assert refusal(answer) == {
        "code": "WORKFLOW_NOT_FOUND",
        "message": "Workflow with ID 'wf_1' not found",
        "workflowId": "wf_1",
    }
    assert (await client.post(f"/v1/workflows/{'x' * 300}/execute")).status_code == 404
    assert (await client.post("/v1/workflows/%00/execute")).status_code == 404


async def test_a_known_workflow_without_an_engine(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """409 to its own team; to another it does not exist."""
    await house.tell(event("execution.started"))
    answer = await client.post("/v1/workflows/wf_1/execute")
    assert (answer.status_code, refusal(answer)["code"]) == (409, "NO_ENGINE")
    async with house.client(team="else") as stranger:
        assert (await stranger.post("/v1/workflows/wf_1/execute")).status_code == 404


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"[]", (400, "INVALID_REQUEST", None)),
        (b"{", (400, "INVALID_REQUEST", None)),
        (b'{"inputs": 1}', (400, "INVALID_REQUEST", "inputs")),
        (b'{"input": 1, "inputData": 2}', (400, "INVALID_REQUEST", None)),
        (b'{"input": 1, "input": 2}', (400, "INVALID_REQUEST", "input")),
        (b'{"input": {"a": 1, "a": 2}}', (400, "INVALID_REQUEST", "a")),
        (b'{"input": 1e999}', (400, None, None)),
        (b'{"input": 18446744073709551616}', (400, None, None)),
        (b'{"input": "\\ud800"}', (400, None, None)),
        (b'{"input": ' + b"[" * 140 + b"]" * 140 + b"}", (400, None, None)),
        (b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", (400, None, None)),
        (b'{"input": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", (413, "PAYLOAD_TOO_LARGE", None)),
    ],
)
async def test_what_no_workflow_can_be_given(
    client: httpx.AsyncClient, body: bytes, refused: tuple[int, str | None, str | None]
) -> None:
    """Refused before anything is asked for; the engine, which would have to tell it again, goes on."""
    status, code, field = refused
    answer = await client.post("/v1/workflows/demo-loop/execute", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    error = refusal(answer)
    assert code in (None, error["code"])
    assert field in (None, error.get("field"))
    assert (await client.get("/v1/executions")).json()["data"] == []
    await execute(client)


async def test_another_content_type_is_refused(client: httpx.AsyncClient) -> None:
    """A page of somebody else can send a form without asking."""
    answer = await client.post("/v1/workflows/demo-loop/execute", content=b"{}")
    assert (answer.status_code, refusal(answer)["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_roles_decide_who_may_command(house: CommandHouse) -> None:
    """A viewer looks; an operator stops, repeats and removes; a builder executes."""
    async with house.client(role="builder") as builder, house.client(role="viewer") as viewer:
        execution_id = await execute(builder)
        at = f"/v1/executions/{execution_id}"
        for method, path in (("POST", f"{at}/cancel"), ("POST", f"{at}/retry"), ("DELETE", at), ("PATCH", at)):
            answer = await viewer.request(method, path)
            assert (answer.status_code, refusal(answer)["requiredPermission"]) == (403, "executions:write")
        assert (await viewer.get(f"{at}/commands")).status_code == 200
        async with house.client(role="operator") as operator:
            answer = await operator.post("/v1/workflows/demo-loop/execute")
            assert (answer.status_code, refusal(answer)["requiredPermission"]) == (403, "workflow:execute")
            assert (await operator.post(f"{at}/cancel")).status_code == 200


# --- cancel ----------------------------------------------------------------------------------------------------------


async def test_cancel_answers_as_documented(client: httpx.AsyncClient) -> None:
    """The example of the API's document, and one member more; the execution is stopped by then."""
    execution_id = await execute(client)
    answer = await client.post(f"/v1/executions/{execution_id}/cancel")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown.pop("cancelledAt").endswith("Z")
    assert shown.pop("commandId").startswith("cmd_")
    assert shown == {
        "message": "Execution cancelled successfully",
        "executionId": execution_id,
        "status": "cancelled",
    }
    found = (await client.get(f"/v1/executions/{execution_id}")).json()
    assert (found["status"], found["stoppedAt"]) == ("cancelled", answer.json()["cancelledAt"])
    assert await commands_of(client, execution_id) == [("execute", "completed"), ("cancel", "completed")]


async def test_cancelling_what_has_ended_is_refused_as_documented(client: httpx.AsyncClient) -> None:
    """The example of the API's document, whatever the end was; a second cancel is one of these."""
    done = await client.post("/v1/workflows/demo-loop/execute", headers={"prefer": "wait=30"})
    ended = done.json()["id"]
    answer = await client.post(f"/v1/executions/{ended}/cancel")
    assert answer.status_code == 409
    assert refusal(answer) == {
        "code": "CANNOT_CANCEL_EXECUTION",
        "message": "Cannot cancel execution that is already completed",
        "executionId": ended,
        "status": "success",
    }
    stopped = await execute(client)
    assert (await client.post(f"/v1/executions/{stopped}/cancel")).status_code == 200
    again = await client.post(f"/v1/executions/{stopped}/cancel")
    assert (again.status_code, refusal(again)["status"]) == (409, "cancelled")
    forced = await client.post(f"/v1/executions/{stopped}/cancel", json={"force": True})
    assert (forced.status_code, refusal(forced)["code"]) == (409, "CANNOT_CANCEL_EXECUTION")


async def test_cancels_at_the_same_time_agree(client: httpx.AsyncClient) -> None:
    """Each is told that it is cancelled, or that it was too late; the execution has ended once."""
    execution_id = await execute(client)
    answers = await asyncio.gather(*(client.post(f"/v1/executions/{execution_id}/cancel") for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    for answer in answers:
        shown = answer.json()
        assert (shown.get("status") or shown["error"]["status"]) == "cancelled"
    assert (await client.get(f"/v1/executions/{execution_id}")).json().get("conflict") is None


async def test_the_reason_is_kept(client: httpx.AsyncClient) -> None:
    """With the command, and with the end that it caused."""
    execution_id = await execute(client)
    await client.post(f"/v1/executions/{execution_id}/cancel", json={"reason": "wrong input"})
    assert (await client.get(f"/v1/executions/{execution_id}")).json()["reason"] == "wrong input"
    listed = (await client.get(f"/v1/executions/{execution_id}/commands")).json()["data"]
    assert listed[1]["args"] == {"reason": "wrong input"}


async def test_an_orphan_is_ended_by_force_alone(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """No engine takes commands for it: 409 with the cure; forced, it is recorded as cancelled."""
    await house.tell(event("execution.started"))
    answer = await client.post("/v1/executions/exec_1/cancel")
    assert answer.status_code == 409
    error = refusal(answer)
    assert (error["code"], error["status"], error["executionId"]) == ("NO_ENGINE", "running", "exec_1")
    assert "force" in error["message"]
    assert await commands_of(client, "exec_1") == []
    forced = await client.post("/v1/executions/exec_1/cancel", json={"force": True, "reason": "engine is gone"})
    assert (forced.status_code, forced.json()["status"]) == (200, "cancelled")
    shown = (await client.get("/v1/executions/exec_1")).json()
    assert (shown["status"], shown["reason"]) == ("cancelled", "engine is gone")
    assert await commands_of(client, "exec_1") == [("cancel", "completed")]


async def test_what_its_engine_has_forgotten_is_an_orphan(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """The engine serves the workflow, but was restarted since."""
    await house.tell(event("execution.started") | {"workflowId": "demo-loop"})
    answer = await client.post("/v1/executions/exec_1/cancel")
    assert (answer.status_code, refusal(answer)["code"]) == (409, "NO_ENGINE")
    assert await commands_of(client, "exec_1") == [("cancel", "refused")]
    forced = await client.post("/v1/executions/exec_1/cancel", json={"force": True})
    assert (forced.status_code, forced.json()["status"]) == (200, "cancelled")


async def test_force_is_not_needed_where_an_engine_knows_it(client: httpx.AsyncClient) -> None:
    """It is asked, and tells the end itself."""
    execution_id = await execute(client)
    answer = await client.post(f"/v1/executions/{execution_id}/cancel", json={"force": True})
    assert answer.status_code == 200
    assert (await client.get(f"/v1/executions/{execution_id}")).json().get("conflict") is None


# --- retry -----------------------------------------------------------------------------------------------------------


async def test_retry_answers_as_documented(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """The example of the API's document, and some members more: a new execution that starts at the node."""
    execution_id = await execute(client)
    await client.post(f"/v1/executions/{execution_id}/cancel")
    body = {"fromNode": "publish", "loadWorkflow": True, "startNodes": ["publish"]}
    answer = await client.post(f"/v1/executions/{execution_id}/retry", json=body)
    assert answer.status_code == 200
    shown = answer.json()
    assert {name: type(shown[name]) for name in ("executionId", "status", "retryOf", "startedAt")} == {
        "executionId": str,
        "status": str,
        "retryOf": str,
        "startedAt": str,
    }
    assert shown["retryOf"] == execution_id != shown["executionId"]
    assert shown["status"] in ("running", "success")
    assert answer.headers["location"] == f"/v1/executions/{shown['executionId']}"
    new = shown["executionId"]
    await house.until(client, new, "success")
    found = (await client.get(f"/v1/executions/{new}?include=data")).json()
    assert [node["nodeId"] for node in found["executionData"]] == ["publish"]
    assert (found["retryOf"], found["mode"]) == (execution_id, "retry")
    command = (await client.get(f"/v1/commands/{shown['commandId']}")).json()
    assert (command["kind"], command["status"]) == ("retry", "completed")
    assert command["args"] == {"retryOf": execution_id, "startNodes": ["publish"], "loadWorkflow": True}


async def test_a_retry_is_given_what_the_first_was(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """The input goes with it."""
    given = [{"json": {"order": 7}}]
    execution_id = await execute(client, json={"inputData": given})
    await client.post(f"/v1/executions/{execution_id}/cancel")
    answer = await client.post(f"/v1/executions/{execution_id}/retry")
    found = await house.until(client, answer.json()["executionId"], "success", "running", "waiting")
    shown = (await client.get(f"/v1/executions/{found['id']}?include=data")).json()
    assert shown["inputData"] == given


async def test_a_retry_is_given_secrets_and_shows_them_to_nobody() -> None:
    """The engine gets what the first execution got, not the masks that everybody else sees."""
    engine = Scripted("wf_1", Submitted())
    async with commanding(engine) as house, house.client() as client:
        given = [{"json": {"order": 7, "password": "correct horse"}}]
        await house.tell(event("execution.started", inputData=given), event("execution.completed"))
        shown = (await client.get("/v1/executions/exec_1?include=data")).json()
        assert shown["inputData"] == [{"json": {"order": 7, "password": "***"}}]
        assert (await client.post("/v1/executions/exec_1/retry")).status_code == 202
        (command,) = engine.asked
        assert isinstance(command, Retry)
        assert command.input_data == given
        told = await client.get("/v1/executions/exec_1/commands")
        assert "correct horse" not in told.text


async def test_a_retry_without_the_original_input_is_refused() -> None:
    """409 with the cure, where the journal has lost what is masked; an input that was never masked is repeated."""
    engine = Scripted("wf_1", Submitted())
    async with commanding(engine) as house, house.client() as client:
        for execution_id, word in (("exec_1", "password"), ("exec_2", "order")):
            given = {"inputData": [{"json": {word: "correct horse"}}]}
            await house.tell(
                event("execution.started", execution_id, **given), event("execution.completed", execution_id)
            )
        await house.house.journal.trim(0, before=(await house.house.journal.bounds())[0].end)
        refused = await client.post("/v1/executions/exec_1/retry")
        assert (refused.status_code, refusal(refused)["code"]) == (409, "CANNOT_RETRY_EXECUTION")
        assert "execute its workflow anew" in refused.text
        assert (await client.post("/v1/executions/exec_2/retry")).status_code == 202
        assert [command.execution_id for command in engine.asked if isinstance(command, Retry)] != []


async def test_what_runs_cannot_be_repeated(client: httpx.AsyncClient) -> None:
    """409 with the status that stands against it."""
    execution_id = await execute(client)
    answer = await client.post(f"/v1/executions/{execution_id}/retry")
    assert answer.status_code == 409
    error = refusal(answer)
    assert error["status"] in ("queued", "running", "waiting")
    assert (error["code"], error["executionId"]) == ("CANNOT_RETRY_EXECUTION", execution_id)


async def test_a_refused_retry_is_told_and_stays_visible(client: httpx.AsyncClient) -> None:
    """The engine's reason in the answer, in the command, and in the execution that was asked for in vain."""
    execution_id = await execute(client)
    await client.post(f"/v1/executions/{execution_id}/cancel")
    answer = await client.post(f"/v1/executions/{execution_id}/retry", json={"fromNode": "nowhere"})
    assert answer.status_code == 409
    error = refusal(answer)
    assert (error["code"], "no node 'nowhere'" in error["message"]) == ("COMMAND_REFUSED", True)
    command = (await client.get(f"/v1/commands/{error['commandId']}")).json()
    assert (command["status"], command["error"]["message"]) == ("refused", error["message"])
    shown = (await client.get(f"/v1/executions/{error['executionId']}")).json()
    assert (shown["status"], shown["provisional"], shown["error"]["message"]) == ("failed", True, error["message"])


@pytest.mark.parametrize("verb", ["cancel", "retry"])
async def test_what_is_not_there_takes_no_commands(house: CommandHouse, verb: str) -> None:
    """Nor does what is another team's: both are not found, in the same words."""
    async with house.client(team="acme") as owner, house.client(team="else") as stranger:
        execution_id = await execute(owner)
        answers = [await stranger.post(f"/v1/executions/{it}/{verb}") for it in (execution_id, "exec_none")]
        assert [answer.status_code for answer in answers] == [404, 404]
        said = [json.dumps(refusal(answer)).replace(execution_id, "exec_none") for answer in answers]
        assert said[0] == said[1]
        command_id = (await owner.get(f"/v1/executions/{execution_id}/commands")).json()["data"][0]["id"]
        assert (await stranger.get(f"/v1/commands/{command_id}")).status_code == 404
        assert (await stranger.get(f"/v1/executions/{execution_id}/commands")).status_code == 404
        assert (await owner.get("/v1/commands/cmd_none")).json()["error"]["code"] == "COMMAND_NOT_FOUND"


# --- engines that answer later, or not at all ------------------------------------------------------------------------


def told(command: Execute | Cancel | Retry, type_: str, **data: Any) -> dict[str, Any]:
    """An event of the engine about what it was asked."""
    said = {"commandId": command.command_id, "kind": command.kind, **data} if type_.startswith("command.") else data
    return event(type_, command.execution_id, **said) | {"workflowId": command.workflow_id}


async def test_an_engine_may_answer_by_events() -> None:
    """Whoever waits gets what became of it, though the engine said at first only that it has the command."""
    engine = Scripted("wf_1", Submitted())
    async with commanding(engine) as house, house.client() as client:
        asking = asyncio.create_task(client.post("/v1/workflows/wf_1/execute", headers={"prefer": "wait=60"}))

        async def is_asked() -> bool:
            return bool(engine.asked)

        await eventually(is_asked)
        [command] = engine.asked
        await house.tell(told(command, "command.accepted"), told(command, "execution.started"))
        await house.tell(told(command, "execution.completed"))
        answer = await asking
        assert (answer.status_code, answer.json()["id"]) == (200, command.execution_id)
        assert await commands_of(client, command.execution_id) == [("execute", "accepted")]


async def test_an_engine_may_refuse_by_events() -> None:
    """Whoever waits is told at once, with the engine's reason."""
    engine = Scripted("wf_1", Submitted())
    async with commanding(engine) as house, house.client() as client:
        asking = asyncio.create_task(client.post("/v1/workflows/wf_1/execute", headers={"prefer": "wait=60"}))

        async def is_asked() -> bool:
            return bool(engine.asked)

        await eventually(is_asked)
        await house.tell(told(engine.asked[0], "command.refused", error={"message": "no capacity"}))
        answer = await asking
        assert answer.status_code == 409
        assert (refusal(answer)["code"], refusal_message(answer)) == ("COMMAND_REFUSED", "no capacity")


def refusal_message(answer: httpx.Response) -> str:
    """The sentence."""
    return str(answer.json()["error"]["message"])


async def test_a_cancel_that_is_under_way_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """202 with where to look; an engine that never answers does not stand in the way of force."""
    monkeypatch.setattr("monitor.executions.commands.CANCEL_WAIT_S", 0.2)
    monkeypatch.setattr("monitor.executions.commands.ORPHAN_WAIT_S", 0.2)
    engine = Scripted("wf_1", Submitted())
    async with commanding(engine) as house, house.client() as client:
        await house.tell(event("execution.started"))
        answer = await client.post("/v1/executions/exec_1/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        assert await commands_of(client, "exec_1") == [("cancel", "requested")]
        forced = await client.post("/v1/executions/exec_1/cancel", json={"force": True})
        assert (forced.status_code, forced.json()["status"]) == (200, "cancelled")


async def test_an_engine_that_does_not_answer_is_told_as_such() -> None:
    """503 with the ids; the command has failed until an answer says otherwise."""
    engine = Scripted("wf_1", JournalUnavailable("the broker is away"))
    async with commanding(engine) as house, house.client() as client:
        answer = await client.post("/v1/workflows/wf_1/execute")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        error = refusal(answer)
        assert (error["code"], error["message"]) == ("ENGINE_UNAVAILABLE", "the broker is away")
        assert await commands_of(client, error["executionId"]) == [("execute", "failed")]
        shown = (await client.get(f"/v1/executions/{error['executionId']}")).json()
        assert (shown["status"], shown["provisional"]) == ("failed", True)
        await house.tell(told(engine.asked[0], "command.accepted"), told(engine.asked[0], "execution.started"))
        assert await commands_of(client, error["executionId"]) == [("execute", "accepted")]
        assert (await client.get(f"/v1/executions/{error['executionId']}")).json()["status"] == "running"


async def test_an_engine_that_makes_up_its_ids_is_followed_there() -> None:
    """The answer names its execution; what was kept under ours is gone."""
    engine = Scripted("wf_1", Accepted("n8n:42"))
    async with commanding(engine) as house, house.client() as client:
        answer = await client.post("/v1/workflows/wf_1/execute")
        assert (answer.status_code, answer.json()["executionId"]) == (202, "n8n:42")
        assert answer.headers["location"] == "/v1/executions/n8n:42"
        assert (await client.get("/v1/executions")).json()["data"] == []


async def test_an_execution_under_an_id_of_the_engine_is_waited_for() -> None:
    """Who would rather wait gets it when it has ended, and a retry answers once it has started."""
    engine = Scripted("wf_1", Accepted("n8n:42"))
    async with commanding(engine) as house, house.client() as client:
        waiting = asyncio.create_task(client.post("/v1/workflows/wf_1/execute", headers={"prefer": "wait=60"}))
        await eventually(lambda: _is_asked(engine, 1))
        await house.tell(event("execution.started", "n8n:42"), event("execution.completed", "n8n:42"))
        ended = await waiting
        assert (ended.status_code, ended.json()["id"], ended.json()["status"]) == (200, "n8n:42", "success")
        engine.answer = Accepted("n8n:43")
        repeating = asyncio.create_task(client.post("/v1/executions/n8n:42/retry"))
        await eventually(lambda: _is_asked(engine, 2))
        await house.tell(event("execution.started", "n8n:43"))
        assert (await repeating).json()["executionId"] == "n8n:43"
        assert (await repeating).status_code == 200


async def _is_asked(engine: Scripted, times: int) -> bool:
    return len(engine.asked) == times


async def test_a_busy_engine_refuses() -> None:
    """409 with its reason."""
    async with commanding(Scripted("wf_1", Refused("as much to do as I take", "busy"))) as house:
        async with house.client() as client:
            answer = await client.post("/v1/workflows/wf_1/execute")
        assert (answer.status_code, refusal_message(answer)) == (409, "as much to do as I take")


async def test_every_command_is_in_the_audit(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """Who did what to what, and how that ended."""
    execution_id = await execute(client)
    await client.post(f"/v1/executions/{execution_id}/cancel")
    await client.post(f"/v1/executions/{execution_id}/retry", json={"fromNode": "nowhere"})
    await client.patch(f"/v1/executions/{execution_id}", json={"vote": "up"})
    await client.delete(f"/v1/executions/{execution_id}")
    page = await house.audit.listed(await principal({"headers": []}), 10)
    assert [(row.action, row.outcome) for row in reversed(page.rows)] == [
        ("execution.execute", "done"),
        ("execution.cancel", "done"),
        ("execution.retry", "refused"),
        ("execution.annotate", "done"),
        ("execution.delete", "done"),
    ]
    assert {row.principal for row in page.rows} == {"tester"}
