"""A process that is killed while it appends has lost nothing that it was told is stored."""

import random
import subprocess
import sys
from pathlib import Path

from monitor.clock import SystemClock
from monitor.journal import Place, open_sqlite_journal
from tests.contracts.journal_contract import read_all

# Four tasks append batches of different sizes without end, and print each place once it is acknowledged.
APPENDING = """
import asyncio, sys
from pathlib import Path
from monitor.clock import SystemClock
from monitor.events.model import Entry
from monitor.journal import open_sqlite_journal

async def load(journal, worker, life):
    number = 0
    while True:
        size = 1 + number % 37
        entries = [Entry(b"exec_%d" % worker, b"%d.%d.%d" % (life, worker, number + n)) for n in range(size)]
        number += size
        lines = [
            f"{place.partition} {place.offset} {entry.value.decode()}"
            for place, entry in zip(await journal.append(entries), entries)
        ]
        print(*lines, sep="\\n", flush=True)

async def main(path, life):
    journal = await open_sqlite_journal(Path(path), clock=SystemClock(), partitions=3)
    await asyncio.gather(*(load(journal, worker, life) for worker in range(4)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_killed_process_keeps_what_it_acknowledged(tmp_path: Path, long_form: bool) -> None:
    """SIGKILL at random moments, again and again on one file: every acknowledged place holds its bytes."""
    path = tmp_path / "journal.db"
    chance = random.Random(20261122)
    acknowledged: dict[Place, bytes] = {}
    incarnations = set()
    for life in range(50 if long_form else 6):
        acknowledged |= append_until_killed(path, life, lines_before_kill=chance.randrange(1, 3000))
        journal = await open_sqlite_journal(path, clock=SystemClock(), partitions=3)
        stored = {Place(record.partition, record.offset): record.value for record in await read_all(journal)}
        incarnations.add(journal.incarnation)
        await journal.close()
        assert acknowledged.items() <= stored.items()
        assert all(offset == 0 or Place(partition, offset - 1) in stored for partition, offset in stored)
    assert len(incarnations) == 1


def append_until_killed(path: Path, life: int, *, lines_before_kill: int) -> dict[Place, bytes]:
    """What the process said to be stored, up to the last whole line before its end."""
    command = [sys.executable, "-c", APPENDING, str(path), str(life)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            lines = [process.stdout.readline() for _ in range(lines_before_kill)]
        finally:
            process.kill()
        lines += process.stdout.readlines()
    acknowledged = {}
    for line in lines:
        if line.endswith("\n"):
            partition, offset, value = line.split()
            acknowledged[Place(int(partition), int(offset))] = value.encode()
    assert len(acknowledged) >= lines_before_kill - 1
    return acknowledged
