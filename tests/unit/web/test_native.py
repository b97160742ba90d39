"""The native spelling keeps its types, whatever producers write."""

from typing import Any

from tests.support.house import House, open_house

STRANGE: dict[str, Any] = {
    "mode": 7,
    "trigger": {"type": ["webhook"], "source": 5, "timestamp": "yesterday", "own": {"kept": True}, "payload": 3},
    "parent": {"executionId": 4, "nodeId": "start", "own": 1},
    "metadata": {"retryCount": -1, "queueTime": "long", "memoryUsage": True, "nodeCount": 1.5, "own": [1]},
    "tags": ["nightly", 8],
    "inputData": 5,
}

ERROR: dict[str, Any] = {"type": 1, "message": {}, "stack": [], "nodeId": 9, "timestamp": "now", "code": 418}


async def told() -> House:
    """A service that heard strange things of one execution."""
    house = await open_house()
    common = {"executionId": "e1", "workflowId": "wf_1"}
    await house.tell(
        {**common, "type": "execution.started", "timestamp": "2026-11-22T10:00:00Z", "data": STRANGE},
        {
            **common,
            "type": "node.failed",
            "timestamp": "2026-11-22T10:00:01Z",
            "data": {"nodeId": "n1", "nodeName": 3, "status": "strange", "inputData": {"a": 1}, "error": ERROR},
        },
        {
            **common,
            "type": "execution.annotated",
            "timestamp": "2026-11-22T10:00:02Z",
            "data": {"tags": "no list", "vote": 1, "note": "seen", "own": 2},
        },
        {**common, "type": "execution.failed", "timestamp": "2026-11-22T10:00:03Z", "data": {"error": ERROR}},
    )
    return house


async def test_a_member_of_another_type_says_nothing() -> None:
    """It is left out, or stands there as what is promised; members of the producer's own stay."""
    house = await told()
    async with house.client() as client:
        shown = (await client.get("/v1/executions/e1?include=data,logs")).json()
    assert shown["mode"] is None
    assert shown["trigger"] == {"own": {"kept": True}, "payload": 3}
    assert shown["parent"] == {"nodeId": "start", "own": 1}
    assert shown["metadata"] == {"nodeCount": 1, "own": [1]}
    assert shown["tags"] == ["nightly"]
    assert shown["annotation"] == {"note": "seen", "own": 2}
    assert shown["error"] == {"type": "Error", "message": "", "timestamp": "2026-11-22T10:00:03.000Z", "code": 418}
    assert shown["logs"] == []
    node = shown["executionData"][0]
    assert (node["nodeName"], node["status"], node["inputData"]) == ("n1", "failed", [{"a": 1}])
    assert node["error"]["timestamp"] == "2026-11-22T10:00:01.000Z"


async def test_what_is_absent_is_left_out_and_what_is_promised_is_null() -> None:
    """Nobody needs to tell null from absence."""
    house = await open_house()
    await house.tell(
        {
            "type": "log.appended",
            "executionId": "e1",
            "timestamp": "2026-11-22T10:00:00Z",
            "data": {"lines": [{"message": "hi"}]},
        }
    )
    async with house.client() as client:
        shown = (await client.get("/v1/executions/e1")).json()
    assert (shown["workflowName"], shown["mode"], shown["trigger"], shown["startedAt"]) == (None, None, None, None)
    assert not {"stoppedAt", "duration", "error", "logs", "inputData", "provisional", "late"} & shown.keys()
