"""The promises of the store port, as tests that every driver has to pass.

A driver's class gives the fixture `store`, empty and tied to a journal of two partitions. Events are folded as the
pipeline folds them, by `Feed`, which loads anew what it folds: what a batch left behind is all that the next one knows.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import msgspec
import pytest

from monitor.errors import Fenced, JournalMismatch, StoreUnavailable
from monitor.events.codec import decode, format_time
from monitor.events.model import Event, Place, Poison, Record
from monitor.events.position import Position
from monitor.projections.execution import Execution, Node, NodeKey
from monitor.projections.filter import Condition, Filter, matches, parse_json
from monitor.projections.fold import Changes, ExecutionId, fold
from monitor.projections.view import Summary, summary
from monitor.store import Commit, ListQuery, Moved, Page, Reader, Store, Writer
from monitor.store.base import OffsetRow
from monitor.store.delivery_port import DeliveryQuery
from monitor.store.execution_port import Sort
from monitor.store.releases import Stretch
from monitor.webhooks.delivery import Planned
from tests.contracts.ledger_contract import NOW_US, SECOND_US, endpoint, planned

INCARNATION = "aabbccddeeff"
STARTS = [0, 40]
EVERYTHING = Filter()


def event(kind: str, execution_id: str = "exec_1", at_s: float = 0.0, **members: Any) -> dict[str, Any]:
    """A canonical event, `at_s` seconds after the tests' beginning of time; `data` and others by name."""
    document = {"type": kind, "executionId": execution_id, "timestamp": format_time(NOW_US + round(at_s * 1e6))}
    return document | {"workflowId": "wf_1"} | members


def read_event(document: Mapping[str, Any] | bytes | None, partition: int, offset: int) -> Event | Poison:
    """The event as it comes out of the journal; its body names its team."""
    value = msgspec.json.encode(document) if isinstance(document, Mapping) else document
    record = Record(partition, offset, b"key", value, (), NOW_US + offset)
    return decode(record, lambda _, claimed: claimed or "default")


class Feed:
    """A pipeline in small: reads one partition of an imaginary journal into a store."""

    def __init__(self, store: Store, partition: int = 0) -> None:
        self.store, self.partition, self.offset = store, partition, STARTS[partition]

    def read(self, *documents: Mapping[str, Any] | bytes | None) -> list[Event | Poison]:
        """The events that come next."""
        return [read_event(it, self.partition, self.offset + place) for place, it in enumerate(documents)]

    async def send(self, *documents: Mapping[str, Any] | bytes | None, deliveries: Sequence[Planned] = ()) -> Changes:
        """Fold and commit these events as one batch."""
        events = self.read(*documents)
        changes = await self.store.write(lambda writer: self.apply(writer, events, deliveries))
        self.offset += len(events)
        return changes

    def apply(self, writer: Writer, events: Sequence[Event | Poison], deliveries: Sequence[Planned] = ()) -> Changes:
        """Fold and commit inside a transaction."""
        changes = fold(events, load_all(writer, events))
        writer.commit(Commit(changes, self.moved(len(events)), deliveries))
        return changes

    def moved(self, count: int) -> dict[int, Moved]:
        """The move over the next `count` records."""
        return {self.partition: Moved(self.offset, self.offset + count, b"anchor")}


def ids_of(events: Collection[Event | Poison]) -> list[ExecutionId]:
    """Every execution that is named, in order."""
    return list(dict.fromkeys((it.team, it.execution_id) for it in events if isinstance(it, Event)))


def load_all(writer: Writer, events: Collection[Event | Poison]) -> dict[ExecutionId, Execution]:
    """The stored executions that `events` name, and new ones for the rest."""
    ids = ids_of(events)
    loaded = writer.load(ids)
    return {id_: loaded.get(id_) or Execution(*id_) for id_ in ids}


def state_of(execution: Execution) -> dict[str, Any]:
    """Everything that the fold goes on from."""
    return {name: getattr(execution, name) for name in execution.__struct_fields__ if name != "kept"}


async def view(store: Store, execution_id: str = "exec_1", team: str = "default") -> Summary:
    """The stored view of an execution that is there."""
    found = await store.read(lambda reader: reader.execution(team, execution_id))
    assert found is not None
    return found[0]


async def key_of(store: Store, execution_id: str = "exec_1", team: str = "default") -> int:
    """The key of an execution that is there."""
    found = await store.read(lambda reader: reader.execution(team, execution_id))
    assert found is not None
    return found[1]


def showing(execution: Execution) -> Callable[[Reader], Any]:
    """Work that reads the view and the nodes of an execution."""
    return lambda reader: (reader.execution(execution.team, execution.id), reader.nodes(execution.key))


def everything(reader: Reader) -> tuple[Any, ...]:
    """What a reader can see, to tell whether anything changed."""
    query = ListQuery("default", Filter(), "-startedAt", 1000)
    page, keys = reader.executions(query)
    contents = [(reader.nodes(key), reader.payloads(key), all_lines(reader, key)) for key in keys]
    ledger = (reader.endpoints(None), reader.next_look_us(), reader.quarantine(1000))
    return (reader.offsets(), page, contents, reader.statistics("default"), reader.releases(0, 0, 1000), ledger)


def all_lines(reader: Reader, key: int) -> list[str]:
    """Every message of a log."""
    return [line.message for line in reader.log_lines(key, levels=None, node_id=None, limit=1000)]


async def listed(store: Store, found: Filter = EVERYTHING, sort: Sort = "-startedAt", team: str = "default") -> Page:
    """The whole list, as one page."""
    page, _ = await page_of(store, ListQuery(team, found, sort, 1000))
    return page


async def page_of(store: Store, query: ListQuery) -> tuple[Page, list[int]]:
    """One page and its keys."""
    return await store.read(lambda reader: reader.executions(query))


def history(execution_id: str, chance: random.Random, **members: Any) -> list[dict[str, Any]]:
    """A random life of an execution: nodes, logs, payloads, notes, restarts, rarely a deletion; in random order."""
    nodes = [f"node_{number}" for number in range(chance.randint(1, 4))]
    makers: list[Callable[[], tuple[str, dict[str, Any]]]] = [
        lambda: ("execution.queued", {"mode": "webhook", "metadata": {"queueTime": 0.2}}),
        lambda: (
            "execution.started",
            {"workflowName": "Süß", "tags": ["a", "b"], "nodeCount": 3, "inputData": {"x": 1}},
        ),
        lambda: ("node.started", {"nodeId": chance.choice(nodes), "iteration": chance.randint(0, 2)}),
        lambda: ("node.completed", {"nodeId": chance.choice(nodes), "duration": 0.5, "outputData": [1, None]}),
        lambda: ("node.failed", {"nodeId": chance.choice(nodes), "error": {"message": "no"}}),
        lambda: ("execution.progress", {"completed": 1, "total": 7, "message": "half"}),
        lambda: ("execution.waiting", {"kind": "timer", "until": format_time(NOW_US)}),
        lambda: ("log.appended", {"lines": [{"message": "m", "level": "warn", "data": {"k": [1]}}, {"message": "n"}]}),
        lambda: ("execution.annotated", {"tags": ["c"], "note": "seen"}),
        lambda: ("execution.completed", {"duration": chance.choice([0, 0.4, 12.5])}),
        lambda: ("execution.failed", {"status": "timeout", "error": {"message": "late"}}),
        lambda: ("custom.thing", {"anything": True}),
    ]
    drawn: list[tuple[str, dict[str, Any]]] = [chance.choice(makers)() for _ in range(chance.randint(3, 25))]
    if chance.random() < 0.1:
        drawn.append(("execution.deleted", {}))
    return [
        event(
            kind,
            execution_id,
            chance.randint(0, 50),
            id=f"{execution_id}-{number}",
            source=chance.choice(["n8n:a", "n8n:b"]),
            epoch=int(chance.random() < 0.1),
            data=data,
            **members,
        )
        for number, (kind, data) in enumerate(drawn)
    ]


class StoreContract:
    @pytest.fixture
    def feed(self, store: Store) -> Feed:
        return Feed(store)

    # Transactions

    async def test_what_a_write_stored_is_seen_by_the_next_read(self, store: Store, feed: Feed) -> None:
        """State, position and release appear together."""
        await feed.send(event("execution.started"), event("node.started", data={"nodeId": "a"}))
        assert (await view(store)).status == "running"
        assert await store.read(lambda reader: reader.position()) == Position(INCARNATION, (2, 40))
        assert await store.read(lambda reader: reader.offsets()) == {
            0: OffsetRow(2, 2, b"anchor"),
            1: OffsetRow(40, 40, b""),
        }
        assert [it.offset for it in await store.read(lambda reader: reader.releases(0, 0, 10))] == [0, 1]

    async def test_exception_undoes_everything(self, store: Store, feed: Feed) -> None:
        """What raises inside of a transaction leaves no trace, of no table."""
        await feed.send(*history("exec_1", random.Random(1)))
        before = await store.read(everything)

        def fail(writer: Writer) -> None:
            added = writer.add_endpoint(endpoint())
            later: list[Any] = [*history("exec_1", random.Random(2)), *history("exec_2", random.Random(3)), b"poison"]
            feed.apply(writer, feed.read(*later), [planned("dlv_1", added.key)])
            raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            await store.write(fail)
        assert await store.read(everything) == before

    async def test_writer_reads_what_it_wrote(self, store: Store, feed: Feed) -> None:
        """Inside of a transaction its own rows are visible."""

        def write(writer: Writer) -> Any:
            feed.apply(writer, feed.read(event("execution.started")))
            return writer.execution("default", "exec_1"), writer.position(), writer.load([("default", "exec_1")])

        found, position, loaded = await store.write(write)
        assert found is not None
        assert position.offsets == (1, 40)
        assert loaded["default", "exec_1"].version == 1

    async def test_cancelled_write_runs_to_its_end(self, store: Store, feed: Feed) -> None:
        """Whoever gives up waiting takes nothing back."""
        events = feed.read(event("execution.started"))
        writing = asyncio.create_task(store.write(lambda writer: feed.apply(writer, events)))
        await asyncio.sleep(0)  # it is on its way
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await store.write(lambda _: None)  # stands behind it in the queue
        assert (await view(store)).status == "running"

    async def test_durable_write_stores_the_same(self, store: Store, feed: Feed) -> None:
        """Waiting for the disk changes nothing but the wait."""
        events = feed.read(event("execution.started"))
        await store.write(lambda writer: feed.apply(writer, events), durable=True)
        assert (await view(store)).status == "running"

    async def test_closed_store_says_that_it_is_unavailable(self, store: Store) -> None:
        """`close` may be called twice; whoever comes later is told."""
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.read(lambda reader: reader.position())
        with pytest.raises(StoreUnavailable):
            await store.write(lambda writer: writer.position())

    # The journal's place

    async def test_store_stays_with_its_journal(self, store: Store) -> None:
        """Binding again is harmless, to another journal or number of partitions it is refused."""
        await store.write(binding(INCARNATION, [7, 7]))
        assert (await store.read(lambda reader: reader.position())).offsets == (0, 40)
        others: list[tuple[str, list[int]]] = [("000000000000", STARTS), (INCARNATION, [0])]
        for other in others:
            with pytest.raises(JournalMismatch, match="`monitor restore`"):
                await store.write(binding(*other))

    async def test_stale_offset_is_fenced_and_stores_nothing(self, store: Store, feed: Feed) -> None:
        """Whoever expects an offset that somebody else has moved loses the whole batch."""
        await feed.send(event("execution.started"))
        before = await store.read(everything)
        for offset in (0, 2):
            late = Feed(store)
            late.offset = offset
            with pytest.raises(Fenced):
                await late.send(event("execution.completed", at_s=1), b"poison")
        assert await store.read(everything) == before

    async def test_cut_is_passed_and_named(self, store: Store) -> None:
        """Records that are gone are skipped by compare-and-set, and quarantine says which."""
        await store.write(lambda writer: writer.pass_cut(1, 40, 90))
        with pytest.raises(Fenced):
            await store.write(lambda writer: writer.pass_cut(1, 40, 95))
        assert (await store.read(lambda reader: reader.offsets()))[1] == OffsetRow(90, 90, b"")
        [row] = await store.read(lambda reader: reader.quarantine(10))
        assert (row.partition, row.offset, row.reason, row.size_bytes) == (1, 40, "retention_cut", None)
        assert "records 40 to 89" in row.message

    # Executions

    async def test_row_that_changed_since_it_was_loaded_is_fenced(self, store: Store, feed: Feed) -> None:
        """A stale state is never written over a newer one, even when it came through another partition."""
        await feed.send(event("execution.started"))
        events = Feed(store, 1).read(event("node.started", at_s=1, data={"nodeId": "a"}))
        stale = await store.write(lambda writer: load_all(writer, events))
        await feed.send(event("execution.completed", at_s=2))
        before = await store.read(everything)
        changes = fold(events, stale)
        with pytest.raises(Fenced):
            await store.write(lambda writer: writer.commit(Commit(changes, Feed(store, 1).moved(1), [])))
        assert await store.read(everything) == before

    async def test_execution_that_somebody_else_stored_first_is_fenced(self, store: Store, feed: Feed) -> None:
        """Two writers that both take an execution for new do not make two of it."""
        await feed.send(event("execution.started"))
        late = Feed(store, 1)
        events = late.read(event("execution.started"))
        changes = fold(events, {id_: Execution(*id_) for id_ in ids_of(events)})
        with pytest.raises(Fenced):
            await store.write(lambda writer: writer.commit(Commit(changes, late.moved(1), [])))
        assert (await listed(store)).total == 1

    async def test_keys_follow_first_appearance(self, store: Store, feed: Feed) -> None:
        """Keys grow with arrival, and a committed execution knows what is stored."""
        first = await feed.send(event("execution.started", "b"), event("execution.started", "a"))
        await feed.send(event("node.started", "a", data={"nodeId": "n"}), event("execution.started", "c"))
        assert [await key_of(store, name) for name in "bac"] == [1, 2, 3]
        kept = first.touched["default", "b"].execution
        assert (kept.key, kept.stored_version) == (1, kept.version)

    @pytest.mark.parametrize("seed", range(40))
    async def test_loaded_execution_is_what_was_folded(self, store: Store, seed: int) -> None:
        """Random histories fold as in memory, whether they are loaded between batches or stay cached."""
        chance = random.Random(seed)
        names = ["exec_1", "exec_2", "exec_3"]
        documents = [it for name in names for it in history(name, chance)]
        documents += chance.choices(documents, k=5)
        chance.shuffle(documents)
        feed, cached, whole = Feed(store), dict[ExecutionId, Execution](), dict[ExecutionId, Execution]()
        while documents:
            batch, documents = documents[:7], documents[7:]
            events = feed.read(*batch)
            fold(events, whole | {id_: whole.setdefault(id_, Execution(*id_)) for id_ in ids_of(events)})

            def apply(writer: Writer, events: Sequence[Event | Poison] = events) -> None:
                mine = {id_: cached.get(id_) or it for id_, it in load_all(writer, events).items()}
                writer.commit(Commit(fold(events, mine), feed.moved(len(events)), []))
                # Some stay in the hands of the projector, others are loaded again.
                cached.update({id_: it for id_, it in mine.items() if chance.random() < 0.5})
                for id_ in set(mine) - set(cached):
                    cached.pop(id_, None)

            await store.write(apply)
            feed.offset += len(events)
        loaded = await store.write(lambda writer: writer.load([*whole, ("default", "unknown")]))
        assert set(loaded) == set(whole)
        for id_, execution in whole.items():
            execution.key, execution.stored_version = loaded[id_].key, execution.version
            assert state_of(loaded[id_]) == state_of(execution)
            found, nodes = await store.read(showing(execution))
            assert (found and found[0]) == (None if execution.registers.deleted else summary(execution))
            assert dict(nodes) == execution.nodes

    async def test_repeats_are_known_however_long_ago(self, store: Store, feed: Feed) -> None:
        """An event id is remembered over hundreds of later events; other bytes under it are quarantined."""
        beats = [event("execution.heartbeat", at_s=number, id=f"evt_{number}") for number in range(500)]
        for start in range(0, 500, 130):
            await feed.send(*beats[start : start + 130])
        changes = await feed.send(*beats, event("execution.heartbeat", at_s=9999, id="evt_3"))
        assert changes.duplicates == 500
        assert [release.event.type for release in changes.releases] == ["execution.conflict"]
        [row] = await store.read(lambda reader: reader.quarantine(10))
        assert row.reason == "id_reused"
        loaded = await store.write(lambda writer: writer.load([("default", "exec_1")]))
        assert len(loaded["default", "exec_1"].seen) == 500

    async def test_the_place_of_every_applied_event_is_known(self, store: Store, feed: Feed) -> None:
        """In order of arrival, over many batches and both partitions; repeats and other executions have none here."""
        other = Feed(store, 1)
        other.offset = (1 << 48) - 1000
        wanted: list[Place] = []
        await store.write(lambda writer: writer.pass_cut(1, STARTS[1], other.offset))
        for batch in range(40):
            at = other if batch % 3 == 0 else feed
            beats = [event("execution.heartbeat", at_s=batch, id=f"evt_{batch}_{number}") for number in range(5)]
            noise = event("execution.heartbeat", "exec_2", at_s=batch)
            wanted += [Place(at.partition, at.offset + number) for number in (0, 1, 3, 4, 6)]
            await at.send(*beats[:2], noise, *beats[2:4], beats[0], beats[4])
        key = await key_of(store)
        assert list(await store.read(lambda reader: reader.places(key))) == wanted
        assert await store.read(lambda reader: reader.places(key + 7)) in ([], ())

    async def test_teams_never_mix(self, store: Store, feed: Feed) -> None:
        """Equal ids of two teams are two executions, each in its team's lists and statistics only."""
        await feed.send(
            event("execution.started", teamId="red", data={"workflowName": "R"}),
            event("execution.started", teamId="blue", data={"workflowName": "B"}),
            event("execution.completed", teamId="blue", at_s=1),
        )
        assert [(await view(store, team=team)).workflow_name for team in ("red", "blue")] == ["R", "B"]
        assert await store.read(lambda reader: reader.execution("default", "exec_1")) is None
        assert [row.team for row in (await listed(store, team="red")).rows] == ["red"]
        assert (await listed(store, team="green")).total == 0
        assert [cell.status for cell in await store.read(lambda reader: reader.statistics("red"))] == ["running"]
        assert [cell.status for cell in await store.read(lambda reader: reader.statistics("blue"))] == ["success"]

    # Contents

    async def test_payloads_of_any_size_come_back(self, store: Store, feed: Feed) -> None:
        """The latest value of a slot holds, whether it grew, shrank, or came with a new epoch."""
        large = "x" * 200_000
        await feed.send(event("execution.started", data={"inputData": large}))
        key = await key_of(store)
        assert await store.read(lambda reader: reader.payloads(key)) == {"input": msgspec.json.encode(large)}
        await feed.send(event("execution.started", at_s=1, data={"inputData": {"small": 1}, "outputData": [2]}))
        assert await store.read(lambda reader: reader.payloads(key)) == {"input": b'{"small":1}', "output": b"[2]"}
        assert await store.read(lambda reader: reader.payloads(key, ["output", "none"])) == {"output": b"[2]"}
        assert await store.read(lambda reader: reader.payloads(key, [])) == {}
        await feed.send(event("execution.started", at_s=2, data={"inputData": large}))
        await feed.send(event("execution.started", at_s=3, epoch=1, data={"outputData": 3}))
        assert await store.read(lambda reader: reader.payloads(key)) == {"output": b"3"}

    async def test_new_epoch_voids_nodes_and_keeps_the_log(self, store: Store, feed: Feed) -> None:
        """A restart in place begins with empty nodes; log lines are of all epochs."""
        line = {"lines": [{"message": "first life"}]}
        await feed.send(event("node.started", data={"nodeId": "old"}), event("log.appended", data=line))
        await feed.send(event("node.started", at_s=5, epoch=1, data={"nodeId": "new"}))
        key = await key_of(store)
        assert set(await store.read(lambda reader: reader.nodes(key))) == {("new", 0, 1)}
        assert await store.read(lambda reader: all_lines(reader, key)) == ["first life"]

    async def test_log_lines_are_ordered_and_filtered(self, store: Store, feed: Feed) -> None:
        """By time, whatever their order of arrival; by level, node and time; a repeated event adds none."""
        data = {"a": [1, None, "ü"]}
        late = event("log.appended", at_s=9, data={"lines": [{"message": "3", "level": "error", "data": data}]})
        early = event(
            "log.appended",
            at_s=1,
            data={"nodeId": "n", "lines": [{"message": "1"}, {"message": "2", "level": "WARNING"}]},
        )
        await feed.send(late)
        await feed.send(early, late)
        key = await key_of(store)

        def messages(**asked: Any) -> Any:
            question = {"levels": None, "node_id": None, "limit": 10} | asked
            return lambda reader: [line.message for line in reader.log_lines(key, **question)]

        assert await store.read(messages()) == ["1", "2", "3"]
        assert await store.read(messages(limit=2)) == ["1", "2"]
        assert await store.read(messages(levels=["warn", "error"])) == ["2", "3"]
        assert await store.read(messages(node_id="n")) == ["1", "2"]
        second, ninth = NOW_US + SECOND_US, NOW_US + 9 * SECOND_US
        assert await store.read(messages(from_us=second, to_us=ninth)) == ["1", "2", "3"]
        assert await store.read(messages(from_us=second + 1)) == ["3"]
        assert await store.read(messages(to_us=ninth - 1)) == ["1", "2"]
        assert await store.read(messages(from_us=second, levels=["warn"], limit=1)) == ["2"]
        assert await store.read(messages(from_us=second + 1, to_us=ninth - 1)) == []
        spots = [
            line.spot
            for line in await store.read(lambda reader: reader.log_lines(key, levels=None, node_id=None, limit=9))
        ]
        assert await store.read(messages(falling=True)) == ["3", "2", "1"]
        assert await store.read(messages(falling=True, limit=2, levels=["info", "error"])) == ["3", "1"]
        assert await store.read(messages(beyond=spots[0])) == ["2", "3"]
        assert await store.read(messages(beyond=spots[1], limit=1)) == ["3"]
        assert await store.read(messages(beyond=spots[2])) == []
        assert await store.read(messages(beyond=spots[2], falling=True)) == ["2", "1"]
        assert await store.read(messages(beyond=spots[0], falling=True)) == []
        [line] = await store.read(lambda reader: reader.log_lines(key, levels=["error"], node_id=None, limit=1))
        assert line.data == data

    async def test_deletion_clears_contents_and_lists(self, store: Store, feed: Feed) -> None:
        """A deleted execution is in no list and leaves no content; its statistics stay, late events change nothing."""
        await feed.send(
            event("execution.started", data={"inputData": "x" * 100_000, "tags": ["a"]}),
            event("node.completed", at_s=1, data={"nodeId": "n", "outputData": 1}),
            event("log.appended", at_s=1, data={"lines": [{"message": "m"}]}),
            event("execution.completed", at_s=2),
            event("execution.started", "exec_2"),
        )
        key, counted = await key_of(store), await store.read(lambda reader: reader.statistics("default"))
        await feed.send(event("execution.deleted", at_s=3))
        await feed.send(event("log.appended", at_s=4, data={"lines": [{"message": "late"}]}))
        assert await store.read(lambda reader: reader.execution("default", "exec_1")) is None
        page = await listed(store)
        assert ([row.id for row in page.rows], page.total) == (["exec_2"], 1)
        assert (await listed(store, parse_json({"tag": "a"}))).rows == []
        assert (await listed(store, parse_json({"status": "success"}))).total == 0
        contents = await store.read(lambda it: (it.nodes(key), it.payloads(key), all_lines(it, key)))
        assert [len(content) for content in contents] == [0, 0, 0]
        assert await store.read(lambda reader: reader.statistics("default")) == counted

    # Lists

    @pytest.fixture
    async def population(self, store: Store, feed: Feed) -> list[Summary]:
        """Sixty executions of every kind, with equal times among them, some queued, some without a duration."""
        chance = random.Random(5)
        for number in range(60):
            name, at_s = f"exec_{number}", chance.randint(0, 30)
            described = {
                "mode": chance.choice(["manual", "webhook", None]),
                "workflowName": chance.choice(["Süß", "Plain", None]),
                "tags": chance.sample(["a", "b", "c"], chance.randint(0, 2)),
                **chance.choice([{}, {"retryOf": f"exec_{number // 2}"}]),
                **chance.choice([{}, {"parent": {"executionId": "exec_0", "nodeId": "sub"}}]),
                **chance.choice([{}, {"trigger": "cron"}, {"trigger": {"type": "webhook", "source": "github"}}]),
            }
            failure = chance.choice([{"type": "E 1", "message": "100%_Off: ÄRGER"}, {"message": "no"}, "why", None])
            members = {"workflowId": f"wf_{chance.randint(1, 3)}"}
            ends = [
                [],
                [event("execution.started", name, at_s, data=described, **members)],
                [
                    event("execution.started", name, at_s, data=described, **members),
                    event("execution.completed", name, at_s + 1, data={"duration": chance.randint(1, 5)}, **members),
                ],
                [
                    event("execution.started", name, at_s, source="a", data=described, **members),
                    event("execution.failed", name, at_s + 2, source="b", data={"status": "timeout"}, **members),
                ],
                [
                    event("execution.started", name, at_s, data=described, **members),
                    event("node.started", name, at_s, data={"nodeId": f"n{number % 4}", "nodeName": "Send To Slack"}),
                    event("node.completed", name, at_s, data={"nodeId": "fetch_1"}),
                    event("execution.failed", name, at_s + 2, data={"error": failure}, **members),
                ],
            ]
            await feed.send(event("execution.queued", name, at_s, **members), *chance.choice(ends))
        page = await listed(store)
        assert len(page.rows) == 60
        return page.rows

    FILTERS: tuple[dict[str, Any], ...] = (
        *({}, {"status": "queued"}, {"status": ["success", "timeout"]}, {"status": {"ne": "success"}}),
        *({"workflowId": "wf_1"}, {"workflowId": ["wf_1", "wf_2"]}, {"workflowId": {"ne": ["wf_1", "wf_3"]}}),
        *({"workflowId": "wf_2", "status": "success"}, {"workflowId": "none"}, {"id": ["exec_3", "exec_4"]}),
        *({"id": {"ne": "exec_3"}}, {"workflowName": "Süß"}, {"workflowName": {"ne": "Süß"}}, {"mode": "manual"}),
        *({"mode": {"ne": ["manual", "webhook"]}}, {"tag": "a"}, {"tag": ["a", "b"]}, {"tag": {"ne": "c"}}),
        *({"duration": {"gte": 3}}, {"duration": {"gt": 1, "lt": 4}}, {"duration": 2}, {"duration": {"ne": 2}}),
        {"startedAt": {"gte": format_time(NOW_US + 9 * SECOND_US), "lte": format_time(NOW_US + 20 * SECOND_US)}},
        {"startedAt": {"gt": format_time(NOW_US + 9 * SECOND_US)}, "status": ["running", "success"]},
        {"startedAt": {"ne": format_time(NOW_US + 9 * SECOND_US)}, "duration": {"lt": 3}, "workflowId": "wf_1"},
        {"status": {"ne": ["running", "queued"], "eq": ["running", "timeout"]}},
        *({"retryOf": ["exec_9", "exec_4"]}, {"retryOf": {"ne": "exec_9"}}, {"parent": "exec_0"}, {"parent": "x"}),
        *({"trigger": "cron"}, {"trigger": {"ne": ["cron", "webhook"]}}, {"errorType": "E 1"}, {"errorType": "Error"}),
        *({"errorType": {"ne": "Error"}, "trigger": "cron"}, {"parent": {"ne": "exec_0"}, "status": "failed"}),
        {"stoppedAt": {"gt": format_time(NOW_US + 9 * SECOND_US), "lte": format_time(NOW_US + 20 * SECOND_US)}},
        {"stoppedAt": {"ne": format_time(NOW_US + 9 * SECOND_US)}},
        {"createdAt": {"lt": f"{format_time(NOW_US)[:-1]}100Z"}, "mode": "manual"},
        {"createdAt": {"gte": f"{format_time(NOW_US)[:-1]}050Z"}},
    )

    TEXTS: tuple[str, ...] = (
        *("e 1", "e 1: 100%_off", "%", "_", "100__off", "ärger", "error: why", "slack", "send to s", "fetch", "n1"),
        *("n2", "slack\nn1", "nothing has this", "error", " "),
    )

    @pytest.mark.parametrize("sort", ["startedAt", "-startedAt", "duration", "-duration"])
    async def test_every_filter_lists_what_matches(self, store: Store, population: list[Summary], sort: Sort) -> None:
        """Pages of three together are exactly what `matches` says, in order, with the exact total."""
        keys = {row.id: await key_of(store, row.id) for row in population}
        for document in self.FILTERS:
            found = parse_json(document)
            wanted = sorted(
                (row for row in population if matches(found, row)),
                key=lambda row: (sort_value(row, sort) is not None, sort_value(row, sort) or 0, keys[row.id]),
                reverse=sort.startswith("-"),
            )
            pages = await all_pages(store, ListQuery("default", found, sort, 3))
            assert [row.id for page in pages for row in page.rows] == [row.id for row in wanted], document
            assert {(page.total, page.total_is_lower_bound) for page in pages} == {(len(wanted), False)}, document

    @pytest.mark.parametrize("sort", ["startedAt", "-startedAt", "duration", "-duration"])
    async def test_a_list_reads_backwards_as_it_does_forwards(
        self, store: Store, population: list[Summary], sort: Sort
    ) -> None:
        """From its end, page by page, each in the list's own order: the same rows."""
        assert len(population) == 60
        for document in ({}, {"status": ["failed", "success"]}, {"workflowId": "wf_1"}, {"mode": {"ne": "manual"}}):
            query = ListQuery("default", parse_json(document), sort, 7)
            forwards = [row.id for page in await all_pages(store, query) for row in page.rows]
            pages = await all_pages(store, query._replace(backwards=True))
            assert [row.id for page in reversed(pages) for row in page.rows] == forwards
            assert all(len(page.rows) == 7 for page in pages[:-1])

    async def test_a_list_of_what_was_there_by_a_time(self, store: Store, population: list[Summary]) -> None:
        """By when each was first heard of, whatever the order and the filter; counted alike."""
        times_us = sorted(row.created_us for row in population)
        for at_us in (times_us[0] - 1, times_us[0], times_us[len(times_us) // 2], times_us[-1]):
            for document in ({}, {"status": ["failed", "success"]}, {"mode": {"ne": "manual"}}):
                found = parse_json(document)
                query = ListQuery("default", found, "-startedAt", 7, created_until_us=at_us)
                pages = await all_pages(store, query)
                wanted = {row.id for row in population if matches(found, row) and row.created_us <= at_us}
                assert {row.id for page in pages for row in page.rows} == wanted
                assert {page.total for page in pages} == {len(wanted)}

    async def test_a_list_can_be_read_by_page_number(self, store: Store, population: list[Summary]) -> None:
        """What is skipped are the rows before, of whatever filter and sort; beyond the end there is nothing."""
        for document in ({}, {"status": ["failed", "success"]}, {"workflowId": "wf_1"}, {"mode": {"ne": "manual"}}):
            for sort in get_args(Sort):
                query = ListQuery("default", parse_json(document), sort, 7)
                rows = [row.id for page in await all_pages(store, query) for row in page.rows]
                for skip in (0, 1, 7, len(rows) - 1, len(rows), 10 * len(rows)):
                    page, _ = await page_of(store, query._replace(skip=skip))
                    assert [row.id for row in page.rows] == rows[skip : skip + 7]
                    assert (page.has_more, page.total) == (len(rows) > skip + 7, len(rows))

    async def test_text_is_found_in_errors_and_names_of_nodes(self, store: Store, population: list[Summary]) -> None:
        """In any case, as it stands (nothing is a wildcard), with filters, in pages and counted."""
        for text in self.TEXTS:
            wanted = []
            for row in population:
                said = row.error
                failed = said is not None and text in f"{said.get('type', 'Error')}: {said['message']}".casefold()
                nodes = (await store.read(showing_row(row)))[1]
                node_texts = [f"{node.label[2] if node.label else ''}\n{run[0]}" for run, node in nodes.items()]
                if failed or any(text in it.casefold() for it in node_texts):
                    wanted.append(row)
            query = ListQuery("default", EVERYTHING, "-startedAt", 3, text=text)
            pages = await all_pages(store, query)
            assert [row.id for page in pages for row in page.rows] == [row.id for row in wanted], text
            assert {page.total for page in pages} == {len(wanted)}
            some = await all_pages(store, query._replace(filter=parse_json({"errorType": "E 1"}), sort="duration"))
            assert {row.id for page in some for row in page.rows} == {r.id for r in wanted if r.error_type == "E 1"}

    async def test_every_character_is_kept(self, store: Store, feed: Feed) -> None:
        """Also those that databases refuse or end a text at, and those that stand for them at rest."""
        odd = ["a\0b", "a\x01b", "a\x010b", "a\x011b", "\0", "\x01", "\x01\0\x01", "ab", "\U0001f600\uffff", "é"]
        names = [f"exec_{number}" for number in range(len(odd))]
        for name, text in zip(names, odd, strict=True):
            named = {"workflowName": text, "tags": [f"t{text}"], "metadata": {text: text}}
            await feed.send(
                event("execution.started", name, data=named),
                event("node.completed", name, 1, data={"nodeId": "n", "nodeName": text, "outputData": text}),
                event("log.appended", name, 1, data={"lines": [{"message": text, "data": {text: text}}]}),
                event("execution.failed", name, 2, data={"error": {"type": f"T{text}", "message": text}}),
            )
        for name, text in zip(names, odd, strict=True):
            row, key = await view(store, name), await key_of(store, name)
            assert (row.workflow_name, row.tags, row.error_type) == (text, [f"t{text}"], f"T{text}")
            assert row.error == {"type": f"T{text}", "message": text}
            [node] = (await store.read(reading_nodes(key))).values()
            assert node.label is not None
            assert node.label[2] == text
            assert await store.read(partial(all_lines, key=key)) == [text]
            [loaded] = (await store.write(loading(name))).values()
            assert (loaded.workflow_name, loaded.tags) == (text, [f"t{text}"])
            for condition in (Condition("errorType", "eq", (f"T{text}",)), Condition("tag", "eq", (f"t{text}",))):
                assert [it.id for it in (await listed(store, Filter((condition,)))).rows] == [name]

    async def test_longest_words_are_kept(self, store: Store, feed: Feed) -> None:
        """Ids of as many bytes as they may have, and names, tags and errors of as many as somebody likes."""
        chance = random.Random(5)

        def words(count: int) -> str:
            """Nothing that could be packed more densely."""
            return "".join(chr(chance.randrange(0x20000, 0x2A6D0)) for _ in range(count))

        team, workflow, names = words(256), words(256), [words(256), words(256)]
        tags, trigger, error = [words(3000), "short"], words(3000), {"type": words(3000), "message": words(9000)}
        run: dict[str, Any] = {"nodeId": words(256), "nodeName": words(5000), "duration": 1}
        about: dict[str, Any] = {"workflowId": workflow, "teamId": team}
        for _ in range(2):
            for name in names:
                told = {"workflowName": words(5000), "tags": tags, "mode": words(300), "trigger": {"type": trigger}}
                lineage = {"retryOf": words(256), "parent": {"executionId": words(256)}}
                await feed.send(
                    event("execution.started", name, data=told | lineage, **about),
                    event("node.failed", name, 1, data=run | {"error": error}, **about),
                    event("command.requested", name, 1, data={"commandId": words(256), "action": "cancel"}, **about),
                    event("execution.failed", name, 2, data={"error": error}, **about),
                )
        page = await listed(store, parse_json({"tag": "short", "workflowId": workflow}), team=team)
        assert {row.id for row in page.rows} == set(names)
        assert {tuple(row.tags) for row in page.rows} == {tuple(tags)}
        runs = await store.read(lambda reader: reader.run_statistics(team))
        assert {cell.node_id: count for cell, (count, _) in runs.items()} == {run["nodeId"]: 2}
        found, _ = await page_of(store, ListQuery(team, EVERYTHING, "startedAt", 10, text=run["nodeName"][:9]))
        assert {row.id for row in found.rows} == set(names)

    async def test_text_follows_what_changes(self, store: Store, feed: Feed) -> None:
        """A later error, an earlier end, the workflow that becomes known, a deletion."""

        async def found(text: str, team: str = "default") -> list[str]:
            page, _ = await page_of(store, ListQuery(team, EVERYTHING, "-startedAt", 10, text=text))
            return [row.id for row in page.rows]

        anonymous = {"type": "node.started", "executionId": "exec_1", "timestamp": format_time(NOW_US)}
        await feed.send(anonymous | {"data": {"nodeId": "n", "nodeName": "Early"}})
        assert await found("early") == ["exec_1"]
        await feed.send(event("execution.failed", at_s=9, data={"error": {"type": "T", "message": "first"}}))
        assert (await found("early"), await found("t: first")) == (["exec_1"], ["exec_1"])
        await feed.send(event("execution.failed", at_s=8, data={"error": {"type": "T", "message": "second\0half"}}))
        assert (await found("first"), await found("second half")) == ([], ["exec_1"])
        await feed.send(event("execution.failed", "exec_2", data={"error": "second"}, teamId="red"))
        assert (await found("second"), await found("second", "red")) == (["exec_1"], ["exec_2"])
        await feed.send(event("execution.completed", at_s=7))
        assert await found("second") == []
        await feed.send(event("execution.failed", at_s=6, data={"error": "third"}))
        assert await found("third") == ["exec_1"]
        await feed.send(event("execution.deleted", at_s=20))
        assert (await found("third"), await found("early")) == ([], [])

    async def test_made_up_ids_of_nodes_do_not_grow_the_search(self, store: Store, feed: Feed) -> None:
        """A bounded number of names is kept of a workflow; those that came first are found."""
        for batch in range(6):
            numbers = range(100 * batch, 100 * batch + 100)
            await feed.send(*(event("node.started", data={"nodeId": f"made-up-{number}"}) for number in numbers))
        early, _ = await page_of(store, ListQuery("default", EVERYTHING, "-startedAt", 10, text="made-up-7"))
        late, _ = await page_of(store, ListQuery("default", EVERYTHING, "-startedAt", 10, text="made-up-599"))
        assert (early.total, late.total) == (1, 0)

    async def test_missing_durations_stand_below_all_others(self, store: Store, population: list[Summary]) -> None:
        """First when rising, last when falling."""
        rising = [row.duration_us for row in (await listed(store, sort="duration")).rows]
        falling = [row.duration_us for row in (await listed(store, sort="-duration")).rows]
        known = sorted(row.duration_us for row in population if row.duration_us is not None)
        missing: list[int | None] = [None] * (60 - len(known))
        assert rising == missing + known
        assert falling == known[::-1] + missing

    async def test_pages_are_stable_while_executions_arrive(
        self, store: Store, feed: Feed, population: list[Summary]
    ) -> None:
        """Newcomers in front of the cursor neither repeat nor hide a row."""
        query, seen = ListQuery("default", Filter(), "-startedAt", 7), list[str]()
        for number in itertools.count():
            page, keys = await page_of(store, query)
            seen += [row.id for row in page.rows]
            if not page.has_more:
                break
            query = query._replace(after=(page.rows[-1].at_us, keys[-1]))
            await feed.send(event("execution.started", f"new_{number}", at_s=100 + number))
        assert seen == [row.id for row in population]

    async def test_long_list_is_paged_and_counted_up_to_a_bound(self, store: Store, feed: Feed) -> None:
        """Status and workflow are counted exactly at any size, other filters say when they stopped; no row is lost."""
        names = [f"exec_{number}" for number in range(10_050)]
        ended = [
            event("execution.completed", it, n % 70, data={"duration": n % 50}) for n, it in enumerate(names[:9000])
        ]
        await feed.send(*ended, *(event("execution.started", it, 100) for it in names[9000:]))
        order = {name: (n % 50 if n < 9000 else -1, n) for n, name in enumerate(names)}
        for document, expected, lower_bound in (
            ({"status": "success", "workflowId": "wf_1"}, names[:9000], 9000),
            ({"status": {"ne": "queued"}}, names, 10_050),
            ({"id": {"ne": "exec_9"}}, [name for name in names if name != "exec_9"], 10_000),
        ):
            pages = await all_pages(store, ListQuery("default", parse_json(document), "-duration", 4000))
            assert [row.id for page in pages for row in page.rows] == sorted(expected, key=order.__getitem__)[::-1]
            counts = {(page.total, page.total_is_lower_bound) for page in pages}
            assert counts <= {(len(expected), False), (lower_bound, lower_bound < len(expected))}
            pages = await all_pages(store, ListQuery("default", parse_json(document), "startedAt", 4000))
            assert sorted(row.id for page in pages for row in page.rows) == sorted(expected)
            times = [row.at_us for page in pages for row in page.rows]
            assert times == sorted(times)

    # Statistics

    async def test_statistics_add_up_and_follow_corrections(self, store: Store, feed: Feed) -> None:
        """Each execution counts once, where it belongs now; rows that nobody counts in are gone."""
        names = [f"exec_{number}" for number in range(5)]
        await feed.send(*(event("execution.started", name) for name in names))
        await feed.send(*(event("execution.completed", name, 2, data={"duration": 2}) for name in names[:3]))
        await feed.send(event("execution.failed", names[0], 1, data={"duration": 1}))
        rows = await store.read(lambda reader: reader.statistics("default"))
        assert {(cell.workflow_id, cell.status): row for cell, row in rows.items()} == {
            ("wf_1", "running"): (2, 0),
            ("wf_1", "success"): (2, 4 * SECOND_US),
            ("wf_1", "failed"): (1, SECOND_US),
        }

    # History

    async def test_releases_are_read_by_range(self, store: Store, feed: Feed) -> None:
        """A replay finds the release of every offset, across batches and partitions; repeats and poison have none."""
        beat = event("execution.started", id="evt_1")
        await feed.send(beat, event("node.started", at_s=1, data={"nodeId": "n", "nodeName": "N"}))
        await feed.send(beat, b"poison", event("execution.completed", at_s=2))
        await feed.send(event("execution.failed", at_s=3))
        await Feed(store, 1).send(event("execution.started", "exec_2"))

        def offsets(start: int, end: int, partition: int = 0) -> Any:
            return lambda reader: [(it.offset, it.derived) for it in reader.releases(partition, start, end)]

        assert await store.read(offsets(0, 100)) == [
            (0, None),
            (1, None),
            (4, None),
            (5, "execution.conflict"),
            (5, None),
        ]
        assert await store.read(offsets(1, 5)) == [(1, None), (4, None)]
        assert await store.read(offsets(2, 4)) == []
        assert await store.read(offsets(0, 100, 1)) == [(40, None)]
        [release] = await store.read(lambda reader: reader.releases(0, 1, 2))
        assert (release.status, release.current, release.version, release.total) == ("running", "N", 2, 1)
        await store.write(lambda writer: writer.forget_releases(0, 4, 1000))
        assert await store.read(offsets(0, 100)) == [(4, None), (5, "execution.conflict"), (5, None)]
        assert await store.read(offsets(0, 100, 1)) == [(40, None)]

    async def test_batches_are_read_by_stretches(self, store: Store, feed: Feed) -> None:
        """Whoever follows sees which offsets a commit released something of, and which were gone before."""
        other = Feed(store, 1)
        await feed.send(event("execution.started", id="evt_1"), event("execution.completed", at_s=2))
        await feed.send(event("execution.started", id="evt_1"), b"poison")
        await store.write(lambda writer: writer.pass_cut(0, 4, 7))
        feed.offset = 7
        await feed.send(event("execution.failed", at_s=3))
        await other.send(event("execution.started", "exec_2"))

        def told(stretches: Mapping[int, Stretch]) -> Any:
            return lambda reader: [(*it[:3], [at.offset for at in it.releases]) for it in reader.batches(stretches)]

        everything = [(0, 0, 2, [0, 1]), (0, 4, 7, []), (0, 7, 8, [7, 7]), (1, 40, 41, [40])]
        assert await store.read(told({1: Stretch(40, 99), 0: Stretch(0, 99)})) == everything
        assert await store.read(told({0: Stretch(1, 7)})) == everything[:2]
        assert await store.read(told({0: Stretch(2, 4), 1: Stretch(41, 42)})) == []
        assert await store.read(told({})) == []
        await store.write(lambda writer: writer.forget_releases(0, 7, 1000))
        assert await store.read(told({0: Stretch(0, 99)})) == everything[2:3]

    async def test_releases_are_forgotten_in_portions(self, store: Store, feed: Feed) -> None:
        """The oldest first, and none of those whose records are there."""
        for number in range(4):
            await feed.send(event("execution.started", f"exec_{number}"))

        async def left(limit: int) -> tuple[int, list[int]]:
            forgotten = await store.write(lambda writer: writer.forget_releases(0, 3, limit))
            batches = await store.read(lambda reader: reader.batches({0: Stretch(0, 99)}))
            return forgotten, [batch.first for batch in batches]

        assert [await left(2) for _ in range(3)] == [(2, [2, 3]), (1, [3]), (0, [3])]

    # What a batch owes

    async def test_batch_stores_what_it_owes(self, store: Store, feed: Feed) -> None:
        """In its own transaction; an event that comes again owes nothing again."""
        key = (await store.write(lambda writer: writer.add_endpoint(endpoint()))).key
        await feed.send(event("execution.failed"), deliveries=[planned("dlv_1", key)])
        await feed.send(event("execution.failed"), deliveries=[planned("dlv_1", key), planned("dlv_2", key)])
        rows = await store.read(lambda reader: reader.deliveries(DeliveryQuery(key), 10))
        assert [row.id for row in rows] == ["dlv_2", "dlv_1"]


def binding(incarnation: str, starts: Sequence[int]) -> Callable[[Writer], None]:
    """Work that ties a store to a journal."""
    return lambda writer: writer.bind(incarnation, starts)


def reading_nodes(key: int) -> Callable[[Reader], Mapping[NodeKey, Node]]:
    """Work that reads the nodes of an execution."""
    return lambda reader: reader.nodes(key)


def loading(execution_id: str) -> Callable[[Writer], dict[ExecutionId, Execution]]:
    """Work that loads an execution."""
    return lambda writer: writer.load([("default", execution_id)])


def sort_value(row: Summary, sort: Sort) -> int | None:
    """What the list is sorted by."""
    return row.at_us if sort.endswith("startedAt") else row.duration_us


def showing_row(row: Summary) -> Callable[[Reader], Any]:
    """Work that reads the view and the nodes of what stands in a list."""

    def work(reader: Reader) -> Any:
        found = reader.execution(row.team, row.id)
        assert found is not None
        return found[0], reader.nodes(found[1])

    return work


async def all_pages(store: Store, query: ListQuery) -> list[Page]:
    """Every page of a list, each from where the one before ended."""
    pages: list[Page] = []
    while True:
        page, keys = await page_of(store, query)
        pages.append(page)
        if not page.has_more:
            return pages
        last = 0 if query.backwards else -1
        query = query._replace(after=(sort_value(page.rows[last], query.sort), keys[last]))
