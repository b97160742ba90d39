"""The promises of the store about what is watched, as tests that every driver has to pass."""

from monitor.events.codec import format_time
from monitor.projections.fold import fold
from monitor.projections.verdicts import arm
from monitor.store import Commit, Store, Writer
from tests.contracts.ledger_contract import NOW_US, SECOND_US
from tests.contracts.store_contract import Feed, event, key_of, load_all

PROMISE = {"heartbeat": 10}


class WatchContract:
    """Inherited by the test class of each driver."""

    async def test_what_promised_is_looked_at_in_time(self, store: Store) -> None:
        """The one that is due first comes first; whoever promised nothing is not watched."""
        assert await first_us(store) is None
        await hear(store, 3, event("execution.started", "later", data=PROMISE))
        await hear(store, 0, event("execution.started", "sooner", data=PROMISE), event("execution.started", "silent"))
        assert await first_us(store) == NOW_US + 20 * SECOND_US
        assert await due(store, 19.9) == []
        assert await due(store, 22.9) == ["sooner"]
        assert await due(store, 23) == ["sooner", "later"]
        assert await due(store, 23, limit=1) == ["sooner"]

    async def test_a_look_shows_what_is_stored(self, store: Store) -> None:
        """Registers, status and when it was heard of, as they are now."""
        await hear(store, 0, event("execution.started", data=PROMISE), event("node.started", data={"nodeId": "a"}))
        await hear(store, 5, event("execution.waiting", data={"kind": "timer"}, at_s=5))
        [found] = await store.read(lambda reader: reader.due_watches(NOW_US + 60 * SECOND_US, 10))
        assert (found.team, found.id, found.key) == ("default", "exec_1", await key_of(store))
        assert (found.status, found.provisional, found.heard_us) == ("waiting", False, NOW_US + 5 * SECOND_US)
        assert found.registers.evidence_us == NOW_US + 5 * SECOND_US

    async def test_heard_is_kept_over_what_is_no_sign_of_life(self, store: Store) -> None:
        """Batches of others, and a note, change nothing of it."""
        await hear(store, 2, event("execution.started", data=PROMISE))
        await hear(store, 9, event("execution.annotated", data={"note": "n"}), event("execution.started", "other"))
        [found] = await store.read(lambda reader: reader.due_watches(NOW_US + 60 * SECOND_US, 10))
        assert found.heard_us == NOW_US + 2 * SECOND_US

    async def test_whoever_looked_says_when_to_look_again(self, store: Store) -> None:
        """Later, or not at all; a rollback leaves it."""
        await hear(
            store, 0, event("execution.started", "a", data=PROMISE), event("execution.started", "b", data=PROMISE)
        )
        a, b = await key_of(store, "a"), await key_of(store, "b")
        await store.write(lambda writer: writer.watch_again({b: None, a: NOW_US + 99 * SECOND_US}))
        assert await first_us(store) == NOW_US + 99 * SECOND_US
        assert await due(store, 100) == ["a"]
        await store.write(lambda writer: writer.watch_again({a: None}))
        await store.write(lambda writer: writer.watch_again({}))
        assert await first_us(store) is None

    async def test_the_earliest_time_asked_for_holds(self, store: Store) -> None:
        """A commit brings a look nearer, never puts it off; and asks again where nobody watches any more."""
        await hear(store, 0, event("execution.started", data=PROMISE))
        await hear(store, 1, event("execution.waiting", at_s=1))
        await hear(store, 5, event("execution.resumed", at_s=5))
        assert await first_us(store) == NOW_US + 20 * SECOND_US
        deadline = format_time(NOW_US + 8 * SECOND_US)
        await hear(store, 6, event("execution.queued", data={"deadlineAt": deadline}))
        assert await first_us(store) == NOW_US + 8 * SECOND_US
        key = await key_of(store)
        await store.write(lambda writer: writer.watch_again({key: None}))
        await hear(store, 100, event("execution.resumed", at_s=100, data={"deadlineAt": None, "heartbeat": 20}))
        assert await first_us(store) == NOW_US + 8 * SECOND_US

    async def test_an_end_leaves_the_look_to_whoever_looks(self, store: Store) -> None:
        """It costs the commit nothing, and the look shows that there is nothing to watch."""
        await hear(store, 0, event("execution.started", data=PROMISE))
        await hear(store, 1, event("execution.completed", at_s=1))
        [found] = await store.read(lambda reader: reader.due_watches(NOW_US + 60 * SECOND_US, 10))
        assert found.status == "success"


async def hear(store: Store, at_s: float, *documents: dict[str, object]) -> None:
    """Fold and commit these events as the pipeline does, so many seconds after the beginning."""
    [place] = await store.read(lambda reader: [reader.offsets()[0].next])
    feed = Feed(store)
    feed.offset = place
    events = feed.read(*documents)

    def take(writer: Writer) -> None:
        changes = fold(events, load_all(writer, events))
        arm(changes, NOW_US + round(at_s * SECOND_US))
        writer.commit(Commit(changes, feed.moved(len(events)), ()))

    await store.write(take)


async def first_us(store: Store) -> int | None:
    """When the first look is due."""
    return await store.read(lambda reader: reader.next_watch_us())


async def due(store: Store, at_s: float, limit: int = 10) -> list[str]:
    """Who is to be looked at by then."""
    found = await store.read(lambda reader: reader.due_watches(NOW_US + round(at_s * SECOND_US), limit))
    return [execution.id for execution in found]
