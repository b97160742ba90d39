"""Whatever happens to its connections, a follower tells each thing once and ends with the outcome.

Against a service on real sockets that says what the test wrote down; pauses take no time.
"""

import asyncio
import json
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from monitor.cli.course import Course
from monitor.cli.follow import EXIT_CODES, Follower, path_of
from monitor.cli.screen import Screen
from monitor.cli.service import Unwatchable, open_service
from monitor.cli.subscription import Subscription
from monitor.cli.telling import open_teller
from monitor.projections.status import FINAL
from tests.support.scripted import LONG_AGO, Act, Document, HastyClock, Refusal, Script, Scripted, refusal, scripted

HELLO: Document = {"type": "stream.hello", "sid": "s", "heartbeat_ms": 15_000, "limits": {}}
GOING = {"status": "running", "progress": {"completed": 1, "total": 2, "ratio": 0.5}}
LINES = [{"timestamp": f"2026-11-22T10:30:0{at}.000Z", "level": "info", "message": f"line {at}"} for at in range(1, 7)]


def event(number: int, kind: str = "node.started", stands: str = "running", /, **data: Any) -> Document:
    """An event of the execution; its number is its second, version and position."""
    members = {"type": kind, "executionId": "e", "workflowId": "w", "id": f"id-{number}", "version": number}
    timed = {"timestamp": f"2026-11-22T10:30:0{number}.000Z", "data": data, "position": f"p{number}"}
    return members | timed | {"state": {**GOING, "status": stands}}


def log(number: int, *lines: Document) -> Document:
    """The event that brings these lines."""
    return event(number, "log.appended", lines=list(lines))


def ended(number: int, status: str = "success") -> Document:
    """The event that ends it."""
    kind = {"success": "completed", "cancelled": "cancelled"}.get(status, "failed")
    return event(number, f"execution.{kind}", status, status=status)


def end(status: str = "success") -> Document:
    """The stream's last word."""
    return {"type": "stream.end", "executionId": "e", "status": status, "position": "e.p9"}


def answer(status: str = "running", version: int = 1, **more: Any) -> Document:
    """The execution as REST shows it."""
    members = {"id": "e", "workflowId": "w", "workflowName": "Pay", "status": status, "version": version}
    return {**members, "startedAt": LONG_AGO, "updatedAt": LONG_AGO, "progress": GOING["progress"], **more}


def run(node_id: str, status: str = "success") -> Document:
    """A run of a node as REST shows it."""
    return {"nodeId": node_id, "status": status, "stoppedAt": "2026-11-22T10:30:02.000Z", "iteration": 0, "attempt": 1}


class Told:
    """How it ended, and what was printed."""

    def __init__(self, status: str, printed: str) -> None:
        self.status, self.lines = status, printed.splitlines()

    @property
    def words(self) -> list[str]:
        """The lines behind the title, without times."""
        return [" ".join(line[13:].split()) for line in self.lines[1:]]

    @property
    def documents(self) -> list[Document]:
        """The lines, read as JSON."""
        return [json.loads(line) for line in self.lines]


async def follow(
    fake: Scripted,
    capsys: pytest.CaptureFixture[str],
    *,
    as_json: bool = False,
    with_logs: bool = True,
    waits: bool = False,
    quiet_s: float = 0.2,
    idle_s: float = 60.0,
) -> Told:
    """Follow the execution `e` of the scripted service to its end."""
    clock = HastyClock()
    async with open_service(fake.url) as service:
        subscription = Subscription(
            service,
            f"{path_of('e')}/stream",
            [("snapshot", "active")],
            Course(fake.url, 0.0, patience_s=60, waits=waits),
            clock=clock,
            chance=random.Random(1),
            on_pause=lambda _why, _pause_s: None,
        )
        with open_teller(Screen(), "e", as_json=as_json) as teller:
            follower = Follower(
                "e",
                service,
                subscription,
                teller,
                clock=clock,
                with_logs=with_logs,
                waits=waits,
                quiet_s=quiet_s,
                idle_s=idle_s,
            )
            async with asyncio.timeout(60):
                status = await follower.run()
    return Told(status, capsys.readouterr().out)


def positions(fake: Scripted) -> list[str | None]:
    """From where each connection went on."""
    return [asked.query.get("position") for asked in fake.connections]


def test_every_end_has_an_exit_code_of_its_own() -> None:
    """None of them is 2, which means that it could not be followed."""
    assert EXIT_CODES.keys() == FINAL
    assert sorted(EXIT_CODES.values()) == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_past_is_told_from_rest_alone(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An execution that ended long ago needs no stream; runs and log lines stand in order of time."""
    async with scripted() as fake:
        fake.executions["e"] = answer(status, stoppedAt=LONG_AGO, executionData=[run("a")])
        fake.logs = LINES[:3]
        told = await follow(fake, capsys)
    assert (told.status, told.lines[0]) == (status, f"e  Pay (w)  {LONG_AGO}")
    assert told.words == ["info line 1", "info line 2", "success a", "info line 3", f"{status} execution has ended"]
    assert fake.connections == []


async def test_future_is_told_from_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    """From where REST stood, with everything that it has and no connection more."""
    async with scripted() as fake:
        fake.executions["e"] = answer(executionData=[run("a", "running")])
        last = event(6, "log.appended", "success", lines=[LINES[5]])
        fake.streams.append([HELLO, log(3, LINES[2]), event(4, "node.completed", nodeId="a"), ended(5), last, end()])
        told = await follow(fake, capsys)
    assert told.status == "success"
    assert told.lines[1].split() == ["00:02.000", "running", "a"]
    assert told.words == [
        *("running a", "running execution is under way", "info line 3", "success a"),
        *("success execution completed", "info line 6"),
    ]
    assert [asked.query for asked in fake.connections] == [{"snapshot": "active", "position": "read"}]


@pytest.mark.parametrize("how", [[Act.CUT], [Act.END], [b'{"type":"execution.comple', Act.CUT], [b"garbage\n"]])
async def test_stream_that_broke_off_is_resumed(how: Sequence[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """From the last position; what comes again is told once."""
    async with scripted() as fake:
        fake.executions["e"] = answer()
        again = [event(2, nodeId="a"), event(3, nodeId="b"), ended(4), end()]
        fake.streams.extend([[HELLO, event(2, nodeId="a"), *how], [HELLO, *again]])
        told = await follow(fake, capsys)
    assert told.words[1:] == ["running a", "running b", "success execution completed"]
    assert positions(fake) == ["read", "p2"]
    assert [asked.query for asked in fake.reads[2:]] == [{}]


@pytest.mark.parametrize("stream", [Refusal(503), [HELLO, Act.HANG], [HELLO, Act.CUT], Refusal(204), [HELLO, end()]])
async def test_end_that_the_stream_does_not_tell_is_told_by_rest(
    stream: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gets one chance; then REST tells the rest, and nothing that was told already."""
    async with scripted() as fake:
        fake.executions["e"] = answer()

        def finish() -> None:
            fake.executions["e"] = answer("failed", 5, stoppedAt=LONG_AGO, executionData=[run("a"), run("b", "failed")])
            fake.logs = LINES[:2]

        cut: Script = [HELLO, event(2, "node.completed", nodeId="a"), log(3, LINES[0]), finish, Act.CUT]
        fake.streams.extend([cut, stream])
        told = await follow(fake, capsys)
    assert told.status == ("success" if stream == [HELLO, end()] else "failed")
    if told.status == "failed":
        assert told.words[1:] == [
            *("success a", "info line 1", "info line 2", "failed b", "failed execution has ended")
        ]
        assert positions(fake)[1] == "p3"


async def test_silence_after_the_end_is_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """The stream told everything but that nothing follows."""
    async with scripted() as fake:
        fake.executions["e"] = answer()

        def finish() -> None:
            fake.executions["e"] = answer("cancelled", 5)

        fake.streams.append([HELLO, finish, ended(5, "cancelled"), Act.HANG])
        told = await follow(fake, capsys)
    assert (told.status, told.words[1:]) == ("cancelled", ["cancelled execution cancelled"])
    assert len(fake.connections) == 1


async def test_stream_that_is_alive_and_tells_nothing_is_not_believed_for_ever(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """REST is asked now and then."""
    async with scripted() as fake:
        fake.executions["e"] = answer()

        def finish() -> None:
            fake.executions["e"] = answer("timeout", 5)

        fake.streams.extend([[HELLO, {"type": "stream.heartbeat"}, finish, Act.HANG], [HELLO, Act.HANG]])
        told = await follow(fake, capsys, idle_s=0.2)
    assert (told.status, told.words[1:]) == ("timeout", ["timeout execution has ended"])


async def test_dead_connection_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """After two and a half heartbeats."""
    async with scripted() as fake:
        fake.executions["e"] = answer()
        fake.streams.extend([[HELLO | {"heartbeat_ms": 80}, Act.HANG], [HELLO, ended(5, "crashed"), end("crashed")]])
        assert (await follow(fake, capsys)).status == "crashed"


@pytest.mark.parametrize(
    "loss",
    [
        {"type": "stream.gap", "reason": "retention", "lost": {"from": "a", "to": "b"}},
        {"type": "stream.reset", "reason": "incarnation"},
        {"type": "stream.snapshot", "executionId": "e", "version": 4, "state": GOING, "execution": {}},
    ],
)
async def test_what_the_stream_left_out_is_told_by_rest(loss: Document, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it and nothing twice; the stream goes on where REST stood."""
    async with scripted() as fake:
        fake.executions["e"] = answer()

        def miss() -> None:
            fake.position, fake.logs = "later", LINES[:3]
            fake.executions["e"] = answer(version=4, executionData=[run("a"), run("b", "running")])

        told_before = [event(2, "node.completed", nodeId="a"), log(3, LINES[0], LINES[2])]
        cut: Script = [HELLO, *told_before, miss, loss, Act.HANG]
        # Line 3 is in the answer already, since the log was read later than the stream begins.
        fake.streams.extend([cut, [HELLO, log(5, LINES[2], LINES[3]), ended(6), end()]])
        told = await follow(fake, capsys)
    said = [word for word in told.words[1:] if not word.startswith("note")]
    assert said == [
        *("success a", "info line 1", "info line 3", "info line 2", "running b"),
        *("info line 3", "info line 4", "success execution completed"),
    ]
    assert [word for word in told.words if word.startswith("note")] == (
        [] if loss["type"] == "stream.snapshot" else [word for word in told.words if "events" in word]
    )
    assert positions(fake) == ["read", "later"]


async def test_log_lines_that_were_left_out_are_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    """Page by page from the address that the frame names; those that the stream brings all the same come once."""
    many = [
        {"timestamp": f"2026-11-22T10:30:01.{at // 4:03}Z", "level": "info", "message": f"many {at}"}
        for at in range(2500)
    ]
    href = "/v1/executions/e/logs?from=2026-11-22T10:30:01.000Z&to=2026-11-22T10:30:02.000Z&limit=10"
    gap: Document = {"type": "stream.log-gap", "executionId": "e", "count": 2498, "position": "p2", "href": href}
    async with scripted() as fake:
        fake.executions["e"] = answer()

        def tell() -> None:
            fake.logs = many

        fake.streams.append([HELLO, log(1, many[1]), tell, gap, log(3, many[2499]), ended(4), end()])
        told = await follow(fake, capsys)
    assert told.words[1] == "info many 1"
    assert told.words[2:-1] == [f"info many {at}" for at in range(2500) if at != 1]
    pages = [asked.query for asked in fake.reads if asked.query.get("to")]
    assert [page["limit"] for page in pages] == ["1000"] * 3
    assert [page["from"][17:] for page in pages] == ["01.000Z", "01.249Z", "01.498Z"]


async def test_log_that_cannot_be_fetched_is_read_as_a_whole_later(capsys: pytest.CaptureFixture[str]) -> None:
    """A gap is not forgotten because of a service that was away for a moment."""
    gap = {"type": "stream.log-gap", "executionId": "e", "count": 1, "href": "/v1/executions/e/logs", "position": "p2"}
    async with scripted() as fake:
        # At first, of the execution and of its log; then of what was left out; then of everything.
        fake.executions["e"] = deque([answer(), answer(), Refusal(503), answer(version=3)])
        told_late = lambda: fake.logs.extend(LINES[:2])  # noqa: E731
        fake.streams.extend([[HELLO, log(2, LINES[0]), told_late, gap, Act.HANG], [HELLO, ended(4), end()]])
        told = await follow(fake, capsys)
    assert told.words[1:] == ["info line 1", "info line 2", "success execution completed"]


# --- presumed crashes, restarts, deletions ---------------------------------------------------------------------------


def crashed(number: int) -> Document:
    """A verdict of the monitor."""
    return event(number, "execution.failed", "crashed", status="crashed", provisional=True)


async def test_presumed_crash_may_be_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    """The stream's end does not make it true: it is followed until it is settled."""
    async with scripted() as fake:
        fake.executions["e"] = answer()

        def presume() -> None:
            fake.executions["e"] = answer("crashed", 2, provisional=True, updatedAt="2026-11-22T10:59:50.000Z")

        fake.streams.extend(
            [[HELLO, presume, crashed(2), end("crashed")], [HELLO, event(3, "execution.recovered"), ended(4), end()]]
        )
        told = await follow(fake, capsys)
    assert told.status == "success"
    assert told.words[1:] == ["crashed execution failed", "running execution recovered", "success execution completed"]


async def test_presumed_crash_that_nobody_revokes_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """After half a minute without a sign of life."""
    async with scripted() as fake:
        fake.executions["e"] = answer()

        def presume(seconds: int) -> None:
            at = f"2026-11-22T10:59:{seconds}.000Z"
            fake.executions["e"] = answer("crashed", 2, provisional=True, updatedAt=at)

        fake.streams.extend(
            [
                [HELLO, lambda: presume(50), crashed(2), end("crashed")],
                [HELLO, lambda: presume(30), end("crashed")],
            ]
        )
        told = await follow(fake, capsys)
    assert (told.status, told.words[1:]) == ("crashed", ["crashed execution failed"])


async def test_execution_that_was_deleted_cannot_be_followed_on(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no outcome."""
    async with scripted() as fake:
        fake.executions["e"] = answer()
        fake.streams.append([HELLO, fake.executions.clear, event(2, "execution.deleted"), Act.HANG])
        with pytest.raises(Unwatchable, match="'e' is not there any more: somebody has deleted it"):
            await follow(fake, capsys)


# --- what is not there -----------------------------------------------------------------------------------------------


async def test_unknown_execution_is_told_with_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    """Without waiting for anything."""
    async with scripted() as fake:
        with pytest.raises(Unwatchable, match=r"no execution 'e' at http://.*; `monitor tail --recent 20`.* --wait"):
            await follow(fake, capsys)
    assert (len(fake.reads), fake.connections) == (1, [])


async def test_first_event_can_be_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Through restarts of a service that does not know it yet; its title is what the event tells."""
    async with scripted() as fake:
        waiting = [HELLO, {"type": "stream.snapshot-end", "count": 0, "position": "p0"}, {"type": "stream.heartbeat"}]
        fake.streams.extend(
            [[*waiting, Act.CUT], Refusal(503), [HELLO, event(1, "execution.queued", "queued"), ended(2), end()]]
        )
        told = await follow(fake, capsys, waits=True)
    assert told.lines == [
        "e  w",
        "  00:00.000  queued     execution queued",
        "  00:01.000  success    execution completed",
    ]
    assert positions(fake) == [None, "p0", "p0"]


async def test_execution_that_came_before_the_stream_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Between the answer that it is not there and the stream's beginning; the snapshot tells that it is."""
    snapshot = {"type": "stream.snapshot", "executionId": "e", "version": 3, "state": GOING, "execution": {}}
    async with scripted() as fake:

        def come() -> None:
            fake.executions["e"] = answer(version=3, executionData=[run("a")])

        fake.streams.extend([[HELLO, come, snapshot, Act.HANG], [HELLO, ended(5), end()]])
        told = await follow(fake, capsys, waits=True)
    assert told.words == ["success a", "running execution is under way", "success execution completed"]
    assert positions(fake) == [None, "read"]


async def test_service_that_is_away_at_first_can_be_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """But not by who does not say so."""
    async with scripted() as fake:
        fake.executions["e"] = deque([Act.CUT, Act.CUT, Act.CUT, answer("failed")])
        with pytest.raises(Unwatchable, match="nobody answers at http://"):
            await follow(fake, capsys)
        assert (await follow(fake, capsys, waits=True)).status == "failed"


async def test_busy_service_is_waited_out(capsys: pytest.CaptureFixture[str]) -> None:
    """At every question; nothing is lost by it."""
    busy = refusal(503, "STORE_UNAVAILABLE", "not now", retry_after="1")
    async with scripted() as fake:
        # The second question is for the log.
        fake.executions["e"] = deque([busy, answer(), busy, busy, answer(), answer(), busy, answer(), busy, answer()])
        fake.streams.extend([busy, [HELLO, event(2), Act.CUT], [HELLO, ended(3), end()]])
        told = await follow(fake, capsys)
    assert told.words[1:] == ["running", "success execution completed"]


@pytest.mark.parametrize("status", [401, 403, 421])
async def test_refusal_is_told_in_the_services_words(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody waits for credentials to become valid."""
    async with scripted() as fake:
        fake.executions["e"] = refusal(status, "INSUFFICIENT_PERMISSIONS", "not you")
        with pytest.raises(Unwatchable, match="not you"):
            await follow(fake, capsys)


# --- forms -----------------------------------------------------------------------------------------------------------


async def test_programs_get_frames(capsys: pytest.CaptureFixture[str]) -> None:
    """REST's word in the form of frames, then those of the stream, each as it came."""
    async with scripted() as fake:
        fake.executions["e"], fake.logs = answer(), LINES[:1]
        stale = {"type": "stream.stale", "since": LONG_AGO, "lag": 3}
        told_frames = [log(2, LINES[2]), stale, ended(3), end()]
        fake.streams.append([HELLO, {"type": "stream.checkpoint", "position": "p"}, *told_frames])
        told = await follow(fake, capsys, as_json=True)
    snapshot = {"type": "stream.snapshot", "executionId": "e", "workflowId": "w", "version": 1, "state": GOING}
    assert told.documents == [
        {**snapshot, "execution": answer()},
        {"type": "log.appended", "executionId": "e", "data": {"lines": LINES[:1]}},
        *told_frames,
    ]


async def test_programs_get_only_what_is_new_of_a_frame(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that an answer was ahead with are taken out; the rest of the frame stays."""
    async with scripted() as fake:
        fake.executions["e"], fake.logs = answer(), LINES[:2]
        frame = log(2, LINES[1], LINES[2]) | {"coalesced": 2, "unheard": [1]}
        fake.streams.append([HELLO, frame, ended(3), end()])
        told = await follow(fake, capsys, as_json=True)
    assert told.documents[2] == frame | {"data": {"lines": [LINES[2]]}}


async def test_without_logs_none_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither of REST nor of the stream."""
    async with scripted() as fake:
        fake.executions["e"], fake.logs = answer("success"), LINES
        told = await follow(fake, capsys, with_logs=False)
    assert told.words == ["success execution has ended"]
    assert [asked.path for asked in fake.reads] == ["/v1/executions/e"]


async def test_progress_is_a_line_where_it_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe; the same once more is none."""
    async with scripted() as fake:
        fake.executions["e"] = answer()
        steps = [event(number, "execution.progress") for number in (2, 3)]
        fake.streams.append([HELLO, *steps, ended(4), end()])
        told = await follow(fake, capsys)
    assert told.words[1:] == ["progress 1/2 50%", "success execution completed"]
