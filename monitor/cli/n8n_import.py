"""`monitor import n8n-log`: real n8n event logs become executions, through a service or straight into its data folder.

Resumable and idempotent: an event's id is its log line's, so running the same import again, also after an interruption
or with more files, adds only what is new. The folder way leaves the store caught up.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer

from monitor.app import Parts, open_parts
from monitor.cli.door import Push, Verdict, http_door
from monitor.cli.event_file import Item
from monitor.cli.logs import configure_logs
from monitor.cli.pushing import Advance, Tally, print_tally, progress_bar, push_all
from monitor.errors import DataFolderBusy
from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, Event, Poison, Record
from monitor.opening import need_own_store
from monitor.pipeline import relax_collector
from monitor.projections.execution import Execution
from monitor.projections.fold import ExecutionId, fold, is_fresh
from monitor.settings import Settings
from monitor.sources.n8n_log import Translation, translate
from monitor.store.base import Writer


async def import_n8n_logs(
    files: Sequence[Path],
    instance: str,
    *,
    backfill: bool,
    url: str | None,
    token: str | None = None,
    settings: Settings,
    as_json: bool,
) -> int:
    """Import `files` as those of the n8n `instance`; returns 1 when a line or an event was refused, else 0.

    `url` None means the data folder of `settings`, which no service may be using: raises DataFolderBusy.
    """
    configure_logs(settings.log)
    translation = _translated(files, instance, backfill=backfill)
    items = [Item(_place_of(event), msgspec.json.encode(event)) for event in translation.events]
    async with http_door(url, token) if url else folder_door(settings) as push:
        with progress_bar("Importing", sum(len(item.raw) + 1 for item in items), "bytes") as advance:
            tally = await push_all(push, items, advance)
    _count_refused_lines(tally, translation)
    _report(tally, statuses_told_by(item.raw for item in items), as_json=as_json)
    return 1 if tally.rejected else 0


def statuses_told_by(events: Iterable[bytes]) -> Mapping[str, int]:
    """How many executions `events` tell of, by the status that they come to."""
    decoded = [_decoded(raw) for raw in events]
    executions = _executions_of(decoded)
    fold(decoded, executions)
    return dict(Counter(execution.status for execution in executions.values()).most_common())


# --- the data folder as a door ---------------------------------------------------------------------------------------


@asynccontextmanager
async def folder_door(settings: Settings) -> AsyncIterator[Push]:
    """The door of a data folder that no service is using. What came in is folded into the store before it is closed."""
    need_own_store(settings, f"import through a gateway: --url http://{settings.host}:{settings.port}")
    relax_collector()
    try:
        async with open_parts(settings) as parts:
            # First, so that what an interrupted import left in the journal is known to the store.
            await _catch_up(parts)
            yield _FolderDoor(parts).push
            await _catch_up(parts)
    except DataFolderBusy as busy:
        raise DataFolderBusy(
            f"{busy.message}; import through it: --url http://{settings.host}:{settings.port}"
        ) from None


class _FolderDoor:
    """Appends to the journal what the store does not know yet."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def push(self, events: Sequence[bytes]) -> list[Verdict]:
        """As `door.Push`."""
        is_new = await self._parts.store.write(lambda writer: _are_new(writer, events))
        fresh = [raw for raw, new in zip(events, is_new, strict=True) if new]
        receipt = await self._parts.intake.accept(fresh, team=DEFAULT_TEAM)
        told = (Verdict(result.verdict, result.fault.message if result.fault else "") for result in receipt.results)
        return [next(told) if new else Verdict("duplicate") for new in is_new]


def _are_new(writer: Writer, events: Sequence[bytes]) -> list[bool]:
    decoded = [_decoded(raw) for raw in events]
    stored = writer.load({(event.team, event.execution_id) for event in decoded if isinstance(event, Event)})
    return [isinstance(event, Poison) or _is_new(stored, event) for event in decoded]


def _is_new(stored: Mapping[ExecutionId, Execution], event: Event) -> bool:
    execution = stored.get((event.team, event.execution_id))
    return execution is None or is_fresh(execution, event)


async def _catch_up(parts: Parts) -> None:
    rows = await parts.store.read(lambda reader: reader.offsets())
    behind = sum(held.end - rows[partition].next for partition, held in (await parts.journal.bounds()).items())
    with progress_bar("Folding", behind, "records") as advance:
        await parts.pipeline.catch_up(advance)


# --- files in, report out --------------------------------------------------------------------------------------------


def _translated(files: Sequence[Path], instance: str, *, backfill: bool) -> Translation:
    with ExitStack() as opened, progress_bar("Reading", sum(file.stat().st_size for file in files), "bytes") as advance:
        named = [(str(file), _counted(opened.enter_context(file.open("rb")), advance)) for file in files]
        return translate(named, instance, backfill=backfill)


def _counted(lines: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    for line in lines:
        yield line
        advance(len(line))


def _place_of(event: Mapping[str, Any]) -> str:
    return f"{event['executionId']} {event['type']} {event['id']}"


def _decoded(raw: bytes) -> Event | Poison:
    return decode(Record(0, 0, None, raw, (), 0), lambda _record, _said: DEFAULT_TEAM)


def _executions_of(decoded: Iterable[Event | Poison]) -> dict[ExecutionId, Execution]:
    ids = {(event.team, event.execution_id) for event in decoded if isinstance(event, Event)}
    return {id_: Execution(*id_) for id_ in ids}


def _count_refused_lines(tally: Tally, translation: Translation) -> None:
    for place, reason in translation.refused:
        tally.rejected += 1
        tally.name(place, reason)


def _report(tally: Tally, statuses: Mapping[str, int], *, as_json: bool) -> None:
    print_tally(tally, as_json=as_json, more={"executions": statuses})
    if not as_json:
        counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
        typer.echo(f"{sum(statuses.values())} executions: {counts or 'none'}")
