"""A house to be shaken: brokers, store and monitor processes by role, under load, with everybody who depends on them.

`shaken` starts it, tells events, lets subscribers and a receiver of webhooks come; the block in between does the harm.
Afterwards everything must settle by itself, and the final count is made and printed.
"""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from monitor.access.positions import open_position
from monitor.access.sealing import Sealer
from monitor.clock import SystemClock
from monitor.journal import Journal, open_kafka_journal, open_sqlite_journal
from monitor.store import open_postgres_store, open_sqlite_store
from monitor.store.base import Store
from tests.chaos.archive import Archive
from tests.chaos.load import HttpDoor, Load, in_turn, journal_door
from tests.chaos.probe import Probe
from tests.chaos.shape import Ground, Role, Shape, made
from tests.chaos.verdict import Promise, Witnessed, complaints, judged, judged_anew, report
from tests.support.kafka_cluster import Cluster
from tests.support.postgres import Server
from tests.support.receiver import Receiver, receiving
from tests.support.service import Service, eventually
from tests.support.soak.asking import every_execution, lines_left_out
from tests.support.soak.client import Client
from tests.support.soak.crowd import crowd

SEED: Final = 20261122

SETTLED_WITHIN_S: Final = 240.0
"""Longer than the lease of a deliverer that died, and than a client of Kafka needs to find its way."""

STALLED: Final = 10
"""One of so many subscribers does not read for a while."""

ENDS: Final = ("execution.completed", "execution.failed", "execution.cancelled")

LOOKED_WITHIN_S: Final = 1.5
"""A gateway that heard no hint looks for news once a second."""

_FOLLOWER_LAG: Final = "monitor_follower_lag_records{"

_KEY: Final = bytes(range(32))


class House:
    """Everything that runs; made by `shaken`."""

    def __init__(self, folder: Path, shape: Shape, ground: Ground, settings: Mapping[str, str]) -> None:
        self.folder, self.shape = folder, shape
        self.topic = f"chaos-{uuid.uuid4().hex[:12]}"
        self.database = f"chaos_{uuid.uuid4().hex[:12]}"
        self._cluster = ground.cluster if shape.journal == "kafka" else None
        self._postgres = ground.postgres if shape.store == "postgres" else None
        self.services = made(folder, shape, {**self._addresses(), **settings})
        self.door = HttpDoor([gateway.url for gateway in self.gateways])
        self.load = Load(self.door, SEED)
        self.clients: list[Client] = crowd(
            [gateway.port for gateway in self.gateways], self.load.told, shape.clients, SEED
        )
        # They stop reading when the load begins, and go on in the end.
        self.stalled = self.clients[: len(self.clients) // STALLED]
        self.probe = Probe([gateway.url for gateway in self.gateways], self.clients, SEED)
        # What the final count goes by, where the journal will have lost it by then; and what was lost on purpose.
        self.archive: Archive | None = None
        self.cut: set[str] = set()
        self.is_begun_anew = False
        """Whether the store is a new one, over a journal that counts anew: what positions and webhooks were is gone."""
        self.promises: Mapping[str, Promise] = {}
        self._receiver: Receiver | None = None

    # --- who runs ----------------------------------------------------------------------------------------------------

    @property
    def readers(self) -> list[Client]:
        """Subscribers that read all the time."""
        return [client for client in self.clients if client not in self.stalled]

    @property
    def cluster(self) -> Cluster:
        """The brokers."""
        assert self._cluster is not None, "this house has no Kafka"
        return self._cluster

    @property
    def postgres(self) -> Server:
        """The server of the store."""
        assert self._postgres is not None, "this house has no PostgreSQL"
        return self._postgres

    @property
    def journal_url(self) -> str:
        """As the settings name it."""
        return f"kafka://{self.cluster.bootstrap}/{self.topic}"

    @property
    def receiver(self) -> Receiver:
        """Of webhooks."""
        assert self._receiver is not None
        return self._receiver

    def of_role(self, *roles: Role) -> list[Service]:
        """The processes that do this, whatever else they do."""
        return [service for name, service in self.services.items() if name.split("-")[0] in ("all", *roles)]

    @property
    def gateways(self) -> list[Service]:
        """Where one may knock."""
        return self.of_role("gateway")

    @property
    def projectors(self) -> list[Service]:
        """Who fold."""
        return self.of_role("projector")

    @property
    def deliverers(self) -> list[Service]:
        """Who send."""
        return self.of_role("deliverer")

    async def restart(self, *services: Service) -> None:
        """Start those that were ended, and return when they are ready."""
        for service in services:
            service.launch()
        for service in services:
            await service.ready()

    async def refused(self) -> httpx.Response:
        """The first answer to a batch that is not 200. The load must rest; it tells the batch as well, later."""
        batch = self.load.next()

        async def is_refused() -> httpx.Response | None:
            answer = await self.door.post(batch)
            # An answer is false when it says that something is wrong.
            return None if answer is None or answer.status_code == 200 else answer

        refusal: httpx.Response = await eventually(is_refused)
        return refusal

    # --- how it stands -----------------------------------------------------------------------------------------------

    async def caught_up(self) -> None:
        """Return when everything in the journal is folded."""
        await self.projectors[0].caught_up(SETTLED_WITHIN_S)

    async def followed(self) -> None:
        """Return when every gateway has told what is folded: for longer than one may not have looked for news."""
        quiet_since_s: float | None = None

        async def is_followed() -> bool:
            nonlocal quiet_since_s
            now_s = time.monotonic()
            for gateway in self.gateways:
                async with gateway.client() as client:
                    told = (await client.get("/metrics")).text.splitlines()
                if any(float(line.split()[-1]) for line in told if line.startswith(_FOLLOWER_LAG)):
                    quiet_since_s = None
                    return False
            quiet_since_s = quiet_since_s or now_s
            return now_s - quiet_since_s > LOOKED_WITHIN_S

        await eventually(is_followed, within_s=SETTLED_WITHIN_S)

    async def everybody_is_back(self) -> None:
        """Return when each client was seen connected."""
        await self._all(lambda client: client.is_settled, "connected")

    async def _all(self, is_so: Any, what: str) -> None:
        left = list(self.clients)

        async def holds() -> bool:
            left[:] = [client for client in left if not is_so(client)]
            return not left

        await eventually(
            holds, within_s=SETTLED_WITHIN_S, what=lambda: f"{len(left)} clients are not {what}, such as {left[:3]}"
        )

    async def delivered(self) -> None:
        """Return when nothing is owed any more."""
        owed: list[Any] = []

        async def is_delivered() -> bool:
            owed.clear()
            async with self.gateways[0].client() as client:
                for hook in (await client.get("/v1/webhooks")).json()["data"]:
                    query = {"status": "pending,sending,held,failed", "limit": "1"}
                    page = await client.get(f"/v1/webhooks/{hook['id']}/deliveries", params=query)
                    assert page.status_code == 200, page.text
                    owed.extend(page.json()["data"])
            return not owed

        await eventually(is_delivered, within_s=SETTLED_WITHIN_S, what=lambda: f"not delivered: {owed}")

    # --- from beginning to end ---------------------------------------------------------------------------------------

    async def open(self, stack: AsyncExitStack) -> None:
        """Start everything, and let everybody come."""
        if self._postgres is not None:
            self._postgres.mend()
            stack.enter_context(self._postgres.database(self.database))
        stack.callback(self._end)
        if self._cluster is not None:
            await self._cluster.mend()
            await self._cluster.make_topic(self.topic, self.shape.partitions)
        await self.restart(*self.services.values())
        self._receiver = await stack.enter_async_context(receiving())
        await self._register()
        stack.push_async_callback(self._leave)
        for client in self.clients:
            client.connect()
        await self.everybody_is_back()
        if self._cluster is not None:
            # Others write to the topic themselves, and what they repeat is there twice.
            self.load.door = in_turn(self.door, self.door, journal_door(await self.open_journal(stack)))
        for sleeper in self.stalled:
            sleeper.stall()
        self.probe.start()
        self.load.start()
        await self.load.more(self.shape.warm_up)

    async def settle(self) -> None:
        """Everything that was told is folded, shown and sent; then everybody goes home."""
        await self.load.pause()
        for sleeper in self.stalled:
            sleeper.read_on()
        for service in self.services.values():
            await service.ready()
        await self.caught_up()
        if len(self.services) > 1:
            await self.followed()
        await self.everybody_is_back()
        self._settled = self.load.told.count
        await self.load.close()
        await self._all(lambda client: client.has_closed, "at the end")
        await self.delivered()
        async with self.gateways[0].client() as client:
            self._answers = await every_execution(client)
            self._lines_at = await lines_left_out(client, self.clients, self.load.told)
        await self._leave()
        for service in self.services.values():
            assert await service.stop() == 0, service.log.read_text()[-2000:]

    async def count(self) -> None:
        """Make the final count, print it, and fail where a promise is broken."""
        async with AsyncExitStack() as stack:
            journal = await self.open_journal(stack)
            archive = self.archive or Archive(journal)
            await archive.add(journal)
            store = await self.open_store(stack)
            seen = Witnessed(
                told=self.load.told,
                acknowledged=self.load.acknowledged,
                clients=self.clients,
                requests=self.receiver.requests,
                hung_up=self.receiver.hung_up,
                answers=self._answers,
                lines_at=self._lines_at,
                settled=self._settled,
                stalled=self.stalled,
                asked=self.probe.asked,
                outdated=self.probe.faults,
                cut=self.cut,
            )
            sealer = Sealer(_KEY)
            if self.is_begun_anew:
                self.promises = await judged_anew(archive, store, seen)
            else:
                self.promises = await judged(archive, store, seen, lambda token: open_position(sealer, token))
        print(report(self.promises))
        faults = complaints(self.promises)
        assert not faults, "\n".join([report(self.promises), *faults])

    async def open_journal(self, stack: AsyncExitStack) -> Journal:
        """The journal itself, for the test's own use."""
        journal: Journal
        if self._cluster is not None:
            journal = await open_kafka_journal(
                self.journal_url, clock=SystemClock(), group="chaos", create=False, confirm_s=60.0
            )
        else:
            journal = await open_sqlite_journal(self.projectors[0].data / "journal.db", clock=SystemClock())
        stack.push_async_callback(journal.close)
        return journal

    async def open_store(self, stack: AsyncExitStack) -> Store:
        """The store itself, when nobody else works on it."""
        store: Store
        if self._postgres is not None:
            store = await open_postgres_store(self.postgres.address(self.database))
        else:
            store = await open_sqlite_store(self.projectors[0].data / "store.db")
        stack.push_async_callback(store.close)
        return store

    def _addresses(self) -> Mapping[str, str]:
        return {
            "key": base64.b64encode(_KEY).decode(),
            **({"journal": self.journal_url} if self._cluster else {}),
            **({"store": self._postgres.address(self.database)} if self._postgres else {}),
        }

    async def _register(self) -> None:
        async with self.gateways[0].client() as client:
            for ordering in ("none", "execution"):
                wish = {"url": f"{self.receiver.url}/{ordering}", "events": list(ENDS), "ordering": ordering}
                answer = await client.post("/v1/webhooks", json=wish)
                assert answer.status_code == 201, answer.text

    async def _leave(self) -> None:
        await self.probe.stop()
        await self.load.cancel()
        for client in self.clients:
            await client.leave()
        await self.door.close()

    def _end(self) -> None:
        for service in self.services.values():
            service.close()


@asynccontextmanager
async def shaken(
    folder: Path,
    shape: Shape,
    ground: Ground,
    **settings: str,
) -> AsyncIterator[House]:
    """A house under load, to be harmed in the block; then it must settle, and every promise must hold.

    `settings`: of every process, without the prefix.
    """
    async with AsyncExitStack() as stack:
        house = House(folder, shape, ground, settings)
        await house.open(stack)
        yield house
        await house.settle()
        await house.count()


async def lasting(seconds: float) -> None:
    """So long a fault lasts; nobody waits here for something to have happened."""
    await asyncio.sleep(seconds)
