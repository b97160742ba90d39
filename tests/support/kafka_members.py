"""Processes that share a topic's partitions as a consumer group, and one ledger that says what each of them did.

The ledger does what the store does: it moves the offsets by compare-and-set, in the transaction that takes the records.
So what is in it is exact, whoever was killed or frozen in the middle. Run as a module, this is one such process.
"""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from monitor.clock import SystemClock
from monitor.events.model import Record
from monitor.journal import Place, open_kafka_journal
from monitor.journal.kafka.consumer import Patience
from tests.support.processes import dying_with_us

_LAYOUT = """
CREATE TABLE offsets (at INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE taken (at INTEGER, offset INTEGER, member TEXT, age_us INTEGER, taken_us INTEGER, PRIMARY KEY (at, offset))
WITHOUT ROWID;
CREATE TABLE refused (member TEXT, records INTEGER);
"""


class Taken(NamedTuple):
    """A record in the ledger: who took it, how old it was then, and when that was."""

    place: Place
    member: str
    age_us: int
    taken_us: int


class Ledger:
    """One file that every member writes; a record is in it once or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def made(cls, path: Path, partitions: int) -> Self:
        """A new one, at the beginning of every partition."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_LAYOUT)
            connection.executemany("INSERT INTO offsets VALUES (?, 0)", [(at,) for at in range(partitions)])
            connection.commit()
        return cls(path)

    def offsets(self) -> Mapping[int, int]:
        """Where each partition goes on."""
        with closing(self._open()) as connection:
            return dict(connection.execute("SELECT at, next FROM offsets"))

    def take(self, member: str, records: Sequence[Record]) -> bool:
        """Note the records; False, and nothing is changed, when somebody else has moved one of their partitions."""
        firsts = {record.partition: record.offset for record in reversed(records)}
        lasts = {record.partition: record.offset for record in records}
        with closing(self._open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            moved = [
                connection.execute("UPDATE offsets SET next = ? WHERE at = ? AND next = ?", (lasts[at] + 1, at, first))
                for at, first in firsts.items()
            ]
            if any(one.rowcount != 1 for one in moved):
                connection.execute("ROLLBACK")
                connection.execute("INSERT INTO refused VALUES (?, ?)", (member, len(records)))
                return False
            now_us = time.time_ns() // 1000
            connection.executemany(
                "INSERT INTO taken VALUES (?, ?, ?, ?, ?)",
                [(it.partition, it.offset, member, now_us - it.stored_us, now_us) for it in records],
            )
            connection.execute("COMMIT")
            return True

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """While the block runs, whoever writes waits: that is how a store looks whose disk has gone away."""
        with closing(self._open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def taken(self) -> list[Taken]:
        """What was taken, in the order of places."""
        with closing(self._open()) as connection:
            rows = connection.execute("SELECT at, offset, member, age_us, taken_us FROM taken ORDER BY at, offset")
            return [Taken(Place(at, offset), *rest) for at, offset, *rest in rows]

    def refused(self) -> Counter[str]:
        """How many batches of each member were refused, for somebody else had been there."""
        with closing(self._open()) as connection:
            return Counter(member for (member,) in connection.execute("SELECT member FROM refused"))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60, isolation_level=None)


class Member:
    """A process of the group; as a context manager it is killed at the end, if it still runs."""

    def __init__(self, url: str, group: str, ledger: Ledger, name: str, *, silence_s: float) -> None:
        self.name = name
        self._command = [url, group, str(ledger.path), name, str(silence_s)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self.kill()

    @property
    def resident_bytes(self) -> int:
        """What it holds in memory."""
        assert self._process
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def launch(self) -> None:
        """Start it, from the main thread."""
        command = [sys.executable, "-m", "tests.support.kafka_members", *self._command]
        self._process = subprocess.Popen(dying_with_us(command))

    def kill(self) -> None:
        """SIGKILL: the group hears nothing."""
        self._signal(signal.SIGKILL)
        self._wait()

    async def leave(self) -> int:
        """SIGTERM: the group hears of it; the exit code."""
        self._signal(signal.SIGTERM)
        return await asyncio.to_thread(self._wait)

    def pause(self) -> None:
        """SIGSTOP, at whatever instruction it is."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on as if nothing had been."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def _wait(self) -> int:
        assert self._process
        return self._process.wait(60)


async def work(url: str, group: str, ledger: Ledger, name: str, silence_s: float) -> None:
    """Read and take until cancelled."""

    async def find_offsets(partitions: Collection[int]) -> Mapping[int, int]:
        offsets = await asyncio.to_thread(ledger.offsets)
        return {partition: offsets[partition] for partition in partitions}

    patience = Patience(silence_s=silence_s)
    journal = await open_kafka_journal(url, clock=SystemClock(), group=group, create=False, patience=patience)
    try:
        consumer = await journal.consumer(find_offsets)
        while True:
            records = await consumer.poll(500, 0.5)
            if records and not await asyncio.to_thread(ledger.take, name, records):
                await consumer.reload()
    finally:
        await journal.close()


async def _until_terminated(url: str, group: str, path: str, name: str, silence_s: str) -> None:
    working = asyncio.create_task(work(url, group, Ledger(Path(path)), name, float(silence_s)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    await asyncio.wait([working])
    if not working.cancelled():
        working.result()


if __name__ == "__main__":
    asyncio.run(_until_terminated(*sys.argv[1:]))
    os._exit(0)
