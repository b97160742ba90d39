"""A producer that tells events without end, each batch until it is acknowledged, and remembers all of them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, Final

import httpx
import orjson

from monitor.errors import JournalUnavailable
from monitor.events.model import Entry, Record
from monitor.journal.base import Journal
from tests.support.service import eventually
from tests.support.soak.telling import Told, batches, closing

ACKNOWLEDGED_WITHIN_S: Final = 180.0

PACE_S: Final = 0.25
"""Between two batches of about a hundred events: enough that every fault meets a service at work, and no more."""

PAUSE_S: Final = 0.1
"""Before a batch that was not acknowledged is sent again."""

ANSWERED_WITHIN_S: Final = 30.0

_ACTIVE: Final = 4
"""Few executions of each kind at once: many have ended, and are owed to webhooks, by the time of the fault."""

_WITHOUT_END: Final = 1 << 40

Door = Callable[[Sequence[Entry]], Awaitable[bool]]
"""Hands in a batch; whether it was acknowledged."""


class Load:
    """Runs from `start` to `pause`; `told` has every event, and while it rests each of them is acknowledged."""

    def __init__(self, door: Door, seed: int) -> None:
        self.told, self.door = Told(), door
        self.acknowledged: set[str] = set()
        """Ids of events."""
        self.tries = 0
        """How often a batch was sent that was not acknowledged."""
        self._batches = batches(seed, self.told, _WITHOUT_END, active=_ACTIVE)
        # Taken, and not told yet.
        self._due: list[Sequence[Entry]] = []
        self._stopping = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Tell on and on."""
        self._stopping.clear()
        self._telling = asyncio.create_task(self._tell_on(), name="load")

    async def pause(self) -> None:
        """Return when the batch that is under way is acknowledged; `start` goes on."""
        self._stopping.set()
        if self._telling is not None:
            await self._telling
        self._telling = None

    async def give_up(self) -> None:
        """Rest at once, before a batch that nobody takes; `start` tells it again."""
        await self.cancel()
        self._telling = None

    async def cancel(self) -> None:
        """Break off."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def more(self, events: int) -> None:
        """Return when so many more are acknowledged."""
        reached = len(self.acknowledged) + events

        async def have_come() -> bool:
            if self._telling is not None and self._telling.done():
                self._telling.result()
            return len(self.acknowledged) >= reached

        await eventually(
            have_come, within_s=ACKNOWLEDGED_WITHIN_S, what=lambda: f"{len(self.acknowledged)} of {reached} events"
        )

    def next(self) -> Sequence[Entry]:
        """The batch that it tells when it goes on."""
        if not self._due:
            self._due.append(next(self._batches))
        return self._due[0]

    async def tell(self, events: int) -> None:
        """Tell about so many, as fast as they are taken. It must not be running."""
        reached = len(self.acknowledged) + events
        while len(self.acknowledged) < reached:
            await self._tell(self.next())

    async def close(self) -> None:
        """Tell the last event of each workflow. It must not be running."""
        await self._tell(closing(self.told))

    async def _tell_on(self) -> None:
        while not self._stopping.is_set():
            await self._tell(self.next())
            await asyncio.sleep(PACE_S)  # the pace of the load

    async def _tell(self, batch: Sequence[Entry]) -> None:
        deadline_s = asyncio.get_running_loop().time() + ACKNOWLEDGED_WITHIN_S
        while not await self.door(batch):
            self.tries += 1
            assert asyncio.get_running_loop().time() < deadline_s, f"not acknowledged within {ACKNOWLEDGED_WITHIN_S} s"
            await asyncio.sleep(PAUSE_S)  # the pace of asking again
        self._due.clear()
        self.acknowledged |= {event_id(entry) for entry in batch}


class HttpDoor:
    """Posts to the services in turn, each request to the next one."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.answers: Counter[int | str] = Counter()
        """By status, or the kind of failure."""
        self._urls: Iterator[str] = cycle(urls)
        # Reading the system's certificates takes longer than the request, and nothing here is TLS.
        self._client = httpx.AsyncClient(trust_env=False, verify=False, timeout=ANSWERED_WITHIN_S)  # noqa: S501

    async def __call__(self, batch: Sequence[Entry]) -> bool:
        """Hand it in once."""
        answer = await self.post(batch)
        if answer is None or answer.status_code != 200:
            return False
        verdicts = Counter(result["verdict"] for result in answer.json()["results"])
        assert not verdicts["rejected"], answer.text
        return True

    async def post(self, batch: Sequence[Entry]) -> httpx.Response | None:
        """What is answered; None = nobody does."""
        body = b"\n".join(entry.value for entry in batch)
        try:
            answer = await self._client.post(
                f"{next(self._urls)}/v1/events", content=body, headers={"content-type": "application/x-ndjson"}
            )
        except httpx.TransportError as error:
            self.answers[type(error).__name__] += 1
            return None
        self.answers[answer.status_code] += 1
        return answer

    async def close(self) -> None:
        """Leave."""
        await self._client.aclose()


def journal_door(journal: Journal) -> Door:
    """Appends to a journal of the test's own, as producers do that know Kafka."""

    async def append(batch: Sequence[Entry]) -> bool:
        try:
            await journal.append(batch)
        except JournalUnavailable:
            return False
        return True

    return append


def in_turn(*doors: Door) -> Door:
    """Each batch goes to the next door, and there again if it was not acknowledged."""
    coming = cycle(doors)
    door = next(coming)

    async def hand_in(batch: Sequence[Entry]) -> bool:
        nonlocal door
        is_acknowledged = await door(batch)
        if is_acknowledged:
            door = next(coming)
        return is_acknowledged

    return hand_in


def event_id(entry: Entry | Record) -> str:
    """The id that a producer gave."""
    told: dict[str, Any] = orjson.loads(entry.value or b"")
    return str(told["id"])
