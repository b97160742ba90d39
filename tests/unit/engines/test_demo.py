"""The demo engine runs its workflows, tells them completely and in order, and really stops what it is told to stop."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from monitor.engines.base import (
    BUSY,
    STOPPED,
    UNKNOWN_EXECUTION,
    UNKNOWN_NODE,
    Accepted,
    Cancel,
    Execute,
    Refused,
    Retry,
)
from monitor.engines.demo import DemoEngine
from monitor.engines.demo.workflows import WORKFLOWS
from monitor.errors import JournalUnavailable
from monitor.events.codec import decode
from monitor.events.model import Event, Record
from monitor.events.types import TYPES
from tests.support.clocks import ManualClock, settle

WireEvent = dict[str, Any]

TEAM = "payments"


def execute(command_id: str, workflow_id: str) -> Execute:
    """A command whose execution is named after it."""
    return Execute(command_id, TEAM, f"exec_{command_id}", workflow_id)


def cancel(command_id: str, execution_id: str, reason: str = "manual") -> Cancel:
    """A command to stop that execution."""
    return Cancel(command_id, TEAM, execution_id, "demo-loop", reason)


class Journal:
    """Keeps what is published; `trouble` may be awaited or raise before it does, or after (`lose_answers`)."""

    def __init__(self) -> None:
        self.events: list[WireEvent] = []
        self.trouble: Callable[[], Awaitable[None]] | None = None
        self.lose_answers = False

    async def publish(self, events: Sequence[WireEvent], team: str) -> None:
        """Keep `events`; an id that comes again is no new event."""
        assert team == TEAM
        if self.trouble and not self.lose_answers:
            await self.trouble()
        for event in events:
            known = next((one for one in self.events if one["id"] == event["id"]), None)
            assert known in (None, event), "an id stands for one text"
            if known is None:
                self.events.append(event)
        if self.trouble and self.lose_answers:
            await self.trouble()

    def types(self) -> list[str]:
        """What the events are, in order of arrival."""
        return [event["type"] for event in self.events]

    def ends(self) -> list[WireEvent]:
        """The events that end an execution."""
        return [e for e in self.events if e["type"].startswith("execution.") and TYPES[e["type"]].final]


class Running:
    """An engine at work, on a clock that stands still until it is moved."""

    def __init__(self, seed: int, speed: float) -> None:
        self.journal, self.clock = Journal(), ManualClock()
        self.engine = DemoEngine(self.journal.publish, self.clock, random.Random(seed), speed=speed)

    async def execute(self, workflow_id: str, command_id: str = "c1") -> str:
        """The id of a new execution."""
        answer = await self.engine.submit(execute(command_id, workflow_id))
        assert isinstance(answer, Accepted)
        return answer.execution_id

    async def until_end(self, count: int = 1) -> None:
        """Let time pass until `count` executions have ended."""
        await self.clock.run_until(lambda: len(self.journal.ends()) >= count)


@asynccontextmanager
async def engine_at_work(seed: int = 1, speed: float = 1.0) -> AsyncIterator[Running]:
    """An engine whose `run` is cancelled when the block is left."""
    running = Running(seed, speed)
    work = asyncio.create_task(running.engine.run())
    await settle()
    try:
        yield running
    finally:
        work.cancel()
        await asyncio.wait([work])


@pytest.mark.parametrize("workflow_id", WORKFLOWS)
async def test_an_execution_is_told_completely(workflow_id: str) -> None:
    """Every event decodes, names execution and workflow, and is counted from 1 without a hole; the end is the last."""
    async with engine_at_work() as at:
        execution_id = await at.execute(workflow_id)
        await at.until_end()
    events = at.journal.events
    assert execution_id == "exec_c1"
    assert {(e["executionId"], e["workflowId"], e["source"]) for e in events} == {(execution_id, workflow_id, "demo")}
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    for event in events:
        record = Record(0, 0, None, json.dumps(event).encode(), (), 0)
        assert isinstance(decode(record, lambda _record, _team: "default"), Event)
    assert at.journal.types()[0] == "execution.queued"
    assert events[-1] == at.journal.ends()[0]
    assert events[0]["data"]["nodeCount"] == len(WORKFLOWS[workflow_id].nodes)


async def test_nodes_carry_what_a_reader_wants_to_see() -> None:
    """A finished node has name, type, duration and output; starts tell progress; the log is closed at the end."""
    async with engine_at_work() as at:
        await at.execute("demo-wait")
        await at.until_end()
    first = next(event["data"] for event in at.journal.events if event["type"] == "node.completed")
    assert 0.1 <= first.pop("duration") <= 0.3
    assert first.pop("outputData")[0]["json"]["title"].startswith("Proposal ")
    about = {"nodeId": "form", "nodeName": "Form submitted", "nodeType": "form"}
    assert first == {**about, "iteration": 0, "attempt": 1, "status": "success"}
    progress = [event["data"] for event in at.journal.events if event["type"] == "execution.progress"]
    assert [(p["completed"], p["total"]) for p in progress] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    logs = [event["data"] for event in at.journal.events if event["type"] == "log.appended"]
    assert [log.get("final", False) for log in logs] == [False] * 4 + [True]


async def test_the_loop_runs_its_nodes_once_for_each_item() -> None:
    """The nodes inside the loop have an iteration for every customer, numbered from 0."""
    async with engine_at_work() as at:
        await at.execute("demo-loop")
        await at.until_end()
    runs = [event["data"] for event in at.journal.events if event["type"] == "node.completed"]
    enriched = [data["iteration"] for data in runs if data["nodeId"] == "enrich"]
    assert enriched == [data["iteration"] for data in runs if data["nodeId"] == "store"]
    assert enriched == list(range(len(enriched)))
    assert len(enriched) >= 3


async def test_the_wait_parks_the_execution_and_resumes_it() -> None:
    """While it waits, nothing is told; when the time has come, it goes on by itself."""
    async with engine_at_work() as at:
        await at.execute("demo-wait")
        await at.clock.run_until(lambda: "execution.waiting" in at.journal.types())
        waiting = at.journal.events[-1]
        await at.clock.advance(7.9)
        assert at.journal.events[-1] == waiting
        await at.clock.advance(0.2)
        assert "execution.resumed" in at.journal.types()
        await at.until_end()
    assert waiting["data"] == {"kind": "timer", "until": waiting["data"]["until"]}
    assert waiting["data"]["until"] > waiting["timestamp"]
    assert at.journal.types()[-1] == "execution.completed"


async def test_the_flaky_workflow_fails_sometimes() -> None:
    """Of many executions some need several attempts, some fail for good, and most succeed."""
    async with engine_at_work() as at:
        for number in range(60):
            await at.execute("demo-flaky", f"c{number}")
        await at.until_end(60)
    ends = [event["type"] for event in at.journal.ends()]
    assert 3 <= ends.count("execution.failed") <= 25
    assert ends.count("execution.failed") + ends.count("execution.completed") == 60
    assert "node.retrying" in at.journal.types()
    failed = next(event["data"] for event in at.journal.ends() if event["type"] == "execution.failed")
    node = next(event["data"] for event in at.journal.events if event["type"] == "node.failed")
    assert (failed["status"], failed["error"]["nodeId"]) == ("failed", "charge")
    assert (node["attempt"], node["retryCount"]) == (3, 2)


async def test_equal_chance_and_commands_give_equal_executions() -> None:
    """Nothing is left to chance that was not passed in."""
    told = []
    for _ in range(2):
        async with engine_at_work(seed=7) as at:
            await at.execute("demo-flaky", "c1")
            await at.execute("demo-loop", "c2")
            await at.until_end(2)
        told.append(at.journal.events)
    assert told[0] == told[1]


async def test_speed_shortens_every_duration() -> None:
    """At ten times the speed the same execution takes a tenth of the time."""
    durations = []
    for speed in (1.0, 10.0):
        async with engine_at_work(speed=speed) as at:
            await at.execute("demo-wait")
            await at.until_end()
        durations.append(at.journal.ends()[0]["data"]["duration"])
    assert durations[0] == pytest.approx(10 * durations[1], rel=0.01)


async def test_cancel_stops_an_execution_where_it_is() -> None:
    """The open node and the execution are told as cancelled, with the reason, and nothing follows."""
    async with engine_at_work() as at:
        execution_id = await at.execute("demo-loop")
        await at.clock.run_until(lambda: "node.started" in at.journal.types())
        assert await at.engine.submit(cancel("c2", execution_id, "wrong input")) == Accepted(execution_id)
        await settle()
        assert at.journal.types()[-2:] == ["command.completed", "execution.cancelled"]
        assert at.journal.types()[-3] == "node.cancelled"
        assert at.journal.events[-2]["data"] == {"commandId": "c2"}
        assert at.journal.events[-1]["data"] == {"reason": "wrong input"}
        told = len(at.journal.events)
        await at.clock.advance(60)
        assert len(at.journal.events) == told
        assert at.engine.statistics()["running"] == 0


async def test_an_execution_that_is_cancelled_at_once_is_told() -> None:
    """Between its acceptance and its first step an execution is stopped like any other."""
    async with engine_at_work() as at:
        execution_id = await at.execute("demo-loop")
        await at.engine.submit(cancel("c2", execution_id))
        await settle()
    assert at.journal.types() == ["execution.queued", "command.completed", "command.completed", "execution.cancelled"]


async def test_what_ended_or_is_unknown_cannot_be_cancelled() -> None:
    """A refusal says why."""
    async with engine_at_work() as at:
        execution_id = await at.execute("demo-wait")
        await at.until_end()
        await settle()
        assert await at.engine.submit(cancel("c2", execution_id)) == Refused(
            f"the demo engine does not run '{execution_id}'", UNKNOWN_EXECUTION
        )


async def test_an_end_that_is_being_told_cannot_be_changed() -> None:
    """While the journal takes the end, a cancel is refused and a shutdown tells the same end again, once."""
    async with engine_at_work() as at:

        async def hang() -> None:
            if at.journal.ends():
                await asyncio.Event().wait()

        at.journal.trouble, at.journal.lose_answers = hang, True
        execution_id = await at.execute("demo-wait")
        await at.until_end()
        assert await at.engine.submit(cancel("c2", execution_id)) == Refused(f"'{execution_id}' has just ended")
        at.journal.trouble = None
    assert [end["type"] for end in at.journal.ends()] == ["execution.completed"]


async def test_shutdown_ends_every_execution_with_an_event() -> None:
    """When the engine is stopped, what runs is told as cancelled by the shutdown."""
    async with engine_at_work() as at:
        await at.execute("demo-loop", "c1")
        await at.execute("demo-wait", "c2")
        await at.clock.advance(1.5)
    assert [(end["type"], end["data"]) for end in at.journal.ends()] == [
        ("execution.cancelled", {"reason": "shutdown"})
    ] * 2


async def test_events_that_the_journal_did_not_confirm_are_told_again() -> None:
    """A journal that is away, or loses its answer, costs time only: nothing is missing, nothing is there twice."""
    async with engine_at_work() as at:
        await at.execute("demo-loop")
        for at.journal.lose_answers in (False, True):
            refusals = iter(range(3))

            async def fail(refusals: Any = refusals) -> None:
                if next(refusals, None) is not None:
                    raise JournalUnavailable

            at.journal.trouble = fail
            await at.clock.advance(4)
        await at.until_end()
    assert [event["sequence"] for event in at.journal.events] == list(range(1, len(at.journal.events) + 1))


async def test_a_shutdown_does_not_wait_for_a_journal_that_is_away() -> None:
    """The exit of the process comes first: the end is tried once."""
    async with engine_at_work() as at:
        await at.execute("demo-loop")
        await at.clock.advance(1)

        async def fail() -> None:
            raise JournalUnavailable

        at.journal.trouble = fail
    assert at.journal.ends() == []


async def test_a_broken_door_ends_the_engine() -> None:
    """An error that another try cannot cure is raised, not swallowed."""
    running = Running(1, 1.0)

    async def fail() -> None:
        raise ValueError("broken")

    running.journal.trouble = fail
    work = asyncio.create_task(running.engine.run())
    await settle()
    await running.execute("demo-loop")
    with pytest.raises(ExceptionGroup) as raised:
        await work
    assert str(raised.value.exceptions[0]) == "broken"
    assert await running.engine.submit(execute("c2", "demo-loop")) == Refused("the demo engine is not running", STOPPED)


async def test_a_retry_is_an_execution_of_its_own() -> None:
    """It runs the same workflow with the same input and names the one that it repeats."""
    async with engine_at_work() as at:
        command = Retry("c1", TEAM, "exec_new", "demo-wait", "exec_old", [{"json": {"a": 1}}])
        answer = await at.engine.submit(command)
        await settle()
        assert isinstance(answer, Accepted)
        queued = at.journal.events[0]
    assert queued["executionId"] == answer.execution_id == "exec_new"
    assert queued["data"]["retryOf"] == "exec_old"
    assert queued["data"]["mode"] == "retry"
    assert queued["data"]["inputData"] == [{"json": {"a": 1}}]


@pytest.mark.parametrize(
    ("workflow_id", "start"), [("demo-flaky", "receipt"), ("demo-loop", "store"), ("demo-wait", "cool-off")]
)
async def test_a_retry_starts_at_a_node(workflow_id: str, start: str) -> None:
    """What comes before is neither run nor told; what comes from there on is, and counts as the whole."""
    nodes = [node.id for node in WORKFLOWS[workflow_id].nodes]
    wanted = nodes[nodes.index(start) :]
    async with engine_at_work() as at:
        # The earliest of several decides.
        command = Retry("c1", TEAM, "exec_new", workflow_id, "exec_old", start_nodes=[nodes[-1], start])
        assert await at.engine.submit(command) == Accepted("exec_new")
        await at.until_end()
    run = [event["data"]["nodeId"] for event in at.journal.events if event["type"] == "node.completed"]
    assert set(run) == set(wanted)
    assert at.journal.events[0]["data"]["nodeCount"] == len(wanted)
    assert at.journal.types()[-1] == "execution.completed"
    progress = [event["data"] for event in at.journal.events if event["type"] == "execution.progress"]
    assert all(said["completed"] < said["total"] for said in progress)


async def test_a_retry_from_an_unknown_node_is_refused() -> None:
    """The refusal names what there is, and nothing is started."""
    async with engine_at_work() as at:
        command = Retry("c1", TEAM, "exec_new", "demo-wait", "exec_old", start_nodes=["nowhere"])
        refused = Refused("'demo-wait' has no node 'nowhere'; it has form, draft, cool-off, publish", UNKNOWN_NODE)
        assert await at.engine.submit(command) == refused
        await settle()
    assert at.journal.events == []


async def test_a_command_that_comes_again_changes_nothing() -> None:
    """The same command id gets the same answer and starts nothing anew."""
    async with engine_at_work() as at:
        assert await at.execute("demo-loop", "same") == await at.execute("demo-loop", "same")
        assert at.engine.statistics()["running"] == 1


async def test_an_unknown_workflow_is_refused() -> None:
    """The refusal names what there is."""
    async with engine_at_work() as at:
        assert await at.engine.submit(execute("c1", "wf")) == Refused(
            "the demo engine has no workflow 'wf'; it has demo-flaky, demo-loop, demo-wait"
        )


async def test_more_than_the_limit_is_refused() -> None:
    """The engine takes as many executions as it may and says so for the next."""
    async with engine_at_work() as at:
        limit = at.engine.statistics()["limit"]
        answers = [await at.engine.submit(execute(f"c{number}", "demo-loop")) for number in range(limit + 1)]
        await settle()
    assert answers[-1] == Refused(f"the demo engine runs {limit} executions already", BUSY)
    assert all(isinstance(answer, Accepted) for answer in answers[:-1])
