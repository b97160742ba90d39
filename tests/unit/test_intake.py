"""Intake gives each item its verdict, keeps the good ones and appends nothing twice."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from monitor.access.teams import team_rule
from monitor.errors import InvalidEvent, JournalUnavailable
from monitor.events.codec import decode
from monitor.events.model import MAX_EVENT_BYTES, Entry, Event, Place
from monitor.events.position import Position
from monitor.intake import RECENT_EVENTS, Intake, Receipt
from monitor.journal.memory import MemoryJournal
from monitor.telemetry.metrics import Metrics
from tests.support.clocks import ManualClock, settle

TEAM_OF = team_rule(exclusive=True, trust_body=False)


class Door:
    """An intake over a journal in memory."""

    def __init__(self, partitions: int = 1) -> None:
        self.journal = MemoryJournal(partitions, clock=ManualClock())
        self.intake = Intake(self.journal, Metrics())

    async def accept(self, *items: bytes, team: str = "acme") -> Receipt:
        """Send one request."""
        return await self.intake.accept(items, team=team)

    async def events(self) -> list[Event]:
        """What the projector will read."""
        found = []
        for partition, held in (await self.journal.bounds()).items():
            records = await self.journal.read(partition, held.start, held.end, 100_000)
            found += [decode(record, TEAM_OF) for record in records]
        return [event for event in found if isinstance(event, Event)]


def item(**members: Any) -> bytes:
    """An event as JSON; None removes a member."""
    whole = {"type": "execution.started", "executionId": "exec_1", "timestamp": "2026-11-22T10:30:00Z"} | members
    return msgspec.json.encode({name: value for name, value in whole.items() if value is not None})


def verdicts(receipt: Receipt) -> list[str]:
    """One word per item."""
    return [result.fault.code if result.fault else result.verdict for result in receipt.results]


async def test_accepted_items_are_in_the_journal_as_they_were_sent() -> None:
    """Byte for byte, under the principal's team, keyed by the execution."""
    door = Door()
    sent = b'{ "timestamp":"2026-11-22T10:30:00Z",  "executionId":"exec_1","type":"node.dreamt", "odd": [1] }'
    receipt = await door.accept(sent)
    (record,) = await door.journal.read(0, 0, 10, 10)
    (event,) = await door.events()
    assert (record.value, record.key, event.team) == (sent, b"exec_1", "acme")
    assert receipt.results[0].id == event.id


async def test_the_position_covers_what_was_accepted_and_delays_nobody_else() -> None:
    """Touched partitions stand behind the last item, the others at 0."""
    door = Door(partitions=3)
    receipt = await door.accept(item(id="a"), item(id="b"))
    partition = next(number for number, held in (await door.journal.bounds()).items() if held.end)
    expected = Position(door.journal.incarnation, (0, 0, 0)).advanced(partition, 2)
    assert receipt.position == expected


@pytest.mark.parametrize(
    ("bad", "code", "field"),
    [
        (b"{", "malformed_json", None),
        (b'{"type":"\xff"}', "malformed_json", None),
        (b"[]", "invalid_field", None),
        (b"", "empty", None),
        (b"[" * 100_000, "malformed_json", None),
        (item(executionId=None), "missing_field", "executionId"),
        (item(executionId=7), "invalid_field", "executionId"),
        (item(executionId="a\0b"), "invalid_field", "executionId"),
        (item(executionId="x" * 257), "invalid_field", "executionId"),
        (item(timestamp="soon"), "invalid_field", "timestamp"),
        (item(timestamp="9999-01-01T00:00:00Z"), "invalid_field", "timestamp"),
        (item(sequence=-1), "invalid_field", "sequence"),
        (item(data=[]), "invalid_field", "data"),
        (item(type="stream.reset"), "forbidden_type", "type"),
        (item(type="execution.recovered"), "forbidden_type", "type"),
        (item(source="monitor"), "forbidden_source", "source"),
        (item(teamId="rival"), "foreign_team", "teamId"),
        (item(data={"x": "y" * MAX_EVENT_BYTES}), "too_large", None),
    ],
)
async def test_a_bad_item_is_refused_by_name_and_harms_no_other(bad: bytes, code: str, field: str | None) -> None:
    """Field and reason for the bad one, and its neighbours are stored."""
    door = Door()
    receipt = await door.accept(item(id="before"), bad, item(id="after"))
    fault = receipt.results[1].fault
    assert fault is not None
    assert (fault.code, fault.field) == (code, field)
    assert verdicts(receipt) == ["accepted", code, "accepted"]
    assert [event.id for event in await door.events()] == ["before", "after"]


async def test_the_own_team_may_be_named() -> None:
    """`teamId` of the principal's team changes nothing."""
    assert verdicts(await Door().accept(item(teamId="acme"))) == ["accepted"]


async def test_repeats_are_told_and_not_appended() -> None:
    """Within a request and in the next one; their position is that of the first."""
    door = Door()
    first = await door.accept(item(id="a"), item(id="a"))
    again = await door.accept(item(id="a"))
    assert (verdicts(first), verdicts(again)) == (["accepted", "duplicate"], ["duplicate"])
    assert again.position == first.position
    assert len(await door.events()) == 1


async def test_an_id_means_one_event() -> None:
    """Other bytes under a used id are refused, here and in later requests; another execution or team may use it."""
    door = Door()
    other = item(id="a", sequence=2)
    assert verdicts(await door.accept(item(id="a"), other)) == ["accepted", "id_reused"]
    assert verdicts(await door.accept(other, item(id="a", executionId="exec_2"))) == ["id_reused", "accepted"]
    assert verdicts(await door.accept(other, team="rival")) == ["accepted"]


async def test_equal_items_without_id_are_facts_of_their_own() -> None:
    """Three equal items are three events, and sending the same request again adds none."""
    door = Door()
    request = [item(type="log.appended", data={"lines": [{"message": "tick"}]})] * 3
    assert verdicts(await door.accept(*request)) == ["accepted"] * 3
    assert verdicts(await door.accept(*request)) == ["duplicate"] * 3
    ids = [event.id for event in await door.events()]
    assert len(set(ids)) == 3


async def test_results_name_the_ids_that_the_projector_derives() -> None:
    """A derived id in the answer is the one that frames will carry."""
    door = Door()
    receipt = await door.accept(item(), item())
    assert [result.id for result in receipt.results] == [event.id for event in await door.events()]


async def test_an_unconfirmed_append_is_no_repeat_when_it_is_sent_again() -> None:
    """What the journal did not confirm is appended again: the fold drops it if it was there after all."""
    door = Door()
    await door.journal.close()
    with pytest.raises(JournalUnavailable):
        await door.accept(item(id="a"))
    door.intake._journal = journal = MemoryJournal(clock=ManualClock())
    assert verdicts(await door.accept(item(id="a"))) == ["accepted"]
    assert (await journal.bounds())[0].end == 1


async def test_an_append_that_hangs_counts_as_a_failure() -> None:
    """Long before it is given up, and once; one that is in time does not."""
    door = Door()
    await door.accept(item())
    assert door.intake.failures == 0
    append, held = door.journal.append, asyncio.Event()

    async def hanging(entries: Sequence[Entry]) -> list[Place]:
        await held.wait()
        return await append(entries)

    door.journal.append = hanging  # type: ignore[method-assign]
    intake = Intake(door.journal, Metrics(), late_s=0)
    request = asyncio.create_task(intake.accept([item(id="late")], team="acme"))
    await settle()
    assert intake.failures == 1
    held.set()
    assert verdicts(await request) == ["accepted"]
    assert intake.failures == 1


async def test_memory_of_repeats_is_bounded() -> None:
    """Old events are forgotten; what is remembered is the latest."""
    door = Door()
    await door.accept(item(id="first"))
    for start in range(0, RECENT_EVENTS, 8192):
        await door.accept(*[item(id=str(number)) for number in range(start, start + 8192)])
    assert len(door.intake._recent) == RECENT_EVENTS
    assert verdicts(await door.accept(item(id="first"), item(id="9"))) == ["accepted", "duplicate"]


async def test_own_events_pass_as_the_monitor() -> None:
    """The service's verdicts use the source that nobody else may use."""
    door = Door()
    members = {"type": "execution.late", "executionId": "e", "timestamp": "2026-11-22T10:30:00Z", "source": "monitor"}
    await door.intake.publish([members], team="acme")
    assert [(event.type, event.source, event.team) for event in await door.events()] == [
        ("execution.late", "monitor", "acme")
    ]


async def test_own_events_must_be_events() -> None:
    """A mistake of ours is an exception, not a verdict that nobody reads."""
    with pytest.raises(InvalidEvent, match="'executionId' is required"):
        await Door().intake.publish([{"type": "execution.late", "timestamp": "2026-11-22T10:30:00Z"}], team="acme")


class SharedJournal(MemoryJournal):
    """One that others write too."""

    exclusive = False


@pytest.mark.parametrize(
    ("trust_team", "team", "said", "verdict"),
    [
        (True, "acme", "acme", "accepted"),
        (True, "acme", None, "foreign_team"),
        (True, "default", None, "accepted"),
        (True, "default", "acme", "foreign_team"),
        (False, "acme", "acme", "foreign_team"),
        (False, "acme", None, "foreign_team"),
        (False, "default", None, "accepted"),
    ],
)
async def test_what_a_shared_journal_would_tell_of_another_team_is_refused(
    trust_team: bool, team: str, said: str | None, verdict: str
) -> None:
    """There the body alone, or nothing, names the team: nobody writes into another one by leaving it out."""
    intake = Intake(SharedJournal(clock=ManualClock()), Metrics(), trust_team=trust_team)
    receipt = await intake.accept([item(teamId=said)], team=team)
    assert verdicts(receipt) == [verdict]
