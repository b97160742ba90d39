"""Asks REST for what subscribers have just seen: it must be there already, whichever gateway is asked."""

import asyncio
import random
from collections.abc import Sequence
from itertools import cycle
from typing import Final

import httpx

from tests.support.soak.client import Client

PACE_S: Final = 0.05


class Probe:
    """Runs from `start` to `stop`."""

    def __init__(self, urls: Sequence[str], clients: Sequence[Client], seed: int) -> None:
        self.asked = 0
        self.faults: list[str] = []
        self._urls, self._clients, self._chance = cycle(urls), clients, random.Random(seed)
        # Reading the system's certificates takes longer than the request, and nothing here is TLS.
        self._http = httpx.AsyncClient(trust_env=False, verify=False, timeout=30.0)  # noqa: S501
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask on and on."""
        self._asking = asyncio.create_task(self._ask_on(), name="probe")

    async def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
            self._asking = None
            await self._http.aclose()

    async def _ask_on(self) -> None:
        while True:
            await asyncio.sleep(PACE_S)  # the pace of asking
            client = self._chance.choice(self._clients)
            if client.view:
                await self._ask(client)

    async def _ask(self, client: Client) -> None:
        # What came last, or nearly so, was committed last.
        name, seen = max(client.view.items(), key=lambda item: item[1].version)
        url = next(self._urls)
        try:
            answer = await self._http.get(f"{url}/v1/executions/{name}")
        except httpx.TransportError:
            return  # nobody is there just now
        if answer.status_code == 503:
            return
        self.asked += 1
        version = answer.json().get("version") if answer.status_code == 200 else None
        if version is None or version < seen.version:
            self.faults.append(
                f"{client.name} saw {name} as {seen}, and {url} then said {answer.status_code} {version}"
            )
