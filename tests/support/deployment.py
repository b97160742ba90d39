"""A deployment of many processes: each `monitor serve` by its role, over one real Kafka topic and one real database."""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.kafka import Kafka
from tests.support.service import Service

KEY: Final = base64.b64encode(bytes(range(32))).decode()


class Deployment:
    """Its processes, by role and in the order of their start."""

    def __init__(self, folder: Path, settings: Mapping[str, str], roles: Sequence[str]) -> None:
        self._folder, self._settings = folder, settings
        self.services: dict[str, list[Service]] = {role: [] for role in roles}

    def add(self, role: str, **settings: str) -> Service:
        """One more process, not started yet."""
        number = len(self.services.setdefault(role, []))
        data = self._folder / f"{role}-{number}"
        service = Service(data, **{**self._settings, **settings, "role": role})
        self.services[role].append(service)
        return service

    @property
    def gateways(self) -> list[Service]:
        """Where clients ask."""
        return self.services["gateway"]

    @property
    def projector(self) -> Service:
        """The first one that folds."""
        return self.services["projector"][0]

    @property
    def deliverer(self) -> Service:
        """The first one that sends."""
        return self.services["deliverer"][0]

    async def ready(self) -> None:
        """Return when all are."""
        for service in (service for of in self.services.values() for service in of):
            await service.ready()


@asynccontextmanager
async def deployed(
    folder: Path, kafka: Kafka, topic: str, database: str, roles: Mapping[str, int], **settings: str
) -> AsyncIterator[Deployment]:
    """So many processes of each role, ready; ended after the block, whatever state they are in."""
    shared = {"journal": f"kafka://{kafka.bootstrap}/{topic}", "store": database, "key": KEY, "kafka_group": topic}
    deployment = Deployment(folder, {**shared, **settings}, list(roles))
    async with AsyncExitStack() as ended:
        for role, count in roles.items():
            for _ in range(count):
                service = deployment.add(role)
                ended.callback(service.close)
                service.launch()
        await deployment.ready()
        yield deployment
