"""`monitor follow` and `monitor tail` as processes beside a real service that is killed under them."""

import asyncio
import json
import os
import pty
import shutil
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.demo import working_engine
from monitor.cli.follow import EXIT_CODES
from monitor.engines.base import Accepted, Cancel, Execute
from tests.support.processes import free_ports
from tests.support.service import Service, eventually

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
WITHIN_S = 120.0

Event = dict[str, Any]


class Command:
    """A `monitor` command at work."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        # Everything that it printed so far.
        self.lines: list[str] = []

    async def line_with(self, text: str) -> str:
        """The next line of its stdout that contains `text`."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with asyncio.timeout(WITHIN_S):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip("\n"))
                if text in line:
                    return line
        raise AssertionError(f"no {text} in {self.lines}, and {(await self.process.stderr.read()).decode()}")

    async def ended(self) -> tuple[int, str]:
        """Exit code and stderr, once it has ended; the rest of its stdout is in `lines`."""
        async with asyncio.timeout(WITHIN_S):
            out, err = await self.process.communicate()
        self.lines += (out or b"").decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()

    @property
    def documents(self) -> list[Event]:
        """Its lines, read as JSON."""
        return [json.loads(line) for line in self.lines]


@asynccontextmanager
async def monitor(*arguments: str, stdout: int = asyncio.subprocess.PIPE) -> AsyncIterator[Command]:
    """Run a command while the block runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "monitor", *arguments),
        env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "120"},
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that the test may kill."""
    with launched(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for tests that let it live; each has executions of its own."""
    with launched(tmp_path_factory.mktemp("shared")) as made:
        yield made


@contextmanager
def launched(folder: Path) -> Iterator[Service]:
    """A service that runs while the block does."""
    made = Service(folder / "data")
    made.launch()
    try:
        yield made
    finally:
        made.close()


def event(execution_id: str, second: int, kind: str, **data: Any) -> Event:
    """An event, so many seconds after the start."""
    timestamp = f"2026-11-22T10:30:{second:02}Z"
    members = {"type": kind, "executionId": execution_id, "workflowId": "pay", "timestamp": timestamp, "data": data}
    return members | {"id": f"{execution_id}-{second}-{kind}"}


def log(execution_id: str, second: int, *messages: str) -> Event:
    """Log lines."""
    return event(execution_id, second, "log.appended", lines=[{"message": message} for message in messages])


async def send(service: Service, *events: Event) -> None:
    """Send events; they are durable afterwards."""
    async with service.client() as client:
        answer = await client.post("/v1/events", json=list(events))
    assert [result["verdict"] for result in answer.json()["results"]] == ["accepted"] * len(events)


async def tell(service: Service, *events: Event) -> None:
    """Send events; whoever asks for their executions afterwards finds them."""
    await send(service, *events)
    await service.caught_up()


def ending(execution_id: str, status: str, second: int = 9) -> Event:
    """The event that ends it with this status."""
    kind = {"success": "completed", "cancelled": "cancelled"}.get(status, "failed")
    return event(execution_id, second, f"execution.{kind}", **({"status": status} if kind == "failed" else {}))


# --- follow ----------------------------------------------------------------------------------------------------------


async def test_exit_code_is_the_outcome_whoever_kills_the_service(service: Service) -> None:
    """Each of five ends, each thing told once: before the kill, while the service is away, and after."""
    await service.ready()
    for status in EXIT_CODES:
        await tell(service, event(status, 0, "execution.started"), log(status, 1, "before anybody looked"))
    async with AsyncExitStack() as running:
        commands = {
            status: await running.enter_async_context(monitor("follow", status, "--url", service.url))
            for status in EXIT_CODES
        }
        for command in commands.values():
            await command.line_with("under way")
        for status, command in commands.items():
            await send(service, log(status, 2, "seen live"), event(status, 3, "node.started", nodeId="charge"))
            await command.line_with("charge")
        service.kill()
        service.launch()
        await service.ready()
        for status in EXIT_CODES:
            done = event(status, 4, "node.completed", nodeId="charge", duration=1)
            await send(service, done, log(status, 5, "after it came back"), ending(status, status))
        for status, command in commands.items():
            code, err = await command.ended()
            assert (status, code) == (status, EXIT_CODES[status])
            assert [line.startswith("monitor: ") for line in err.splitlines()] == [True]
            kind = {"success": "completed", "cancelled": "cancelled"}.get(status, "failed")
            assert [line.split() for line in command.lines[1:]] == [
                ["00:01.000", "info", "before", "anybody", "looked"],
                ["running", "execution", "is", "under", "way"],
                ["00:02.000", "info", "seen", "live"],
                ["00:03.000", "running", "charge"],
                ["00:04.000", "success", "charge", "1.000", "s"],
                ["00:05.000", "info", "after", "it", "came", "back"],
                f"00:09.000 {status} execution {kind}".split(),
            ]


async def test_end_while_nobody_served_is_found(service: Service) -> None:
    """What came in between two lives of the service is told after both; a follower that starts then tells the same."""
    await service.ready()
    await tell(service, event("e", 0, "execution.started"))
    async with monitor("follow", "e", "--url", service.url, "--json") as command:
        await command.line_with("stream.snapshot")
        await send(service, log("e", 1, "first"))
        await command.line_with("first")
        # The follower is stopped, so that it meets the second life only.
        command.process.send_signal(signal.SIGSTOP)
        await send(service, log("e", 2, "second"), ending("e", "timeout"))
        service.kill()
        service.launch()
        await service.ready()
        command.process.send_signal(signal.SIGCONT)
        assert (await command.ended())[0] == EXIT_CODES["timeout"]
        frames = [frame for frame in command.documents if not frame["type"].startswith("stream.")]
        assert [frame["type"] for frame in frames] == ["log.appended", "log.appended", "execution.failed"]
    async with monitor("follow", "e", "--url", service.url) as again:
        assert (await again.ended())[0] == EXIT_CODES["timeout"]
        assert [line.split()[1] for line in again.lines[1:]] == ["info", "info", "timeout"]


async def test_demo_workflows_are_followed_to_their_ends(service: Service) -> None:
    """Two that end by themselves and one that is cancelled, through a kill: each exit code is what REST says."""
    await service.ready()
    async with working_engine(service.url, speed=2.0) as engine, AsyncExitStack() as running:
        commands: dict[str, Command] = {}

        async def execute_and_follow(workflow_id: str) -> str:
            command_id = uuid.uuid4().hex
            accepted = await engine.submit(Execute(command_id, "default", f"demo:{command_id}", workflow_id))
            assert isinstance(accepted, Accepted)
            arguments = ("follow", accepted.execution_id, "--wait", "--json", "--url", service.url)
            commands[accepted.execution_id] = await running.enter_async_context(monitor(*arguments))
            return accepted.execution_id

        for workflow_id in ("demo-loop", "demo-flaky"):
            await commands[await execute_and_follow(workflow_id)].line_with("demo:")
        cancelled = await execute_and_follow("demo-wait")
        service.kill()
        cancel = Cancel(uuid.uuid4().hex, "default", cancelled, "demo-wait", "enough")
        assert isinstance(await engine.submit(cancel), Accepted)
        service.launch()
        await service.ready()
        for execution_id, command in commands.items():
            code, _ = await command.ended()
            async with service.client() as client:
                row = (await client.get(f"/v1/executions/{execution_id}")).json()
                logs = (await client.get(f"/v1/executions/{execution_id}/logs")).json()["logs"]
            assert code == EXIT_CODES[row["status"]]
            assert (row["status"] == "cancelled") is (execution_id == cancelled)
            told = [line["message"] for frame in command.documents for line in lines_of(frame)]
            assert told == [line["message"] for line in logs]
            events = Counter(frame["id"] for frame in command.documents if "id" in frame)
            assert set(events.values()) <= {1}


def lines_of(frame: Event) -> list[Event]:
    """The log lines that a frame brings."""
    lines: list[Event] = frame["data"]["lines"] if frame["type"] == "log.appended" else []
    return lines


async def test_log_that_is_too_much_for_the_stream_is_told_whole(shared: Service) -> None:
    """Lines that the stream leaves out for a reader who stood still are fetched; each of 9,000 is told once."""
    said = [talk(second, number) for second in range(6) for number in range(500)]
    await shared.ready()
    await tell(shared, event("talkative", 0, "execution.started"))
    async with monitor("follow", "talkative", "--url", shared.url, "--json") as command:
        await command.line_with("stream.snapshot")
        await watched(shared, "execution:talkative")
        command.process.send_signal(signal.SIGSTOP)
        for at in range(0, len(said), 500):
            await send(shared, *said[at : at + 500])
        await send(shared, ending("talkative", "success"))
        command.process.send_signal(signal.SIGCONT)
        assert (await command.ended())[0] == 0
    told = Counter(line["message"] for frame in command.documents for line in lines_of(frame))
    assert told == Counter(line["message"] for each in said for line in lines_of(each))
    assert "stream.log-gap" in {frame["type"] for frame in command.documents}


def talk(second: int, number: int) -> Event:
    """An event with three of many lines."""
    timestamp = f"2026-11-22T10:30:{second:02}.{number:03}Z"
    lines = [{"timestamp": timestamp, "message": f"{second}.{number}.{line} {'x' * 200}"} for line in range(3)]
    return event("talkative", second, "log.appended", lines=lines) | {"id": f"{second}.{number}"}


async def test_first_event_is_waited_for(service: Service) -> None:
    """With --wait, even of a service that starts later; without, an unknown execution is exit code 2."""
    await service.ready()
    async with monitor("follow", "later", "--url", service.url) as command:
        code, err = await command.ended()
    assert (code, command.lines, err.count("\n")) == (2, [], 1)
    assert "--wait" in err
    service.kill()
    async with monitor("follow", "later", "--wait", "--url", service.url) as command:
        assert command.process.stderr is not None
        async with asyncio.timeout(WITHIN_S):
            assert b"Connection refused" in await command.process.stderr.readline()
        service.launch()
        await service.ready()
        await watched(service, "execution:later")
        await send(service, event("later", 0, "execution.queued"))
        await command.line_with("queued")
        await send(service, event("later", 1, "execution.started"), ending("later", "success"))
        assert (await command.ended())[0] == 0
    assert [line.split()[1] for line in command.lines[1:]] == ["queued", "running", "success"]


@pytest.mark.parametrize("arguments", [("follow", "e"), ("tail",)])
async def test_nobody_there_is_one_line_with_the_cure(arguments: Sequence[str]) -> None:
    """Exit code 2, at once."""
    async with monitor(*arguments, "--url", f"http://127.0.0.1:{free_ports(1)[0]}") as command:
        code, err = await command.ended()
    assert (code, command.lines, err.count("\n")) == (2, [], 1)
    assert "monitor serve" in err
    assert "--url" in err


async def test_service_that_stays_away_is_given_up(service: Service) -> None:
    """Exit code 2 after as long as the command line allows, although there is no outcome."""
    await service.ready()
    await tell(service, event("e", 0, "execution.started"))
    async with monitor("follow", "e", "--url", service.url, "--patience", "0.5") as command:
        await command.line_with("under way")
        service.kill()
        code, err = await command.ended()
    assert code == 2
    assert "--patience" in err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [("follow", "quiet follow"), ("tail", "--recent", "1", "--workflow", "pay")])
async def test_ctrl_c_ends_it_quietly(shared: Service, arguments: Sequence[str]) -> None:
    """Exit code 130, as a shell expects it; nothing on stderr."""
    await shared.ready()
    await tell(shared, event(f"quiet {arguments[0]}", 0, "execution.started"))
    async with monitor(*arguments, "--url", shared.url) as command:
        await command.line_with("running")
        command.process.send_signal(signal.SIGINT)
        assert await command.ended() == (130, "")


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_closed_pipe_ends_it_quietly(shared: Service, form: Sequence[str]) -> None:
    """Exit code 141, as of other programs whose reader has gone."""
    await shared.ready()
    ours, theirs = os.pipe()
    async with monitor("tail", *form, "--workflow", "pay", "--url", shared.url, stdout=theirs) as command:
        os.close(theirs)
        await watched(shared, "workflow:pay")
        os.close(ours)
        started = event(f"piped {form}", 0, "execution.started")
        await send(shared, started, event(f"piped {form}", 1, "node.started", nodeId="n"))
        assert await command.ended() == (141, "")


async def watched(service: Service, channel: str) -> None:
    """Return when somebody is subscribed to this channel."""

    async def is_watched() -> bool:
        async with service.client() as client:
            rows = (await client.get("/v1/streams")).json()["data"]
        return any(channel in row["channels"] for row in rows)

    await eventually(is_watched, within_s=WITHIN_S)


async def test_terminal_shows_colours_and_a_bar_and_no_tricks(shared: Service) -> None:
    """The bar is gone at the end and the cursor is back; what strangers wrote does not steer the terminal."""
    await shared.ready()
    hostile = "\x1b]0;owned\x07\x9b2J"
    await tell(shared, event("drawn", 0, "execution.started"))
    ours, theirs = pty.openpty()
    try:
        async with monitor("follow", "drawn", "--url", shared.url, stdout=theirs) as command:
            os.close(theirs)
            drawn = await read_until(ours, b"under way")
            progress = event("drawn", 1, "execution.progress", completed=1, total=2, current=hostile)
            await send(
                shared,
                progress,
                log("drawn", 2, hostile),
                event("drawn", 3, "node.started", nodeId="n", nodeName=hostile),
            )
            drawn += await read_until(ours, b"50%")
            await send(shared, ending("drawn", "failed"))
            drawn += await read_until(ours, b"failed")
            drawn += await read_until(ours, b"\x1b[?25h")
            assert (await command.ended())[0] == EXIT_CODES["failed"]
    finally:
        os.close(ours)
    assert b"\x1b[1;31mfailed" in drawn
    assert b"\x1b]0;" not in drawn
    assert "\x9b".encode() not in drawn
    assert b"\\x1b]0;owned\\x07\\x9b2J" in drawn


async def read_until(terminal: int, text: bytes) -> bytes:
    """What is drawn on the terminal up to and with `text`."""
    drawn = b""
    async with asyncio.timeout(WITHIN_S):
        while text not in drawn:
            drawn += await asyncio.to_thread(os.read, terminal, 4096)
    return drawn


# --- tail ------------------------------------------------------------------------------------------------------------


async def test_tail_shows_what_is_wanted(shared: Service) -> None:
    """By channel, status, type and field; judged by the service, which also says what it does not know."""
    await shared.ready()
    other = {"workflowId": "other"}
    await send(
        shared,
        *(
            event("a", 0, "execution.started") | other,
            event("a", 1, "node.started", nodeId="n"),
            ending("a", "failed", 3),
        ),
        *(event("b", 0, "execution.started") | other, log("b", 2, "said")),
        event("b", 9, "execution.completed", duration=7.5),
    )
    asked = {
        ("--channel", "execution:a", "--event", "execution.*"): ["a execution.started", "a execution.failed"],
        ("--workflow", "other", "--status", "failed,success", "--filter", "duration>=5"): ["b execution.completed"],
        ("--workflow", "other", "--logs", "--filter", "id=b"): ["b execution.started", "b log.appended"],
    }
    for options, expected in asked.items():
        limit = ("--limit", str(len(expected)), "--since", "earliest", "--json", "--url", shared.url)
        async with monitor("tail", *options, *limit) as command:
            assert await command.ended() == (0, "")
        events = [frame for frame in command.documents if not frame["type"].startswith("stream.")]
        assert [f"{frame['executionId']} {frame['type']}" for frame in events] == expected
    async with monitor("tail", "--filter", "durations>=5", "--url", shared.url) as command:
        code, err = await command.ended()
    assert (code, err) == (2, "monitor: unknown filter field 'durations'; did you mean 'duration'?\n")


async def test_tail_misses_nothing_when_the_service_is_killed(service: Service) -> None:
    """Every event once and in order, those included that came while nobody watched."""
    await service.ready()
    async with monitor("tail", "--json", "--limit", "40", "--url", service.url) as command:
        await command.line_with("stream.subscribed")
        for life in range(2):
            await send(service, *(event(f"e{life}-{number}", 0, "execution.started") for number in range(10)))
            await command.line_with(f'"e{life}-5"')
            command.process.send_signal(signal.SIGSTOP)
            await send(service, *(event(f"f{life}-{number}", 0, "execution.started") for number in range(10)))
            service.kill()
            service.launch()
            await service.ready()
            command.process.send_signal(signal.SIGCONT)
        code, _ = await command.ended()
    told = [frame["executionId"] for frame in command.documents if "executionId" in frame]
    assert (code, told) == (0, [f"{kind}{life}-{n}" for life in range(2) for kind in "ef" for n in range(10)])


async def test_tail_says_so_when_the_service_has_forgotten_everything(service: Service) -> None:
    """It came back on an empty folder, and knows no position of before: a line says so."""
    await service.ready()
    async with monitor("tail", "--limit", "2", "--workflow", "pay", "--url", service.url) as command:
        await watched(service, "workflow:pay")
        await send(service, event("before", 0, "execution.started"))
        await command.line_with("before")
        service.kill()
        shutil.rmtree(service.data)
        service.launch()
        await service.ready()
        await command.line_with("-- events may be missing")
        await watched(service, "workflow:pay")
        await send(service, event("after", 0, "execution.started"))
        assert (await command.ended())[0] == 0
    assert [line.split()[1] for line in command.lines] == ["before", "events", "after"]


async def test_tail_goes_on_where_another_one_ended(shared: Service) -> None:
    """With the position of its last frame; one that the service did not make is refused."""
    await shared.ready()
    chain = {"workflowId": "chain"}
    await send(shared, *(event(f"chain {number}", 0, "execution.started") | chain for number in range(5)))
    common = ("--workflow", "chain", "--json", "--url", shared.url)
    async with monitor("tail", "--since", "earliest", "--limit", "2", *common) as first:
        assert (await first.ended())[0] == 0
    position = first.documents[-1]["position"]
    async with monitor("tail", "--since", position, "--limit", "3", *common) as second:
        assert (await second.ended())[0] == 0
    told = [frame["executionId"] for command in (first, second) for frame in command.documents if "id" in frame]
    assert told == [f"chain {number}" for number in range(5)]
    async with monitor("tail", "--since", "nonsense", *common) as wrong:
        code, err = await wrong.ended()
    assert (code, err.count("\n")) == (2, 1)


async def test_tail_begins_with_the_latest_executions(shared: Service) -> None:
    """As they stand, then live; a line each."""
    await shared.ready()
    late = {"workflowId": "late"}
    await tell(shared, *(event(f"late {number}", number, "execution.started") | late for number in range(4)))
    arguments = ("--workflow", "late", "--recent", "3", "--limit", "1", "--url", shared.url)
    async with monitor("tail", *arguments) as command:
        await command.line_with("snapshot")
        await watched(shared, "workflow:late")
        await send(shared, ending("late 3", "crashed"))
        assert await command.ended() == (0, "")
    words = [line.split() for line in command.lines]
    assert sorted(row[2] for row in words[:3]) == ["1", "2", "3"]
    assert [row[3:6] for row in words[:3]] == [["late", "snapshot", "running"]] * 3
    assert words[3][2:6] == ["3", "late", "execution.failed", "crashed"]
