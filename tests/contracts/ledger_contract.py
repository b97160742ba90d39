"""The promises of the store port's ledger, as tests that every driver has to pass: endpoints, lanes, claims and ends.

A driver's class gives the fixture `store`, empty. Time is what a test says; what people decide is in `test_redelivery`.
"""

from typing import Any

import pytest
from msgspec.structs import replace

from monitor.projections.filter import parse_json
from monitor.store import Store
from monitor.store.delivery_port import AttemptRow, DeliveryQuery, DeliveryRow
from monitor.webhooks.delivery import AttemptDetail, Claimed, Outcome, Planned
from monitor.webhooks.endpoint import Endpoint, Rate, Secret
from monitor.webhooks.lane import BREAK_AFTER, Lane, after, set_back

NOW_US = 1_795_000_000_000_000
SECOND_US = 1_000_000
LEASE_US = 30 * SECOND_US


def endpoint(endpoint_id: str = "wh_1", team: str = "default", **members: Any) -> Endpoint:
    """An endpoint that wants everything."""
    drawn: dict[str, Any] = {
        "url": f"https://{endpoint_id}.example",
        "events": ("*",),
        "filter": parse_json({"status": "failed"}),
    }
    fixed: dict[str, Any] = {
        "created_us": NOW_US,
        "updated_us": NOW_US,
        "secrets": (Secret(b"\0sealed", NOW_US),),
        "since": {0: 3, 1: 40},
    }
    return Endpoint(key=0, id=endpoint_id, team=team, **(drawn | fixed | members))


def planned(delivery_id: str, endpoint_key: int, **members: Any) -> Planned:
    """A delivery that is due at once."""
    about: dict[str, Any] = {"event_id": "evt_1", "event_type": "execution.failed", "execution_id": "exec_1"}
    sent: dict[str, Any] = {"team": "default", "body": b"{}", "due_us": NOW_US}
    return Planned(id=delivery_id, endpoint_key=endpoint_key, **(about | sent | members))


def outcome(claimed: Claimed, **members: Any) -> Outcome:
    """An attempt that was answered with 200 after a second."""
    times: dict[str, Any] = {"started_us": NOW_US, "finished_us": NOW_US + SECOND_US}
    said: dict[str, Any] = {
        "status": 200,
        "error": None,
        "answer": b"ok",
        "detail": AttemptDetail("https://wh_1.example"),
    }
    follows: dict[str, Any] = {"state": "delivered", "reason": None, "due_us": None, "step": claimed.step}
    place: dict[str, Any] = {
        "key": claimed.key,
        "endpoint_key": claimed.endpoint.key,
        "n": claimed.n,
        "lease": claimed.lease,
    }
    return Outcome(**(place | times | said | follows | members))


class Desk:
    """A store, and a deliverer's hands: a test says what is owed, and what becomes of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._leases = 0

    async def add(self, name: str = "wh_1", **members: Any) -> int:
        """The key of a new endpoint."""
        return (await self.store.write(lambda writer: writer.add_endpoint(endpoint(name, **members)))).key

    async def owe(self, key: int, *names: str, **members: Any) -> None:
        """Deliveries of these ids, due at once."""
        await self.store.write(lambda writer: writer.owe([planned(name, key, **members) for name in names]))

    async def claim(self, now_us: int = NOW_US, limit: int = 100, lease: str | None = None) -> list[Claimed]:
        """A claim of half a minute, under a lease of its own unless it is given."""
        self._leases += 1
        name, until_us = lease or f"lease_{self._leases}", now_us + LEASE_US
        return await self.store.write(
            lambda writer: writer.claim(now_us=now_us, lease=name, until_us=until_us, limit=limit)
        )

    async def names(self, now_us: int = NOW_US, limit: int = 100) -> list[str]:
        """Ids of what is claimed now."""
        return [it.id for it in await self.claim(now_us, limit)]

    async def finish(self, *claimed: Claimed, **members: Any) -> set[int]:
        """These attempts end: accepted, unless said otherwise."""
        return await self.store.write(lambda writer: writer.finish([outcome(it, **members) for it in claimed]))

    async def retry(self, *claimed: Claimed, due_us: int) -> set[int]:
        """These attempts fail, and are to be repeated."""
        return await self.finish(*claimed, status=503, error="status", state="pending", due_us=due_us, step=1)

    async def put(self, key: int, lane: Lane) -> None:
        """A lane as it is after an attempt, which has it looked at."""

        def work(writer: Any) -> None:
            writer.put_lane(key, lane)
            writer.update_endpoint(writer.endpoint_of(key))

        await self.store.write(work)

    async def change(self, key: int, **members: Any) -> None:
        """The endpoint with other members."""
        await self.store.write(
            lambda writer: writer.update_endpoint(replace(_there(writer.endpoint_of(key)), **members))
        )

    async def rows(self, key: int) -> list[DeliveryRow]:
        """Deliveries of an endpoint, oldest first."""
        return list(await self.store.read(lambda reader: reader.deliveries(DeliveryQuery(key), 1_000)))[::-1]

    async def states(self, key: int) -> dict[str, str]:
        """The state of each delivery."""
        return {row.id: row.state for row in await self.rows(key)}

    async def attempts(self, name: str) -> list[AttemptRow]:
        """Every attempt at a delivery."""
        return list(await self.store.read(lambda reader: reader.attempts(name)))

    async def look_us(self) -> int | None:
        """When there may be something to do."""
        return await self.store.read(lambda reader: reader.next_look_us())


class LedgerContract:
    @pytest.fixture
    def desk(self, store: Store) -> Desk:
        """Hands on the store."""
        return Desk(store)

    # Endpoints

    async def test_endpoints_are_kept_by_team(self, store: Store) -> None:
        """In order of registration, complete, until they are removed; each change shows in the version."""

        async def version() -> int:
            return await store.write(lambda writer: writer.endpoints_version())

        versions = [await version()]
        wanted = (endpoint("wh_b"), endpoint("wh_a"), endpoint("wh_b", "red", status="paused"))
        stored = [await store.write(lambda writer, it=it: writer.add_endpoint(it)) for it in wanted]  # type: ignore[misc]
        versions.append(await version())
        assert [it.key for it in stored] == [1, 2, 3]
        assert await store.read(lambda reader: reader.endpoints(None)) == stored
        assert await store.read(lambda reader: reader.endpoints("default")) == stored[:2]
        assert await store.read(lambda reader: reader.endpoints("default", limit=1)) == stored[:1]
        assert await store.read(lambda reader: reader.endpoints(None, after_key=1, limit=9)) == stored[1:]
        assert await store.read(
            lambda reader: [reader.endpoint_count(team) for team in ("default", "red", "blue")]
        ) == [*(2, 1, 0)]
        assert await store.read(lambda reader: reader.endpoint("red", "wh_b")) == stored[2]
        assert await store.read(lambda reader: reader.endpoint("red", "wh_a")) is None
        assert await store.write(lambda writer: writer.remove_endpoint("red", "wh_a")) is None
        assert await store.write(lambda writer: writer.remove_endpoint("red", "wh_b")) == 0
        assert await store.write(lambda writer: writer.remove_endpoint("red", "wh_b")) is None
        versions.append(await version())
        assert await store.read(lambda reader: reader.endpoints("red")) == []
        assert await store.read(lambda reader: reader.endpoint_of(3)) is None
        assert len(set(versions)) == 3
        assert (await store.write(lambda writer: writer.add_endpoint(endpoint("wh_c")))).key == 4

    async def test_changed_endpoint_takes_the_place_of_what_it_was(self, store: Store, desk: Desk) -> None:
        """Every member of it; the next claim sends by it, and one that is gone does not come back."""
        key = await desk.add()
        before = await store.write(lambda writer: writer.endpoints_version())
        changed = endpoint(url="https://new.example", rate=Rate(2.5, 4), give_up_on=(404,), retry_delays_s=(1, 2))
        changed = replace(changed, key=key)
        await store.write(lambda writer: writer.update_endpoint(changed))
        assert await store.write(lambda writer: writer.endpoints_version()) != before
        for found in (
            await store.read(lambda it: it.endpoint_of(key)),
            await store.write(lambda it: it.endpoint_of(key)),
        ):
            assert found == changed
        await desk.owe(key, "dlv_1")
        [claimed] = await desk.claim()
        assert claimed.endpoint == changed
        await store.write(lambda writer: writer.remove_endpoint("default", "wh_1"))
        await store.write(lambda writer: writer.update_endpoint(changed))
        assert await store.read(lambda reader: reader.endpoints(None)) == []

    async def test_removed_endpoint_is_owed_nothing(self, store: Store, desk: Desk) -> None:
        """Case 45: what waits, is under way or held is cancelled and counted; other lanes go on."""
        keys = [await desk.add("wh_1", max_in_flight=1), await desk.add("wh_2")]
        await desk.owe(keys[0], "dlv_1", "dlv_2")
        await desk.owe(keys[0], "held", event_type="node.completed")
        await desk.owe(keys[1], "dlv_3")
        claimed = await desk.claim()
        await store.write(lambda writer: writer.hold_overflow(1, NOW_US, 1))
        assert await store.write(lambda writer: writer.remove_endpoint("default", "wh_1")) == 3
        assert await desk.finish(*claimed) == {4}
        assert [(row.state, row.reason, row.due_us) for row in await desk.rows(1)] == [
            ("cancelled", "removed", None)
        ] * 3
        assert [(it.n, it.status) for it in await desk.attempts("dlv_1")] == [(1, 200)]
        assert await desk.states(2) == {"dlv_3": "delivered"}
        assert await desk.names(NOW_US + SECOND_US) == []
        assert await desk.look_us() is None
        # Whoever still knows their keys cannot have them sent.
        everything = ("cancelled", "pending", "failed")
        assert (
            await store.write(lambda it: it.redeliver([1, 2, 3], "retry", due_us=NOW_US, states=everything))  # type: ignore[arg-type]
            == 0
        )

    # Owed

    async def test_delivery_is_owed_once(self, desk: Desk) -> None:
        """Planning again, at once or later, owes nothing twice; an endpoint that is gone is owed nothing."""
        keys = [await desk.add("wh_1"), await desk.add("wh_2")]
        twice = [planned("dlv_1", 1), planned("dlv_1", 1, body=b"no"), planned("dlv_2", 2), planned("dlv_9", 9)]
        await desk.store.write(lambda writer: writer.owe(twice))
        await desk.store.write(lambda writer: writer.owe([planned("dlv_1", 1, body=b"other"), planned("dlv_3", 1)]))
        assert [(row.id, row.state, row.attempts, row.body) for row in await desk.rows(keys[0])] == [
            ("dlv_1", "pending", 0, b"{}"),
            ("dlv_3", "pending", 0, b"{}"),
        ]
        assert list(await desk.states(keys[1])) == ["dlv_2"]
        assert await desk.rows(9) == []
        assert await desk.store.read(lambda reader: reader.delivery("red", "dlv_1")) is None
        assert await desk.store.read(lambda reader: reader.delivery("default", "dlv_1")) == (await desk.rows(1))[0]
        assert await desk.store.read(lambda reader: reader.delivery("default", "dlv_9")) is None

    async def test_batch_may_owe_any_number(self, desk: Desk) -> None:
        """Ten thousand deliveries of one batch, planned twice, are owed once each, every one with its own body."""
        keys = [await desk.add(f"wh_{n}") for n in range(3)]
        many = [
            planned(f"dlv_{number}", keys[number % 3], body=b"%d" % (number // 3), event_id=f"evt_{number // 6}")
            for number in range(10_000)
        ]
        for _ in range(2):
            await desk.store.write(lambda writer: writer.owe(many))
        query = [DeliveryQuery(key) for key in keys]
        rows = await desk.store.read(lambda reader: [row for it in query for row in reader.deliveries(it, 9_999)])
        assert {row.id: row.body for row in rows} == {it.id: it.body for it in many}
        assert len(rows) == 10_000

    # Claims

    async def test_claim_hands_out_what_is_due_once(self, desk: Desk) -> None:
        """A claimed delivery carries what is needed to send it, and is nobody else's until its lease ends."""
        await desk.add()
        later = NOW_US + 60 * SECOND_US
        await desk.owe(1, "dlv_1", body=b"[1]")
        await desk.owe(1, "dlv_2", due_us=later)
        assert await desk.look_us() == NOW_US
        [claimed] = await desk.claim(lease="lease_a")
        assert (claimed.id, claimed.endpoint.url, claimed.body) == ("dlv_1", "https://wh_1.example", b"[1]")
        assert (claimed.n, claimed.step, claimed.lease, claimed.trigger) == (1, 0, "lease_a", "event")
        assert (claimed.is_probe, claimed.planned_us, claimed.first_us) == (False, NOW_US, NOW_US)
        assert await desk.claim() == []
        assert [(row.n, row.finished_us, row.detail) for row in await desk.attempts("dlv_1")] == [(1, None, None)]
        assert await desk.look_us() == NOW_US + LEASE_US

    async def test_finish_records_the_attempt_and_moves_on(self, desk: Desk) -> None:
        """Delivered, failed for good, or due again; each attempt stays on record."""
        await desk.add()
        await desk.owe(1, "dlv_1", "dlv_2", "dlv_3")
        first, second, third = await desk.claim()
        again_us = NOW_US + 5 * SECOND_US
        detail = AttemptDetail("https://other.example", {"server": "x"}, {"dns": 1}, is_truncated=True)
        retried = outcome(
            second, status=503, error="status", answer=b"\xff", state="pending", due_us=again_us, step=1, detail=detail
        )
        failed = outcome(third, status=None, error="timeout", answer=b"", state="failed", reason="expired")
        assert await desk.store.write(lambda writer: writer.finish([outcome(first), retried, failed])) == {1, 2, 3}
        assert [(row.state, row.reason, row.due_us, row.step) for row in await desk.rows(1)] == [
            ("delivered", None, None, 0),
            ("pending", None, again_us, 1),
            ("failed", "expired", None, 0),
        ]
        assert await desk.claim(again_us - 1) == []
        assert await desk.look_us() == again_us
        [repeated] = await desk.claim(again_us)
        assert (repeated.id, repeated.n, repeated.step, repeated.first_us) == ("dlv_2", 2, 1, NOW_US)
        attempts = await desk.attempts("dlv_2")
        assert [(row.n, row.status, row.error, row.answer) for row in attempts] == [
            (1, 503, "status", b"\xff"),
            (2, None, None, b""),
        ]
        assert (attempts[0].started_us, attempts[0].finished_us, attempts[0].detail) == (
            *(NOW_US, NOW_US + SECOND_US),
            detail,
        )

    async def test_lost_lease_keeps_its_attempt_and_changes_nothing_else(self, desk: Desk) -> None:
        """Case 6: a lease that ended is taken back by the next claim; its late outcome is only recorded."""
        await desk.add()
        await desk.owe(1, "dlv_1")
        [late] = await desk.claim()
        assert await desk.claim(NOW_US + LEASE_US - 1) == []
        [current] = await desk.claim(NOW_US + LEASE_US)
        assert (current.n, current.step, current.first_us) == (2, 0, NOW_US)
        [interrupted, _] = await desk.attempts("dlv_1")
        assert (interrupted.error, interrupted.finished_us) == ("interrupted", NOW_US + LEASE_US)
        assert await desk.finish(late) == set()
        assert await desk.store.write(lambda writer: writer.finish([])) == set()
        assert await desk.states(1) == {"dlv_1": "leased"}
        assert await desk.finish(current, current) == {1}
        assert await desk.finish(current, status=500) == set()
        assert await desk.states(1) == {"dlv_1": "delivered"}
        assert [(row.n, row.status) for row in await desk.attempts("dlv_1")] == [(1, 200), (2, 500)]

    async def test_stopping_deliverer_gives_its_leases_back(self, desk: Desk) -> None:
        """Its own by their prefix, at once and not when they end; their attempts stay on record, as interrupted."""
        await desk.add()
        await desk.owe(1, *(f"dlv_{n}" for n in range(4)))
        await desk.claim(limit=3, lease="a%:1")
        await desk.claim(limit=1, lease="ab:1")
        assert await desk.store.write(lambda writer: writer.release_leases("a%:", NOW_US + 7)) == 3
        assert await desk.store.write(lambda writer: writer.release_leases("a%:", NOW_US + 8)) == 0
        again = await desk.claim(NOW_US + 9)
        assert [(it.id, it.n, it.step) for it in again] == [("dlv_0", 2, 0), ("dlv_1", 2, 0), ("dlv_2", 2, 0)]
        attempts = await desk.attempts("dlv_0")
        assert [(it.n, it.error, it.finished_us) for it in attempts] == [
            (1, "interrupted", NOW_US + 7),
            (2, None, None),
        ]

    async def test_two_deliverers_share_a_store(self, desk: Desk) -> None:
        """They alternate: each delivery is in one pair of hands, and a lane's cap holds for both together."""
        await desk.add(max_in_flight=4)
        await desk.owe(1, *(f"dlv_{n}" for n in range(6)))
        ours, theirs = await desk.claim(limit=3, lease="a.1"), await desk.claim(limit=3, lease="b.1")
        assert [[it.id for it in hands] for hands in (ours, theirs)] == [["dlv_0", "dlv_1", "dlv_2"], ["dlv_3"]]
        # One goes away with what it had: the other one takes it over, and the late word of the first changes nothing.
        await desk.store.write(lambda writer: writer.release_leases("a.", NOW_US))
        taken = await desk.claim(limit=9, lease="b.2")
        assert [it.id for it in taken] == ["dlv_0", "dlv_1", "dlv_2"]
        assert await desk.finish(*ours, state="failed") == set()
        assert await desk.finish(*taken, *theirs) == {1, 2, 3, 4}
        assert await desk.names() == []
        assert await desk.names(NOW_US + SECOND_US) == ["dlv_4", "dlv_5"]

    # Lanes

    async def test_lanes_take_turns(self, desk: Desk) -> None:
        """A lane with a long old queue has its cap in flight and delays nobody; who waited longest comes first."""
        for name in ("wh_1", "wh_2", "wh_3"):
            await desk.add(name)
        old = [planned(f"old_{n}", 1, due_us=NOW_US - n * SECOND_US) for n in range(50)]
        new = [planned(f"new_{n}_{key}", key) for key in (2, 3) for n in range(3)]
        await desk.store.write(lambda writer: writer.owe([*old, *new]))
        first = await desk.claim(limit=4)
        assert [it.endpoint.key for it in first] == [1, 1, 2, 3]
        assert [it.id for it in first[:2]] == ["old_49", "old_48"]
        second = await desk.claim(NOW_US + 1)
        assert sorted(it.endpoint.key for it in second) == [1, 1, 1, 1, 1, 1, 2, 2, 3, 3]
        assert await desk.claim() == []
        await desk.finish(*first, *second)
        await desk.owe(2, "last_2")
        await desk.owe(1, "last_1")
        served = [await desk.claim(NOW_US + 2 * SECOND_US + n, limit=1) for n in range(3)]
        assert [it.endpoint.key for [it] in served] == [1, 2, 1]

    async def test_who_waited_longest_is_served_first(self, desk: Desk) -> None:
        """With room for one at a time, lanes with any amount to do are served in turns, none twice before another."""
        keys = [await desk.add(f"wh_{n}") for n in range(10)]
        for key in keys:
            await desk.owe(key, *(f"dlv_{key}_{n}" for n in range(key)))
        served = [it.endpoint.key for n in range(30) for it in await desk.claim(NOW_US + n, limit=1)]
        assert served == [key for turn in range(4) for key in keys if key > turn][:30]

    @pytest.mark.parametrize("status", ["paused", "disabled"])
    async def test_resting_endpoint_is_not_served(self, desk: Desk, status: str) -> None:
        """Case 50: what is owed to it waits, nobody looks at it, and it goes on when it is resumed."""
        key = await desk.add(status=status)
        await desk.owe(key, "dlv_1")
        assert await desk.claim() == []
        assert await desk.look_us() is None
        await desk.owe(key, "dlv_2")
        assert await desk.claim() == []
        await desk.change(key, status="active")
        look_us = await desk.look_us()
        assert look_us is not None
        assert look_us <= NOW_US
        assert await desk.names() == ["dlv_1", "dlv_2"]

    async def test_cap_of_a_lane_holds(self, desk: Desk) -> None:
        """Case 18: also for what somebody wants at once; a raised cap counts from the next claim on."""
        key = await desk.add(max_in_flight=2)
        await desk.owe(key, *(f"dlv_{n}" for n in range(5)))
        claimed = await desk.claim()
        assert [it.id for it in claimed] == ["dlv_0", "dlv_1"]
        await desk.store.write(lambda writer: writer.redeliver([3], "retry", due_us=NOW_US - 1))
        assert await desk.claim() == []
        assert await desk.look_us() == NOW_US + LEASE_US
        await desk.finish(claimed[0])
        again_us = NOW_US + SECOND_US
        assert await desk.names(again_us) == ["dlv_2"]
        await desk.change(key, max_in_flight=3)
        assert await desk.names(again_us) == ["dlv_3"]
        # Calling off what is under way makes room at once.
        await desk.store.write(lambda writer: writer.cancel([2], "asked", again_us))
        assert await desk.look_us() == again_us
        assert await desk.names(again_us) == ["dlv_4"]

    async def test_open_breaker_lets_one_probe_through(self, desk: Desk) -> None:
        """Case 14: nothing before its pause is over, then one; the next when that has failed, all when it arrived."""
        key = await desk.add()
        lane = Lane()
        for _ in range(BREAK_AFTER):
            lane = after(lane, endpoint(), "failed", 0, NOW_US).lane
        await desk.put(key, lane)
        await desk.owe(key, *(f"dlv_{n}" for n in range(20)))
        until_us = NOW_US + 30 * SECOND_US
        assert await desk.claim(until_us - 1) == []
        assert await desk.look_us() == until_us
        [probe] = await desk.claim(until_us)
        assert (probe.id, probe.is_probe) == ("dlv_0", True)
        probing = await desk.store.read(lambda reader: reader.lane(key))
        assert probing.breaker == "half_open"
        assert await desk.claim(until_us) == []
        await desk.retry(probe, due_us=until_us)
        await desk.put(key, after(probing, endpoint(), "failed", 0, until_us).lane)
        assert await desk.claim(until_us + 60 * SECOND_US - 1) == []
        [probe] = await desk.claim(until_us + 60 * SECOND_US)
        # Interrupted, it is repeated.
        await desk.store.write(lambda writer: writer.release_leases("lease_", until_us + 60 * SECOND_US))
        [probe] = await desk.claim(until_us + 60 * SECOND_US)
        assert probe.is_probe
        at_us = until_us + 61 * SECOND_US
        counts = list[int]()
        hands = [probe]
        for n in range(4):
            await desk.finish(*hands, finished_us=at_us + n)
            lane = await desk.store.read(lambda reader: reader.lane(key))
            await desk.put(key, after(lane, endpoint(), "ok", 0, at_us + n).lane)
            hands = await desk.claim(at_us + n)
            counts.append(len(hands))
            assert not any(it.is_probe for it in hands)
        assert counts == [1, 2, 4, 8]

    async def test_lane_rests_as_long_as_its_receiver_asked(self, desk: Desk) -> None:
        """Case 25: what is due and what is owed meanwhile wait, and nobody looks before."""
        key = await desk.add()
        asked_us = NOW_US + 120 * SECOND_US
        await desk.put(key, after(Lane(), endpoint(), "throttled", asked_us, NOW_US).lane)
        await desk.owe(key, "dlv_1")
        assert await desk.claim() == []
        assert await desk.look_us() == asked_us
        await desk.owe(key, "dlv_2")
        assert await desk.claim(asked_us - 1) == []
        assert await desk.look_us() == asked_us
        assert await desk.names(asked_us) == ["dlv_1", "dlv_2"]

    async def test_rate_is_kept_and_waiting_costs_nothing(self, desk: Desk) -> None:
        """Case 17: the burst at once, then one whenever the lane says that there is one; no attempt is charged."""
        key = await desk.add(rate=Rate(10.0, 3))
        await desk.owe(key, *(f"dlv_{n:02}" for n in range(20)))
        at_us, sent = NOW_US, list[tuple[int, str]]()
        while len(sent) < 20:
            claimed = await desk.claim(at_us)
            sent += [(at_us - NOW_US, it.id) for it in claimed]
            await desk.finish(*claimed, finished_us=at_us)
            assert await desk.claim(at_us) == []
            at_us = await desk.look_us() or 0
        assert [name for _, name in sent] == [f"dlv_{n:02}" for n in range(20)]
        assert [at for at, _ in sent] == [0, 0, 0, *(n * SECOND_US // 10 for n in range(1, 18))]
        assert {row.attempts for row in await desk.rows(key)} == {1}

    async def test_replayed_ones_come_behind_what_is_live(self, desk: Desk) -> None:
        """Case 48: however old they are; alone, they are served like any other."""
        key = await desk.add(max_in_flight=2)
        await desk.owe(key, "old_1", "old_2", "old_3")
        for _ in range(2):
            await desk.finish(*await desk.claim(NOW_US + SECOND_US))
        await desk.store.write(
            lambda writer: writer.redeliver([1, 2, 3], "replay", due_us=NOW_US, rank=1, replay_key=1)
        )
        await desk.owe(key, "live", due_us=NOW_US + 2 * SECOND_US)
        claimed = await desk.claim(NOW_US + 2 * SECOND_US)
        assert [(it.id, it.trigger) for it in claimed] == [("live", "event"), ("old_1", "replay")]
        await desk.finish(*claimed)
        assert await desk.names(NOW_US + 2 * SECOND_US) == ["old_2", "old_3"]

    # Orders

    async def test_what_has_no_order_waits_for_nobody(self, desk: Desk) -> None:
        """A head that is retried holds up nothing."""
        await desk.add()
        await desk.owe(1, "dlv_1", "dlv_2")
        [first, second] = await desk.claim()
        await desk.retry(first, due_us=NOW_US + 60 * SECOND_US)
        await desk.owe(1, "dlv_3")
        assert await desk.names(NOW_US + SECOND_US) == ["dlv_3"]
        assert await desk.finish(second) == {2}

    @pytest.mark.parametrize("waits", ["retried", "interrupted", "halted", "under way"])
    async def test_executions_wait_for_their_own_events_only(self, desk: Desk, waits: str) -> None:
        """Case 51: as long as the first one is not through, whatever becomes of it meanwhile."""
        await desk.add()
        for name, order in (("a_1", "a"), ("a_2", "a"), ("b_1", "b"), ("a_3", "a"), ("b_2", "b")):
            await desk.owe(1, name, order_key=order)
        first, other = await desk.claim()
        assert [first.id, other.id] == ["a_1", "b_1"]
        again_us = NOW_US + 60 * SECOND_US
        if waits == "retried":
            await desk.retry(first, due_us=again_us)
        elif waits == "interrupted":
            await desk.store.write(lambda writer: writer.release_leases("lease_", NOW_US))
            [first, other] = await desk.claim()
        elif waits == "halted":
            await desk.finish(first, state="pending", reason="halted", error="status")
        await desk.finish(other)
        assert await desk.names(NOW_US + SECOND_US) == ["b_2"]
        await desk.owe(1, "a_4", order_key="a")
        assert await desk.names(NOW_US + SECOND_US) == []

    @pytest.mark.parametrize("end", ["delivered", "failed", "cancelled", "held"])
    async def test_next_of_an_order_is_due_when_the_one_before_is_through(self, desk: Desk, end: str) -> None:
        """Delivered, given up, called off or set aside: the next one is due at that moment, and one alone."""
        await desk.add()
        await desk.owe(1, "dlv_1", event_type="node.completed", order_key="")
        await desk.owe(1, "dlv_2", "dlv_3", order_key="")
        at_us = NOW_US + 9 * SECOND_US
        if end == "held":
            assert await desk.store.write(lambda writer: writer.hold_overflow(0, at_us, 1)) == {1: 1}
        elif end == "cancelled":
            assert await desk.store.write(lambda writer: writer.cancel([1], "asked", at_us)) == 1
        else:
            assert await desk.finish(*await desk.claim(), state=end, finished_us=at_us) == {1}
        assert [(row.state, row.due_us) for row in await desk.rows(1)] == [
            (end, None),
            ("pending", at_us),
            ("pending", None),
        ]
        assert await desk.names(at_us) == ["dlv_2"]
        assert await desk.names(at_us) == []

    async def test_whole_order_arrives_as_it_was_owed(self, desk: Desk) -> None:
        """Strictly one after another, with a head that is retried, and others that come meanwhile."""
        await desk.add(ordering="strict")
        await desk.owe(1, "dlv_0", "dlv_1", order_key="")
        arrived, at_us = list[str](), NOW_US
        for n in range(2, 12):
            at_us += SECOND_US
            [claimed] = await desk.claim(at_us)
            if n % 3 == 0:
                await desk.retry(claimed, due_us=at_us + SECOND_US)
            else:
                arrived.append(claimed.id)
                await desk.finish(claimed, finished_us=at_us)
            await desk.owe(1, f"dlv_{n}", order_key="", due_us=at_us)
        assert arrived == [f"dlv_{n}" for n in range(len(arrived))]
        assert len(arrived) == 7

    async def test_earlier_one_that_is_sent_again_goes_first(self, desk: Desk) -> None:
        """Who had come first in its order waits for it, whatever it was doing: due, to be retried, or under way."""
        await desk.add()
        await desk.owe(1, "dlv_1", "dlv_2", "dlv_3", order_key="x")
        await desk.finish(*await desk.claim(), state="failed")
        [second] = await desk.claim(NOW_US + SECOND_US)
        assert await desk.store.write(lambda writer: writer.redeliver([1], "retry", due_us=NOW_US)) == 1
        [first] = await desk.claim(NOW_US + SECOND_US)
        assert [first.id, second.id] == ["dlv_1", "dlv_2"]
        # The second fails while the first is under way: its turn comes after it, not at its own time.
        await desk.retry(second, due_us=NOW_US + 2 * SECOND_US)
        assert await desk.names(NOW_US + 5 * SECOND_US) == []
        await desk.retry(first, due_us=NOW_US + 6 * SECOND_US)
        [first] = await desk.claim(NOW_US + 6 * SECOND_US)
        assert first.id == "dlv_1"
        await desk.finish(first, finished_us=NOW_US + 7 * SECOND_US)
        assert [(row.id, row.due_us) for row in await desk.rows(1)][1:] == [
            ("dlv_2", NOW_US + 7 * SECOND_US),
            ("dlv_3", None),
        ]
        # And again, while the second is due.
        await desk.store.write(lambda writer: writer.redeliver([1], "retry", due_us=NOW_US + 8 * SECOND_US))
        assert await desk.names(NOW_US + 9 * SECOND_US) == ["dlv_1"]
        assert await desk.names(NOW_US + 9 * SECOND_US) == []

    async def test_interrupted_one_waits_for_an_earlier_one(self, desk: Desk) -> None:
        """It was under way when the earlier one was sent again; it gets no second turn beside it."""
        await desk.add()
        await desk.owe(1, "dlv_1", "dlv_2", order_key="x")
        await desk.finish(*await desk.claim(), state="failed")
        await desk.claim(NOW_US + SECOND_US, lease="gone.1")
        await desk.store.write(lambda writer: writer.redeliver([1], "retry", due_us=NOW_US))
        await desk.store.write(lambda writer: writer.release_leases("gone.", NOW_US + SECOND_US))
        [first] = await desk.claim(NOW_US + SECOND_US)
        assert first.id == "dlv_1"
        await desk.finish(first)
        assert await desk.names(NOW_US + SECOND_US) == ["dlv_2"]

    async def test_ended_replay_lets_its_order_go_on(self, desk: Desk) -> None:
        """Nobody waits for what is taken back."""
        await desk.add()
        await desk.owe(1, "dlv_1", "dlv_2", order_key="x")
        for n in range(2):
            await desk.finish(*await desk.claim(NOW_US + n * SECOND_US), state="failed")
        for key in (1, 2):
            replayed = {"due_us": NOW_US, "rank": 1, "replay_key": key}
            await desk.store.write(lambda writer, it=replayed, key=key: writer.redeliver([key], "replay", **it))  # type: ignore[misc]
        assert await desk.store.write(lambda writer: writer.end_replayed(1, NOW_US + SECOND_US)) == 1
        assert await desk.names(NOW_US + SECOND_US) == ["dlv_2"]

    # Too much, and too old

    async def test_halted_one_is_not_set_aside(self, desk: Desk) -> None:
        """Whoever halted it is to decide; what waits behind it must not pass because it became too much."""
        await desk.add()
        await desk.owe(1, "dlv_1", "dlv_2", event_type="node.completed", order_key="x")
        await desk.finish(*await desk.claim(), state="pending", reason="halted", error="status")
        assert await desk.store.write(lambda writer: writer.hold_overflow(0, NOW_US, 9)) == {1: 1}
        assert await desk.states(1) == {"dlv_1": "pending", "dlv_2": "held"}
        assert await desk.names(NOW_US + SECOND_US) == []

    async def test_only_types_to_the_letter_are_set_aside(self, desk: Desk) -> None:
        """Progress, heartbeats, logs and nodes; a type that looks like them does not."""
        await desk.add()
        names = ("node.x", "log.appended", "execution.progress", "execution.heartbeat")
        for name in (*names, "Node.x", "nodes", "execution.progressed", "execution.started"):
            await desk.owe(1, name, event_type=name)
        assert await desk.store.write(lambda writer: writer.hold_overflow(0, NOW_US, 99)) == {1: 4}
        assert {name for name, state in (await desk.states(1)).items() if state == "held"} == set(names)

    async def test_backlog_counts_what_is_open(self, desk: Desk) -> None:
        """Of one endpoint or of all, and since when the oldest waits."""
        for name in ("wh_1", "wh_2"):
            await desk.add(name, max_in_flight=1)
        await desk.owe(1, "dlv_1", "dlv_2", "dlv_3", due_us=NOW_US - 5)
        await desk.owe(1, "node", event_type="node.completed", due_us=NOW_US - 9)
        await desk.owe(2, "other")
        nothing = await desk.store.read(lambda reader: reader.backlog(3))
        assert nothing == ({"pending": 0, "leased": 0, "held": 0}, None)
        await desk.store.write(lambda writer: writer.hold_overflow(3, NOW_US, 9))
        await desk.claim()
        backlogs = await desk.store.read(lambda reader: [reader.backlog(key) for key in (1, 2, None)])
        assert backlogs == [
            ({"pending": 2, "leased": 1, "held": 1}, NOW_US - 5),
            ({"pending": 0, "leased": 1, "held": 0}, None),
            ({"pending": 2, "leased": 2, "held": 1}, NOW_US - 5),
        ]

    async def test_keys_are_given_once(self, desk: Desk) -> None:
        """Also when everything was forgotten: a late outcome, or a page that is asked for, never meets another one."""
        await desk.add()
        await desk.owe(1, "dlv_1", "dlv_2")
        await desk.finish(*await desk.claim())
        assert await desk.store.write(lambda writer: writer.forget_deliveries(NOW_US + 1, 0, 10)) == (1, 0)
        await desk.owe(1, "dlv_3")
        assert [(row.key, row.id) for row in await desk.rows(1)] == [(2, "dlv_2"), (3, "dlv_3")]
        assert await desk.store.write(lambda writer: writer.forget_deliveries(NOW_US + 1, 0, 10)) == (1, 0)
        assert await desk.states(1) == {"dlv_3": "pending"}

    async def test_body_is_kept_as_long_as_somebody_is_owed_it(self, desk: Desk) -> None:
        """Endpoints share the bytes of an event; who is still to get it does."""
        keys = [await desk.add(f"wh_{n}") for n in range(2)]
        await desk.store.write(lambda writer: writer.owe([planned(f"dlv_{key}", key, body=b"both") for key in keys]))
        await desk.owe(1, "later")
        claimed = {it.id: it for it in await desk.claim()}
        await desk.finish(claimed["dlv_1"], claimed["later"])
        await desk.retry(claimed["dlv_2"], due_us=NOW_US)
        assert await desk.store.write(lambda writer: writer.forget_deliveries(NOW_US + 1, 0, 10)) == (1, 0)
        assert [(it.id, it.body) for it in await desk.claim(NOW_US + SECOND_US)] == [("dlv_2", b"both")]

    # The clock

    async def test_clock_that_is_set_back_freezes_nothing(self, desk: Desk) -> None:
        """Case 10: whatever waits for a time waits as long as before, whether it is due, leased, blocked or retried."""
        keys = [await desk.add(f"wh_{n}", max_in_flight=2) for n in range(2)]
        await desk.owe(keys[0], "due", "leased", "backlog_1", "backlog_2")
        await desk.owe(keys[1], "blocked")
        lane = Lane(blocked_until_us=NOW_US + 60 * SECOND_US)
        await desk.put(keys[1], lane)
        first, _ = await desk.claim()
        await desk.retry(first, due_us=NOW_US + 10 * SECOND_US)
        hour_us = 3600 * SECOND_US
        here_us = NOW_US - hour_us
        await desk.store.write(lambda writer: writer.set_back(hour_us))
        assert await desk.store.read(lambda reader: reader.lane(keys[1])) == set_back(lane, hour_us)
        assert await desk.names(here_us + SECOND_US) == ["backlog_1"]
        assert await desk.look_us() == here_us + LEASE_US
        assert await desk.names(here_us + 10 * SECOND_US) == []
        assert await desk.names(here_us + LEASE_US) == ["leased"]
        assert "blocked" in await desk.names(here_us + 60 * SECOND_US)


def _there(found: Endpoint | None) -> Endpoint:
    assert found is not None
    return found
