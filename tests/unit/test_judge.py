"""The judge: silence is told while the service listens, and nobody is judged by a service that did not."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.access.teams import team_rule
from monitor.errors import JournalUnavailable
from monitor.events.codec import derived_id, format_time
from monitor.intake import Intake
from monitor.journal.base import Bounds
from monitor.journal.memory import MemoryJournal
from monitor.judge import PORTION, Judge
from monitor.mishaps import Mishaps
from monitor.pipeline import Pipeline
from monitor.projections.fold import Release
from monitor.projections.view import Summary
from monitor.store.base import Store
from monitor.store.memory import MemoryStore
from monitor.store.sqlite import open_sqlite_store
from monitor.telemetry.metrics import Metrics
from tests.support.clocks import ManualClock
from tests.support.decoding import usual
from tests.support.delivering import FailingStore
from tests.support.webhooks import BODIES, make_endpoint

TEAM_OF = team_rule(exclusive=True, trust_body=False)


class House:
    """Journal, store, pipeline and judges on one clock that a test moves."""

    def __init__(self, store: Store) -> None:
        self.clock, self.metrics = ManualClock(), Metrics()
        self.journal, self.store = MemoryJournal(clock=self.clock), store
        self.intake = Intake(self.journal, self.metrics)
        self.told: list[str] = []
        self.is_ready, self.is_down, self.folds = True, False, True
        self.pipeline = Pipeline(
            journal=self.journal,
            store=store,
            hub=self,
            decoding=usual(TEAM_OF),
            bodies=BODIES,
            on_deliveries=lambda: None,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.judge = self.another_judge()

    def another_judge(self, holder: str = "judge") -> Judge:
        """As a process that starts now has it."""
        return Judge(
            store=self.store,
            publish=self.intake.publish,
            bounds=self.bounds,
            unfolded=self.pipeline.unfolded,
            is_ready=lambda: self.is_ready,
            mishaps=Mishaps(store=self.store, intake=self.intake, clock=self.clock, holder=holder).any_since,
            clock=self.clock,
            metrics=self.metrics,
        )

    def publish(self, releases: Sequence[Release], _position: object) -> None:
        """Keeps what is told of executions, without what engines say."""
        engines = ("execution.started", "execution.heartbeat")
        self.told += [f"{it.event.execution_id} {it.event.type}" for it in releases if it.event.type not in engines]

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        """Nothing is cut here."""

    async def bounds(self) -> Mapping[int, Bounds]:
        """Of the journal, while it answers."""
        if self.is_down:
            raise JournalUnavailable("it does not answer")
        return await self.journal.bounds()

    async def say(self, type_: str, execution_id: str = "e", team: str = "default", **members: Any) -> None:
        """An engine says so, now."""
        told = {"type": type_, "executionId": execution_id, "timestamp": format_time(self.clock.now_us()), **members}
        await self.intake.publish([told], team=team)
        await self.fold()

    async def fold(self) -> None:
        """Everything that is in the journal, unless the pipeline stands still."""
        if self.folds:
            await self.pipeline.catch_up()

    async def pass_(self, seconds: int, *judges: Judge) -> None:
        """Let time pass, with a look every second."""
        for _ in range(seconds):
            await self.clock.advance(1)
            for judge in judges or (self.judge,):
                await judge.look()
            await self.fold()

    async def view(self, execution_id: str = "e", team: str = "default") -> Summary:
        """The stored view."""
        found = await self.store.read(lambda reader: reader.execution(team, execution_id))
        assert found is not None
        return found[0]


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """One that has listened for a while, over each kind of store."""
    opened: Any = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "s.db")
    house = House(opened)
    await opened.write(lambda writer: writer.bind(house.journal.incarnation, [0]))
    await house.pass_(5)
    yield house
    await opened.close()


PROMISE = {"heartbeat": 10}


async def test_silence_is_told_then_a_crash_presumed_then_revoked(house: House) -> None:
    """Each once, however often somebody looks."""
    await house.say("execution.started", data=PROMISE)
    await house.pass_(19)
    assert house.told == []
    await house.pass_(6)
    assert house.told == ["e execution.stalled"]
    await house.pass_(60)
    assert house.told == ["e execution.stalled", "e execution.failed"]
    view = await house.view()
    assert (view.status, view.provisional, view.reason) == ("crashed", True, "no_heartbeat")
    await house.say("execution.heartbeat")
    assert house.told[2:] == ["e execution.recovered"]
    view = await house.view()
    assert (view.status, view.provisional, view.reason) == ("running", False, None)
    await house.pass_(40)
    assert house.told[3:] == ["e execution.stalled", "e execution.failed"]


async def test_whoever_keeps_the_promise_is_left_alone(house: House) -> None:
    """And after its end for good; the watch goes away."""
    await house.say("execution.started", data=PROMISE)
    for _ in range(5):
        await house.pass_(9)
        await house.say("execution.heartbeat")
    await house.say("execution.completed")
    await house.pass_(60)
    assert house.told == ["e execution.completed"]
    assert await house.store.read(lambda reader: reader.next_watch_us()) is None


async def test_a_deadline_is_missed_in_the_team_that_it_is_of(house: House) -> None:
    """Verdicts go where the execution is."""
    deadline = format_time(house.clock.now_us() + 30_000_000)
    for team in ("red", "blue"):
        await house.say("execution.started", team=team, data={"deadlineAt": deadline})
    await house.say("execution.completed", team="blue")
    await house.pass_(40)
    assert house.told == ["e execution.completed", "e execution.late"]
    assert ((await house.view(team="red")).late, (await house.view(team="blue")).late) == (True, False)
    assert b'monitor_verdicts_total{kind="late"} 1.0' in house.metrics.text()


async def test_two_judges_are_harmless(house: House) -> None:
    """They say the same, and it happens once."""
    other = house.another_judge()
    await house.pass_(5, house.judge, other)
    await house.say("execution.started", data=PROMISE)
    await house.pass_(60, house.judge, other)
    assert house.told == ["e execution.stalled", "e execution.failed"]
    assert await house.store.read(lambda reader: reader.quarantine(10)) == []


async def test_a_verdict_that_gets_lost_is_said_again(house: House) -> None:
    """What was decided and not appended, since the journal or the process went away, is decided anew."""
    await house.say("execution.started", data=PROMISE)
    taking = house.journal.append

    async def refusing(_entries: object) -> Any:
        raise JournalUnavailable("disk full")

    house.journal.append = refusing  # type: ignore[assignment, method-assign]
    await house.pass_(25)
    house.journal.append = taking  # type: ignore[method-assign]
    assert house.told == []
    await house.pass_(25)
    assert house.told == ["e execution.stalled"]


async def test_nobody_is_judged_whose_words_were_not_taken(house: House) -> None:
    """The journal refused heartbeats that came in time; from the last refusal on silence counts anew."""
    await house.say("execution.started", data=PROMISE)
    taking = house.journal.append

    async def refusing(_entries: object) -> Any:
        raise JournalUnavailable("disk full")

    house.journal.append = refusing  # type: ignore[assignment, method-assign]
    for _ in range(4):
        await house.pass_(9)
        with pytest.raises(JournalUnavailable):
            await house.say("execution.heartbeat")
    house.journal.append = taking  # type: ignore[method-assign]
    await house.pass_(18)
    assert house.told == []
    await house.pass_(8)
    assert house.told == ["e execution.stalled"]


async def test_nobody_is_judged_whose_words_another_gateway_did_not_take(house: House) -> None:
    """Which tells of it as soon as the store answers, however late that is."""
    elsewhere = Intake(house.journal, house.metrics)
    line: Any = FailingStore(house.store)
    mishaps = Mishaps(store=line, intake=elsewhere, clock=house.clock, holder="elsewhere")
    await house.say("execution.started", data=PROMISE)
    for number in range(4):
        await house.pass_(9)
        elsewhere.failures += 1
        line.fails = number == 2
        await mishaps.tell()
    await house.pass_(1)
    line.fails = False
    await mishaps.tell()
    await house.pass_(18)
    assert house.told == []
    await house.pass_(8)
    assert house.told == ["e execution.stalled"]


async def test_a_mishap_is_told_also_by_a_clock_that_is_behind(house: House) -> None:
    """Of two that had one, the other one's is told in a moment: neither is lost in the other."""
    told: list[Mishaps] = []
    for name in ("ahead", "behind"):
        intake = Intake(house.journal, house.metrics)
        intake.failures += 1
        told.append(Mishaps(store=house.store, intake=intake, clock=house.clock, holder=name))
    judged = Mishaps(store=house.store, intake=house.intake, clock=house.clock, holder="judge")
    now_us = house.clock.now_us()
    await house.store.write(lambda writer: writer.take_lease("mishap", "x", now_us=now_us, until_us=now_us + 1_000))
    assert [await judged.any_since(), await judged.any_since()] == [True, False]
    await told[1].tell()
    assert not await judged.any_since()
    await house.clock.advance(1)
    for mishaps in told:
        await mishaps.tell()
        assert [await judged.any_since(), await judged.any_since()] == [True, False]
        await house.clock.advance(1)
    for mishaps in told:
        await mishaps.tell()
    assert not await judged.any_since()


async def test_a_restarted_service_counts_anew(house: House) -> None:
    """It was away for an hour: who was running then has two heartbeats to be heard of again."""
    await house.say("execution.started", data=PROMISE)
    await house.clock.advance(3600)
    judge = house.another_judge()
    await house.pass_(20, judge)
    assert house.told == []
    await house.pass_(3, judge)
    assert house.told == ["e execution.stalled"]


async def test_a_service_that_was_stopped_counts_anew(house: House) -> None:
    """Frozen and thawed, or its machine asleep, the same process sees it by the gap between two looks."""
    await house.say("execution.started", data=PROMISE)
    await house.clock.advance(3600)
    await house.pass_(20)
    assert house.told == []
    await house.pass_(3)
    assert house.told == ["e execution.stalled"]


@pytest.mark.parametrize("trouble", ["down", "not ready", "behind"])
async def test_nobody_is_judged_while_the_service_is_in_trouble(house: House, trouble: str) -> None:
    """Nor right after: what came meanwhile is folded first, and then silence counts."""
    await house.say("execution.started", data=PROMISE)
    await house.say("execution.started", "dead", data=PROMISE)
    house.is_down, house.is_ready, house.folds = trouble == "down", trouble != "not ready", trouble != "behind"
    for _ in range(10):
        await house.pass_(9)
        await house.say("execution.heartbeat")
    assert house.told == []
    house.is_down, house.is_ready, house.folds = False, True, True
    for _ in range(2):
        await house.pass_(9)
        await house.say("execution.heartbeat")
    assert house.told == []
    await house.pass_(5)
    assert house.told == ["dead execution.stalled"]


async def test_a_steady_stream_is_no_backlog(house: House) -> None:
    """There is always something that is not folded yet; what counts is whether the old is."""
    await house.say("execution.started", data=PROMISE)
    folding, house.folds = house.pipeline.catch_up, False
    for second in range(25):
        await folding()
        await house.say("execution.heartbeat", f"busy-{second}")
        await house.pass_(1)
    await folding()
    assert house.told == ["e execution.stalled"]


async def test_more_than_a_portion_is_looked_at(house: House) -> None:
    """In portions, all at one look."""
    many = [f"e{number}" for number in range(2 * PORTION + 1)]
    at = format_time(house.clock.now_us())
    started = [{"type": "execution.started", "executionId": it, "timestamp": at, "data": PROMISE} for it in many]
    await house.intake.publish(started, team="default")
    await house.fold()
    await house.pass_(21)
    assert sorted(house.told) == sorted(f"{it} execution.stalled" for it in many)


async def test_webhooks_hear_of_it(house: House) -> None:
    """Verdicts are events like any other: whoever asked for them is told."""
    await house.store.write(lambda writer: writer.add_endpoint(make_endpoint(events=("execution.stalled",))))
    await house.say("execution.started", data=PROMISE)
    await house.pass_(25)
    assert (await house.store.read(lambda reader: reader.backlog(None))).counts["pending"] == 1


# --- commands --------------------------------------------------------------------------------------------------------


async def ask(house: House, command_id: str, kind: str = "execute") -> None:
    """Somebody asks an engine for something."""
    await house.say("command.requested", command_id, data={"commandId": command_id, "kind": kind})


async def state_of(house: House, command_id: str) -> str:
    """What became of it."""
    found = await house.store.read(lambda reader: reader.command("default", command_id))
    assert found is not None
    return found.command.state


async def test_a_command_without_an_answer_fails_after_half_a_minute(house: House) -> None:
    """Once; with it the execution that it was to start. One that was answered does not."""
    await ask(house, "lost")
    await ask(house, "taken")
    await house.say("command.accepted", "taken", data={"commandId": "taken"})
    await house.pass_(30)
    assert "lost command.failed" not in house.told
    await house.pass_(40)
    assert house.told.count("lost command.failed") == 1
    assert (await state_of(house, "lost"), await state_of(house, "taken")) == ("failed", "accepted")
    view = await house.view("lost")
    assert (view.status, view.error) == (
        "failed",
        {"type": "no_answer", "message": "no engine has answered within 30 s"},
    )


async def test_an_answer_that_comes_late_holds(house: House) -> None:
    """The engine took it after all."""
    await ask(house, "slow")
    await house.pass_(35)
    assert await state_of(house, "slow") == "failed"
    await house.say("command.accepted", "slow", data={"commandId": "slow"})
    await house.say("execution.started", "slow")
    assert (await state_of(house, "slow"), (await house.view("slow")).status) == ("accepted", "running")


async def test_no_command_is_given_up_by_a_service_that_was_away(house: House) -> None:
    """The answer may be on its way; two judges give up once."""
    await ask(house, "patient")
    await house.clock.advance(3600)
    other = house.another_judge()
    await house.pass_(25, house.judge, other)
    assert await state_of(house, "patient") == "requested"
    await house.pass_(10, house.judge, other)
    assert house.told.count("patient command.failed") == 1
    assert await house.store.read(lambda reader: reader.quarantine(10)) == []


async def test_whoever_takes_the_id_of_a_verdict_silences_his_own_execution_alone(house: House) -> None:
    """Ids of verdicts can be foreseen; an event that bears one must not end the judge, nor what it says of others."""
    at = house.clock.now_us()
    missed_us = at + 2_000_000
    for id_ in ("mine", "yours"):
        await house.say("execution.started", id_, data={"deadlineAt": format_time(missed_us)})
    basis = f"mine\x000\x00{missed_us}\x00None"
    await house.say("execution.progress", "mine", id=derived_id("verdict:late", basis.encode()))
    house.told.clear()
    await house.pass_(4)
    assert house.told == ["yours execution.late"]


async def test_whoever_takes_the_id_of_a_missing_answer_does_not_end_the_judge(house: House) -> None:
    """Nor is anybody else's command left without a word."""
    await house.pass_(31)
    taken = derived_id("verdict:no_answer", b"mine\0cmd_mine")
    await house.say("execution.progress", "mine", id=taken)
    for id_ in ("mine", "yours"):
        await house.say("command.requested", id_, data={"commandId": f"cmd_{id_}", "kind": "execute"})
    house.told.clear()
    await house.pass_(33)
    assert house.told == ["yours command.failed"]


async def test_commands_that_cannot_be_given_up_hide_no_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are older: each look goes on behind the last one."""
    monkeypatch.setattr("monitor.judge.PORTION", 3)
    await house.pass_(31)
    mine = [f"mine_{number}" for number in range(7)]
    for id_ in mine:
        taken = derived_id("verdict:no_answer", f"{id_}\0cmd_{id_}".encode())
        await house.say("execution.progress", id_, id=taken)
    for id_ in (*mine, "yours"):
        await house.say("command.requested", id_, data={"commandId": f"cmd_{id_}", "kind": "execute"})
    house.told.clear()
    await house.pass_(40)
    assert house.told == ["yours command.failed"]
