"""What the store port promises about executions that are forgotten, as tests that every driver has to pass."""

from collections.abc import Sequence
from functools import partial

import pytest

from monitor.store import Reader, Store
from monitor.store.expiry import Sweep
from tests.contracts.ledger_contract import NOW_US, SECOND_US
from tests.contracts.store_contract import STARTS, Feed, event

OF = ("default", "wf_1", "success")


def _ended(page: Sweep, reader: Reader) -> tuple[Sequence[str], Sweep | None]:
    return reader.ended_before(OF, NOW_US + 2 * SECOND_US, "keep", page)


class ExpiryContract:
    """Mixed into the class of a driver."""

    async def test_lists_are_counted_without_deleted_ones(self, store: Store) -> None:
        """By team, workflow and status."""
        feed = Feed(store)
        await feed.send(event("execution.completed", "a"), event("execution.completed", "b"))
        await feed.send(event("execution.started", "c"), event("execution.started", "d", teamId="acme"))
        await feed.send(event("execution.deleted", "a"))
        lists = await store.read(lambda reader: reader.lists())
        assert {of: count for of, count in lists.items() if count} == {
            OF: 1,
            ("default", "wf_1", "running"): 1,
            ("acme", "wf_1", "running"): 1,
        }

    async def test_ended_before_is_by_the_end(self, store: Store) -> None:
        """Those that began first come first; who has the tag is left out."""
        feed = Feed(store)
        await feed.send(
            event("execution.started", "long", 0),
            event("execution.completed", "long", 100),
            event("execution.started", "late", 2),
            event("execution.completed", "late", 50),
            event("execution.started", "soon", 1),
            event("execution.completed", "soon", 10),
            event("execution.started", "pinned", 1, data={"tags": ["keep"]}),
            event("execution.completed", "pinned", 10),
            event("execution.completed", "theirs", 10, teamId="acme"),
        )

        async def ended(at_s: int, limit: int = 10) -> list[str]:
            before_us = NOW_US + at_s * SECOND_US
            page = Sweep(limit, 10)
            ids, rest = await store.read(lambda reader: reader.ended_before(OF, before_us, "keep", page))
            assert (rest is not None) == (len(ids) == limit)
            return list(ids)

        assert await ended(10) == []
        assert await ended(11) == ["soon"]
        assert await ended(60) == ["soon", "late"]
        assert await ended(101) == ["long", "soon", "late"]
        assert await ended(101, limit=1) == ["long"]

    async def test_presumed_crash_ends_with_its_last_change(self, store: Store) -> None:
        """Nobody reported an end."""
        feed = Feed(store)
        said = {"status": "crashed", "provisional": True, "asOf": "2026-11-22T10:30:00Z"}
        await feed.send(event("execution.started", "a"))
        await feed.send(event("execution.failed", "a", 60, source="monitor", data=said))
        of = ("default", "wf_1", "crashed")
        changed_us = NOW_US + feed.offset - 1
        page = Sweep(9, 9)
        assert await store.read(lambda reader: reader.ended_before(of, changed_us, "keep", page)) == ([], None)
        assert await store.read(lambda reader: reader.ended_before(of, changed_us + 1, "keep", page)) == (["a"], None)

    @pytest.mark.parametrize(("most", "looked_at"), [(2, 100), (100, 2), (1, 3), (3, 1)])
    async def test_a_sweep_looks_at_each_once(self, store: Store, most: int, looked_at: int) -> None:
        """However many are kept in between, and though all of them began at once."""
        feed = Feed(store)
        for number in range(12):
            kept = {"tags": ["keep"]} if number % 3 else {}
            await feed.send(event("execution.started", f"e{number}", data=kept))
            await feed.send(event("execution.completed", f"e{number}", 1))
        found: list[str] = []
        page: Sweep | None = Sweep(most, looked_at)
        questions = 0
        while page is not None:
            ids, page = await store.read(partial(_ended, page))
            assert len(ids) <= most
            found += ids
            questions += 1
        assert found == ["e0", "e3", "e6", "e9"]
        assert questions <= 13

    async def test_erasures_are_what_is_to_be_blanked_of_deleted_ones(self, store: Store) -> None:
        """From the first record of an execution, or the first that came once it was deleted, to its last one."""
        feed = Feed(store, partition=1)
        await feed.send(event("execution.started", "b"), event("execution.started", "a", id="1"))
        await feed.send(event("execution.completed", "a"), event("execution.completed", "b"))

        async def erasures() -> list[tuple[str, int, int]]:
            found = await store.read(lambda reader: reader.erasures(10))
            assert {(it.team, it.partition) for it in found} <= {("default", 1)}
            return [(it.id, it.first - STARTS[1], it.last - STARTS[1]) for it in found]

        assert await erasures() == []
        await feed.send(event("execution.deleted", "a"), event("log.none", "b"), event("log.none", "a"))
        assert await erasures() == [("a", 1, 6)]
        known = await store.read(lambda reader: reader.erasures(10))
        await feed.send(event("log.none", "a", id="2"), event("execution.started", "a", id="1"))
        assert await erasures() == [("a", 1, 8)]
        await store.write(lambda writer: writer.erased(known))
        assert await erasures() == [("a", 7, 8)]
        known = await store.read(lambda reader: reader.erasures(10))
        await store.write(lambda writer: writer.erased(known))
        assert await erasures() == []
        await feed.send(event("execution.started", "a", id="1", data={"other": "bytes"}))
        assert await erasures() == [("a", 9, 9)]

    async def test_history_forgets_the_words_of_what_is_blanked(self, store: Store) -> None:
        """Tags and messages go; what else a release says stays, and so do all others."""
        feed = Feed(store)
        said = {"message": "half of it", "current": "step 2"}
        for id_ in ("a", "b"):
            started = event("execution.started", id_, data={"tags": [f"of {id_}"]})
            await feed.send(started, event("execution.progress", id_, data=said))
        before = await store.read(lambda reader: reader.releases(0, 0, 9))
        assert [(it.tags, it.message, it.current) for it in before[1::2]] == [
            (["of a"], "half of it", "step 2"),
            (["of b"], "half of it", "step 2"),
        ]
        await store.write(lambda writer: writer.blank_releases(0, [1, 2]))
        after = await store.read(lambda reader: reader.releases(0, 0, 9))
        assert [after[0], after[3]] == [before[0], before[3]]
        assert [(it.tags, it.message, it.current) for it in after[1:3]] == [([], None, None)] * 2
        assert [(it.offset, it.version, it.status) for it in after] == [
            (it.offset, it.version, it.status) for it in before
        ]

    async def test_tombstones_go_with_their_records(self, store: Store) -> None:
        """Not before the last of them; what is not deleted stays; a new one under the same id begins anew."""
        feed = Feed(store)
        await feed.send(event("execution.completed", "a"), event("execution.completed", "b"))
        await feed.send(event("execution.deleted", "a"), event("execution.annotated", "a"), event("log.none", "b"))

        async def forgotten(
            start: int, after_key: int = 0, limit: int = 10, ended_before_us: int = NOW_US + 1
        ) -> tuple[int, int]:
            starts = {0: start, 1: STARTS[1]}
            return await store.write(lambda writer: writer.forget_tombstones(starts, ended_before_us, after_key, limit))

        statistics = await store.read(lambda reader: reader.statistics("default"))
        assert await forgotten(3) == (0, 0)
        assert (await forgotten(3, limit=1))[1] > 0
        assert await forgotten(4, ended_before_us=NOW_US) == (0, 0)
        assert await forgotten(4) == (1, 0)
        assert await forgotten(4) == (0, 0)
        assert await store.read(lambda reader: reader.statistics("default")) == statistics
        await feed.send(event("execution.started", "a"))
        assert await store.read(lambda reader: reader.execution("default", "a")) is not None
        assert await store.read(lambda reader: reader.execution("default", "b")) is not None
