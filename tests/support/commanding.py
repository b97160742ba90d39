"""A house whose executions are run: engines at work, events folded as they come, commands by HTTP."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.types import Scope

from monitor.access.principal import Principal
from monitor.access.roles import ROLES, SCOPES, Role
from monitor.api import bulk, changes, commands, executions
from monitor.api.dialects import n8n, so1, team
from monitor.api.dialects.desk import Desk
from monitor.app import FACES
from monitor.clock import Clock, SystemClock
from monitor.engines.base import Answer, Command, Engine
from monitor.engines.demo import DemoEngine
from monitor.engines.router import Router
from monitor.executions.audit import Audit
from monitor.executions.bulk import Bulk
from monitor.executions.changes import Changes
from monitor.executions.commands import Commands
from monitor.executions.exports import Exports
from monitor.executions.idempotency import Idempotency
from monitor.executions.lookups import Lookups
from monitor.executions.originals import Originals
from monitor.executions.reads import Reads
from monitor.executions.telling import Telling
from monitor.executions.waiting import Waiting
from monitor.store.base import Store
from monitor.web.operations import routed
from monitor.web.problems import exception_handlers
from tests.support.contract.checked import CHECKED
from tests.support.house import SEALER, House, open_house
from tests.support.service import eventually

SPEED = 40.0
"""How much faster than for people the demo engine works: its longest execution takes a third of a second."""


@dataclass
class Scripted:
    """An engine that takes one workflow and answers as it is told; keeps what it was asked."""

    workflow_id: str
    answer: Answer | BaseException
    asked: list[Command] = field(default_factory=list)

    def serves(self, team: str, workflow_id: str) -> bool:
        """Whether it is the one."""
        return workflow_id == self.workflow_id and team != "stranger"

    async def submit(self, command: Command) -> Answer:
        """What it is told to say."""
        self.asked.append(command)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def run(self) -> None:
        """Work at nothing."""
        await asyncio.Event().wait()


async def principal(scope: Scope) -> Principal:
    """Whom the test's headers name: a team, a name, a role, and scopes where it has fewer."""
    said = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    roles: dict[str, Role] = {role: role for role in ROLES}
    scopes = frozenset(scope for scope in SCOPES if scope in said["x-scopes"]) if "x-scopes" in said else None
    role = roles[said.get("x-role", "admin")]
    return Principal(said.get("x-team", "acme"), said.get("x-name", "tester"), role, scopes)


class CommandHouse:
    """Made by `commanding`."""

    def __init__(self, house: House, engines: Sequence[Engine], speed: float) -> None:
        self.house, clock = house, SystemClock()

        async def tell(events: Sequence[Mapping[str, Any]], team: str) -> None:
            await house.intake.publish(events, team=team)

        self.demo = DemoEngine(tell, clock, random.Random(7), speed=speed)
        self.engines = Router([*engines, self.demo])
        self.audit = Audit(house.store, clock)
        telling = Telling(house.intake, house.hub, clock)
        self.commands = Commands(
            store=house.store,
            engines=self.engines,
            telling=telling,
            audit=self.audit,
            waiting=Waiting(house.store, house.hub),
            originals=Originals(house.history),
            random_bytes=secrets.token_bytes,
        )
        self.changes = Changes(house.store, telling, self.audit)
        self.bulk = Bulk(
            store=house.store,
            commands=self.commands,
            changes=self.changes,
            audit=self.audit,
            sealer=SEALER,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        self.idempotency = Idempotency(house.store, clock)
        reads = Reads(house.store, house.hub)
        asked = [
            *executions.operations(reads=reads, history=house.history, sealer=SEALER, clock=clock),
            *commands.operations(commands=self.commands, reads=reads, idempotency=self.idempotency),
            *changes.operations(changes=self.changes),
            *bulk.operations(bulk=self.bulk, idempotency=self.idempotency),
            *so1.operations(desk := self.desk(reads, clock)),
            *n8n.operations(desk),
            *team.operations(desk),
        ]
        handlers = exception_handlers(clock, FACES)
        self.application = Starlette(routes=routed(asked, principal), exception_handlers=handlers)

    def desk(self, reads: Reads, clock: Clock) -> Desk:
        """As dialects get it."""
        exports = Exports(reads)
        return Desk(reads, Lookups(reads), self.commands, self.changes, self.bulk, exports, SEALER, clock)

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client; `team`, `name` and `role` say whose."""
        transport = httpx.ASGITransport(self.application)
        asking = {f"x-{name}": value for name, value in headers.items()}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://monitor", headers=asking, event_hooks=CHECKED
        ) as client:
            yield client

    async def tell(self, *events: Mapping[str, Any], team: str = "acme") -> None:
        """Take in events of an engine, and wait until they are visible."""
        receipt = await self.house.intake.publish(events, team=team)
        assert await self.house.hub.reached(receipt.position, 60.0)

    async def until(self, client: httpx.AsyncClient, execution_id: str, *statuses: str) -> dict[str, Any]:
        """The execution, once it has one of these statuses."""
        shown: dict[str, Any] = {}

        async def has_it() -> bool:
            nonlocal shown
            shown = (await client.get(f"/v1/executions/{execution_id}")).json()
            return shown.get("status") in statuses

        await eventually(has_it, what=lambda: str(shown))
        return shown


@asynccontextmanager
async def commanding(*engines: Engine, speed: float = SPEED, store: Store | None = None) -> AsyncIterator[CommandHouse]:
    """A house whose pipeline, engines and jobs run while the block does."""
    house = await open_house(store)
    commanded = CommandHouse(house, engines, speed)
    work = [asyncio.create_task(run()) for run in (house.pipeline.run, commanded.engines.run, commanded.bulk.run)]
    await asyncio.sleep(0)  # the engine's first step: from then on it takes commands
    try:
        yield commanded
    finally:
        for task in work:
            task.cancel()
        ended = await asyncio.gather(*work, return_exceptions=True)
        assert [it for it in ended if not isinstance(it, asyncio.CancelledError)] == []
