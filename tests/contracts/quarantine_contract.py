"""What the store port promises about records that could not be applied, as tests that every driver has to pass."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from monitor.errors import Fenced
from monitor.events.codec import decode
from monitor.events.model import Poison, Record
from monitor.projections.bursts import Halt
from monitor.projections.fold import Changes
from monitor.store import Commit, Moved, Store, Writer
from monitor.store.quarantine_port import HaltRow, QuarantineQuery
from tests.contracts.ledger_contract import NOW_US
from tests.contracts.store_contract import STARTS, Feed, event
from tests.support.quarantine import quarantined

HEADERS = (("ce_type", b"\xff\0"), ("", b""), ("ce_type", b"again"))


def bad(offset: int, value: bytes | None = b"{", partition: int = 0) -> Poison:
    """A record that holds no event, as the journal has it."""
    read = decode(Record(partition, offset, b"key", value, HEADERS, NOW_US + offset), lambda _, said: said or "default")
    assert isinstance(read, Poison)
    return read


async def put(store: Store, *poison: Poison) -> None:
    """Commit these as one batch of their partition."""
    moved = {}
    for partition, row in (await store.read(lambda reader: reader.offsets())).items():
        if offsets := [it.record.offset for it in poison if it.record.partition == partition]:
            moved[partition] = Moved(row.next, offsets[-1] + 1, b"anchor")
    await store.write(lambda writer: writer.commit(Commit(Changes(poison=list(poison)), moved, [])))


class QuarantineContract:
    @pytest.fixture
    async def store(self) -> Store:
        raise NotImplementedError

    async def test_quarantine_keeps_any_bytes(self, store: Store) -> None:
        """Bytes that are no event are kept as they came, with key and headers, the newest first."""
        await put(store, bad(0, b"\0\xff not json"), bad(1, None), bad(2, b"{}"))
        rows = await store.read(lambda reader: reader.quarantine(10))
        assert [(row.offset, row.reason, row.field, row.size_bytes) for row in rows] == [
            (2, "missing_field", "type", 2),
            (1, "empty", None, None),
            (0, "malformed_json", None, 11),
        ]
        found = await store.read(quarantined)
        assert [it.row for it in found] == list(reversed(rows))
        assert [(it.key, it.value, it.headers) for it in found] == [
            (b"key", value, HEADERS) for value in (b"\0\xff not json", None, b"{}")
        ]
        assert await store.read(lambda reader: reader.quarantine(1)) == rows[:1]
        assert await store.read(lambda reader: reader.quarantined(77)) is None

    async def test_other_bytes_under_a_known_id_are_quarantined_for_their_team(self, store: Store) -> None:
        """As every record whose team can be told is."""
        feed = Feed(store)
        await feed.send(event("execution.started", id="same", teamId="red"))
        await feed.send(event("execution.completed", id="same", teamId="red"))
        [row] = await store.read(lambda reader: reader.quarantine(10))
        assert (row.reason, row.team) == ("id_reused", "red")

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({}, [45, 44, 3, 2, 1, 0]),
            ({"team": "red"}, [45, 1]),
            ({"reason": "malformed_json"}, [44, 3, 2]),
            ({"partition": 1}, [45, 44]),
            ({"since_us": NOW_US + 2, "until_us": NOW_US + 45}, [44, 3, 2]),
            ({"is_decided": False}, [45, 44, 3, 2]),
            ({"is_decided": True}, [1, 0]),
            ({"decision": "accepted"}, [0]),
            ({"decision": "replayed", "team": "red"}, [1]),
            ({"before_id": 3}, [1, 0]),
            ({"before_id": 5, "reason": "malformed_json", "team": "default"}, [3, 2]),
        ],
        ids=lambda said: " ".join(said) if isinstance(said, dict) else "",
    )
    async def test_quarantine_is_narrowed(self, store: Store, asked: dict[str, Any], expected: list[int]) -> None:
        """By team, reason, partition, time and decision, page by page."""
        red = msgspec.json.encode({"teamId": "red"})
        await put(store, bad(0, b"{}"), bad(1, red), bad(2), bad(3))
        await put(store, bad(44, partition=1), bad(45, red, partition=1))
        await store.write(lambda writer: writer.decide(1, "accepted", NOW_US, "ada"))
        await store.write(lambda writer: writer.decide(2, "replayed", NOW_US, "ada"))
        query = QuarantineQuery(**asked)
        rows = await store.read(lambda reader: reader.quarantine(10, query))
        assert [row.offset for row in rows] == expected
        assert await store.read(lambda reader: reader.undecided()) == 4

    async def test_decision_is_kept_with_who_made_it(self, store: Store) -> None:
        """The later one in place of the earlier; the record itself is untouched."""
        await put(store, bad(0), bad(1))
        before = await store.read(lambda reader: reader.quarantined(2))
        assert before is not None
        await store.write(lambda writer: writer.decide(2, "accepted", NOW_US + 1, "ada"))
        await store.write(lambda writer: writer.decide(2, "replayed", NOW_US + 2, "bob"))
        decided = before.row._replace(decision="replayed", decided_us=NOW_US + 2, decided_by="bob")
        assert await store.read(lambda reader: reader.quarantined(2)) == before._replace(row=decided)
        [other] = await store.read(lambda reader: reader.quarantine(10, QuarantineQuery(is_decided=False)))
        assert (other.id, other.decision, other.decided_us, other.decided_by) == (1, None, None, None)
        assert (await store.read(lambda reader: reader.offsets()))[1].next == STARTS[1]

    # Halts

    async def halt(self, store: Store) -> Halt:
        """Partition 0, after two records without an event, at the third."""
        await put(store, bad(0))
        halt = Halt(3, 1, 3, "malformed_json", NOW_US)
        changes = Changes(poison=[bad(1), bad(2)])
        commit = Commit(changes, {0: Moved(1, 3, b"anchor")}, [], {0: halt})
        await store.write(lambda writer: writer.commit(commit))
        return halt

    async def test_halted_partition_is_moved_by_nobody(self, store: Store) -> None:
        """What was applied before is kept; other partitions go on."""
        halt = await self.halt(store)
        moves: list[Callable[[Writer], None]] = [
            lambda writer: writer.commit(Commit(Changes(), {0: Moved(3, 4, b"")}, [])),
            lambda writer: writer.pass_cut(0, 3, 9),
        ]
        for move in moves:
            with pytest.raises(Fenced):
                await store.write(move)
        await put(store, bad(40, partition=1))
        offsets = await store.read(lambda reader: reader.offsets())
        assert (offsets[0].next, offsets[1].next) == (3, 41)
        assert await store.read(lambda reader: reader.halts()) == {0: HaltRow(halt)}
        assert await store.read(lambda reader: reader.undecided_in(0, 1)) == [1, 2]

    async def test_halt_of_who_stands_elsewhere_is_fenced(self, store: Store) -> None:
        """With everything else that it would have written."""
        commit = Commit(Changes(), {0: Moved(0, 2, b"anchor")}, [], {0: Halt(3, 1, 3, "empty", NOW_US)})
        with pytest.raises(Fenced):
            await store.write(lambda writer: writer.commit(commit))
        assert await store.read(lambda reader: reader.halts()) == {}
        assert (await store.read(lambda reader: reader.offsets()))[0].next == 0

    async def test_partition_that_goes_on_has_its_burst_accepted(self, store: Store) -> None:
        """From its first record up to where it was forgiven, and nothing before and behind; once."""
        halt = await self.halt(store)
        assert await store.write(lambda writer: writer.resume(0, 5, NOW_US + 1, "ada")) == 2
        assert await store.write(lambda writer: writer.resume(0, 9, NOW_US + 2, "bob")) == 0
        assert await store.read(lambda reader: reader.halts()) == {0: HaltRow(halt, 5, NOW_US + 1, "ada")}
        await put(store, bad(3), bad(4), bad(5))
        rows = await store.read(lambda reader: reader.quarantine(10))
        accepted = ("accepted", NOW_US + 1, "ada")
        assert [(row.offset, (row.decision, row.decided_us, row.decided_by)) for row in reversed(rows)] == [
            (0, (None, None, None)),
            *((offset, accepted) for offset in (1, 2, 3, 4)),
            (5, (None, None, None)),
        ]

    async def test_partition_halts_again(self, store: Store) -> None:
        """In place of what was said of it before."""
        await self.halt(store)
        await store.write(lambda writer: writer.resume(0, 4, NOW_US + 1, "ada"))
        again = Halt(4, 3, 3, "empty", NOW_US + 2)
        commit = Commit(Changes(), {0: Moved(3, 4, b"")}, [], {0: again})
        await store.write(lambda writer: writer.commit(commit))
        assert await store.read(lambda reader: reader.halts()) == {0: HaltRow(again)}
        with pytest.raises(Fenced):
            await store.write(lambda writer: writer.commit(Commit(Changes(), {0: Moved(4, 5, b"")}, [])))

    async def test_what_retention_removed_is_no_part_of_a_burst(self, store: Store) -> None:
        """It says nothing of whoever writes."""
        await store.write(lambda writer: writer.pass_cut(0, 0, 7))
        assert await store.read(lambda reader: reader.undecided_in(0, 0)) == []
