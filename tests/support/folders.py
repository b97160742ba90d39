"""Data folders as a service leaves them behind, made without a server."""

import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from monitor.app import Parts, open_parts
from monitor.events.model import DEFAULT_TEAM, Entry
from monitor.settings import Settings
from monitor.webhooks.endpoint import Endpoint
from tests.support.made_up import VARIED, Mix, histories
from tests.support.webhooks import make_endpoint

Events = Sequence[Mapping[str, Any]]


@asynccontextmanager
async def opened(data: Path, **settings: Any) -> AsyncIterator[Parts]:
    """Every part over a folder; nothing runs."""
    async with open_parts(Settings(data=data, **settings)) as parts:
        yield parts


async def told(parts: Parts, events: Events, *, batch: int = 500, team: str = DEFAULT_TEAM) -> None:
    """Have these events told, and folded batch by batch."""
    for start in range(0, len(events), batch):
        receipt = await parts.intake.publish(events[start : start + batch], team=team)
        assert receipt.number_of("rejected") == 0
        await parts.pipeline.catch_up()


async def told_raw(parts: Parts, *values: bytes) -> None:
    """Bytes that are no event, straight into the journal; they end in quarantine."""
    await parts.journal.append([Entry(b"key", value) for value in values])
    await parts.pipeline.catch_up()


async def registered(parts: Parts) -> Endpoint:
    """A webhook for everything that comes from now on."""
    since = {partition: held.end for partition, held in (await parts.journal.bounds()).items()}
    return await parts.store.write(lambda writer: writer.add_endpoint(make_endpoint(key=0, since=since)))


def mingled(seed: int, executions: int, mix: Mix = VARIED) -> list[dict[str, Any]]:
    """Events of many executions, as they come from many workers: each execution's in order."""
    chance, told_by = random.Random(seed), list(histories(seed, executions, mix=mix))
    turns = list(itertools.chain.from_iterable([number] * len(events) for number, events in enumerate(told_by)))
    chance.shuffle(turns)
    left = [iter(events) for events in told_by]
    return [next(left[number]) for number in turns]


def rows(path: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a statement finds in a file that nobody uses."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement, values).fetchall()


def alter(path: Path, statement: str, *values: Any) -> int:
    """Change a file that nobody uses; returns how many rows."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).rowcount


@contextmanager
def unwatched(_doing: str, _total: int | None, _unit: str) -> Iterator[Callable[[int], None]]:
    """The course of long work, which nobody watches."""
    yield lambda _: None
