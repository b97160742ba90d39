"""Runs the command line in a process that kills itself at a named instruction: `python -m tests.support.dying POINT N`.

The instruction is passed N - 1 times unharmed. SIGKILL leaves nothing time to tidy up, so what follows is what a real
crash at that place leaves behind.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

from monitor.cli import main
from monitor.deliverer import Deliverer
from monitor.executions.export_files import ExportFiles
from monitor.executions.export_work import ExportWork
from monitor.journal.kafka.producer import KafkaProducer
from monitor.keeping import rebuild as keeping
from monitor.pipeline import Pipeline
from monitor.store import postgres_filling
from monitor.store.migrations import sqlite_file
from monitor.store.migrations import steps as migrations
from monitor.store.sqlite_rebuild import SQLiteRebuild
from monitor.store.sqlite_write import SQLiteWriter
from monitor.webhooks.posting import Poster

Kill = Callable[[Any], None]


class _Countdown:
    """Kills the process when it is told for the last of `count` times that something happened."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, happened: Any) -> None:
        self._left -= bool(happened)
        if happened and self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _after(owner: Any, name: str, kill: Kill, found: Callable[[tuple[Any, ...], Any], Any]) -> None:
    """Kill once `found` sees something in the arguments and the answer of a plain method that has just returned."""
    inner = getattr(owner, name)

    @wraps(inner)
    def wrapped(*args: Any, **options: Any) -> Any:
        answer = inner(*args, **options)
        kill(found(args, answer))
        return answer

    setattr(owner, name, wrapped)


def _after_awaited(owner: type, name: str, kill: Kill, found: Callable[[tuple[Any, ...], Any], Any]) -> None:
    """The same for a coroutine."""
    inner = getattr(owner, name)

    @wraps(inner)
    async def wrapped(*args: Any, **options: Any) -> Any:
        answer = await inner(*args, **options)
        kill(found(args, answer))
        return answer

    setattr(owner, name, wrapped)


def _in_planning(kill: Kill) -> None:
    """The batch is written, with what it owes, and not committed."""
    _after(SQLiteWriter, "commit", kill, lambda args, _: args[1].deliveries)


def _planned(kill: Kill) -> None:
    """Deliveries are committed; nobody was told of them."""
    _after_awaited(Pipeline, "_advance", kill, lambda args, taken: taken)


def _in_claim(kill: Kill) -> None:
    """Leases and attempts are written and not committed."""
    _after(SQLiteWriter, "claim", kill, lambda _, claimed: claimed)


def _claimed(kill: Kill) -> None:
    """Leases and attempts are committed; nothing of them is sent."""
    _after_awaited(Deliverer, "_write", kill, lambda _, answer: isinstance(answer, tuple) and answer[0])


def _answered(kill: Kill) -> None:
    """The receiver has answered; nobody noted it."""
    _after_awaited(Poster, "post", kill, lambda _, answer: answer)


def _in_finish(kill: Kill) -> None:
    """The outcome is written and not committed."""
    _after(SQLiteWriter, "finish", kill, lambda _, held: held)


def _finished(kill: Kill) -> None:
    """The outcome is committed."""
    finished: list[int] = []
    _after(SQLiteWriter, "finish", _nobody, lambda _, held: finished.extend(held))
    _after_awaited(Deliverer, "_write", kill, lambda _, __: finished)


def _prepared(kill: Kill) -> None:
    """The new file of a rebuild has the ledger."""
    _after(SQLiteRebuild, "prepare", kill, _always)


def _carried(kill: Kill) -> None:
    """It has what is carried over."""
    _after(SQLiteRebuild, "carry_over", kill, _always)


def _folding(kill: Kill) -> None:
    """It has a batch of what is folded anew."""
    _after(SQLiteRebuild, "fold", kill, _always)


def _finished_fold(kill: Kill) -> None:
    """It is whole, and nobody knows whether it is right."""
    _after(SQLiteRebuild, "finish", kill, _always)


def _compared(kill: Kill) -> None:
    """It is to be taken into use."""
    _after(SQLiteRebuild, "keep_versions", kill, _always)


def _kept_old(kill: Kill) -> None:
    """The live one has a second name."""
    _after(keeping, "keep_old", kill, _always)


def _flushed(kill: Kill) -> None:
    """The new one is in its place, and the disk may not know it."""
    inner = Path.replace

    def replaced(path: Path, target: Any) -> Path:
        answer = inner(path, target)
        kill(path.name == "store.db.rebuild")
        return answer

    Path.replace = replaced  # type: ignore[method-assign,assignment]


def _taken_over(kill: Kill) -> None:
    """The new one is in use."""
    _after(keeping, "take_over", kill, _always)


def _copied(kill: Kill) -> None:
    """The store of before has its copy."""
    _after(sqlite_file, "_keep_copy", kill, _always)


def _copying(kill: Kill) -> None:
    """Its copy is not whole, or has not got its name."""
    _after(sqlite_file, "size_bytes", kill, _always)


def _stepped(kill: Kill) -> None:
    """A step was taken, and not committed."""
    _after(migrations, "order_indexes", kill, _always)


def _migrated(kill: Kill) -> None:
    """It is committed, and stands in the file's log alone."""
    _after(sqlite_file, "_run", kill, _always)


def _put(kill: Kill) -> None:
    """A portion of an export is on the disk, and not recorded."""
    _after(ExportFiles, "append", kill, _always)


def _recorded(kill: Kill) -> None:
    """It is recorded."""
    _after_awaited(ExportWork, "_record", kill, _always)


def _handed_over(kill: Kill) -> None:
    """A batch of records is on its way to the topic: some of it may be there."""
    _after_awaited(KafkaProducer, "_hand_over", kill, _always)


def _appended(kill: Kill) -> None:
    """It is there."""
    _after_awaited(KafkaProducer, "append", kill, _always)


def _filling(kill: Kill) -> None:
    """Some tables of the database are filled, and nothing is committed."""
    _after(postgres_filling._Filling, "take", kill, _always)


def _filled(kill: Kill) -> None:
    """All of it is committed, and nobody was told."""
    _after(postgres_filling, "fill", kill, _always)


def _always(_: Any, __: Any) -> bool:
    return True


def _nobody(_: Any) -> None:
    """Lives on."""


POINTS: Final[dict[str, Callable[[Kill], None]]] = {
    "in_planning": _in_planning,
    "planned": _planned,
    "in_claim": _in_claim,
    "claimed": _claimed,
    "answered": _answered,
    "in_finish": _in_finish,
    "finished": _finished,
}
"""The instructions, in the order of a delivery's life."""

REBUILD_POINTS: Final[dict[str, Callable[[Kill], None]]] = {
    "prepared": _prepared,
    "carried": _carried,
    "folding": _folding,
    "finished_fold": _finished_fold,
    "compared": _compared,
    "kept_old": _kept_old,
    "flushed": _flushed,
    "taken_over": _taken_over,
}
"""Those of a rebuild."""

MIGRATION_POINTS: Final[dict[str, Callable[[Kill], None]]] = {
    "copying": _copying,
    "copied": _copied,
    "stepped": _stepped,
    "migrated": _migrated,
}
"""Those of a migration of a store's file."""

EXPORT_POINTS: Final[dict[str, Callable[[Kill], None]]] = {"put": _put, "recorded": _recorded}
"""Those of a file that is exported."""

MOVE_POINTS: Final[dict[str, Callable[[Kill], None]]] = {
    "handed_over": _handed_over,
    "appended": _appended,
    "filling": _filling,
    "filled": _filled,
}
"""Those of a move to a cluster."""


if __name__ == "__main__":
    _, point, count, *rest = sys.argv
    (POINTS | REBUILD_POINTS | MIGRATION_POINTS | EXPORT_POINTS | MOVE_POINTS)[point](_Countdown(int(count)))
    sys.argv = ["monitor", *rest]
    main()
