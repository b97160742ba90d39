"""What a batch writes, decided: `pack` turns its changes into rows, and `unpack` rows into executions again. Pure.

Shared by the drivers, which only carry the rows to their tables. Rows are ordered by key, so that a B-tree is passed
through once. An execution that was stored or loaded carries a `Kept` from one commit to the next: with it, a batch
writes the row that lists are made of only when that row changes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

from monitor.events.model import NOWHERE, Place
from monitor.events.types import DERIVED
from monitor.projections.commands import Command
from monitor.projections.execution import Execution, Node, NodeKey, Registers
from monitor.projections.fold import Changes, Release, Touched
from monitor.projections.loglines import LogLine
from monitor.projections.statistics import contribution, run_contributions
from monitor.projections.view import Summary, summary
from monitor.store.releases import StoredRelease, stored_release
from monitor.store.searching import MOST_CHARACTERS, MOST_NAMES, Known, NodeNames, error_text_of, name_text_of
from monitor.store.tables import LARGE_PAYLOAD_BYTES, SEEN_CHUNK

_ENTRY_BYTES: Final = 28
"""An applied event: 16 bytes of digest and 4 of checksum, which tell repeats, and 8 of its place in the journal."""

_OFFSET_BITS: Final = 48
"""Of a packed place; the partition stands above them."""

_NOWHERE: Final = (1 << _OFFSET_BITS) - 1
"""NOWHERE as a packed place."""

_CHUNK_BYTES: Final = SEEN_CHUNK * _ENTRY_BYTES

_pack_entry: Final = Struct(">16sIQ").pack
_unpack_entries: Final = Struct(">16sIQ").iter_unpack

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_registers: Final = msgspec.msgpack.Decoder(Registers).decode
_decode_node: Final = msgspec.msgpack.Decoder(Node).decode
_decode_releases: Final = msgspec.msgpack.Decoder(list[StoredRelease]).decode
_decode_any: Final = msgspec.msgpack.Decoder().decode

Row = tuple[Any, ...]


class Listed(NamedTuple):
    """The columns by which lists are filtered and sorted."""

    workflow_id: str
    workflow_name: str | None
    mode: str | None
    status: str
    at_us: int
    started_us: int | None
    duration_us: int | None
    stopped_us: int | None
    retry_of: str | None
    parent_id: str | None
    error_type: str | None
    deleted: bool
    ended_us: int | None
    trigger: str
    error: str
    tags: list[str]


class Kept(msgspec.Struct, gc=False):
    """What is stored of an execution now."""

    listed: Listed
    # What the search finds of its error.
    error_text: str | None
    # Its row's `tail`.
    tail: bytes


class Batch(msgspec.Struct):
    """Rows by the statement that takes them; the last members of an update's row are its guard."""

    # Of executions: key, team, id, created_us, then Listed without tags.
    new: list[Row] = []
    # Of progress: key, version, updated_us, events, completed, total, heard_us, registers, tail.
    new_progress: list[Row] = []
    # Of progress without the key; then the key and the version and events that must be stored now.
    progress: list[Row] = []
    # Of executions: status, duration_us, stopped_us, error_type, ended_us and error; then the key.
    ended: list[Row] = []
    # Of executions: Listed without tags; then the key.
    relisted: list[Row] = []
    # Team, key and text of an error; and team and key of those that have none any more.
    error_texts: list[Row] = []
    unfailed: list[Row] = []
    # Team, workflow, node id, name and their text, where they may be new.
    node_names: list[Row] = []
    # Keys whose stored tags are void; and key and tag of those that hold.
    untagged: list[Row] = []
    tags: list[Row] = []
    # Key, chunk and entries.
    seen: list[Row] = []
    # Keys whose stored nodes and payloads are void; and those whose log is.
    cleared: list[Row] = []
    silenced: list[Row] = []
    # Key, the three parts of a NodeKey, body.
    nodes: list[Row] = []
    # Key and slot of what is void wherever it stood; key, slot and value, which is None where it stands apart.
    emptied: list[Row] = []
    payloads: list[Row] = []
    large_payloads: list[Row] = []
    # Key, then a LogLine with its data encoded.
    log_lines: list[Row] = []
    # Key, and a fact of a command.
    commands: list[tuple[int, Command]] = []
    # Key, and when to look at it at the latest.
    watches: list[Row] = []
    # By team, workflow and status: change of the number of executions in lists.
    totals: dict[tuple[str, str, str], int] = {}


def pack(changes: Changes, keys: Iterable[int], names: NodeNames) -> Batch:
    """The rows that `changes` make of the touched executions.

    Gives new executions, in order of first appearance, the keys that `keys` begins with, and notes in each what is
    stored of it once the rows are; `names` notes the names of nodes likewise.
    """
    batch = Batch()
    known = [touched for touched in changes.touched.values() if touched.execution.key]
    for touched in sorted(known, key=lambda touched: touched.execution.key):
        _pack_known(batch, touched, names)
    new = (touched for touched in changes.touched.values() if not touched.execution.key)
    for touched, key in zip(new, keys, strict=False):
        touched.execution.key = key
        _pack_new(batch, touched, names)
    return batch


def _pack_new(batch: Batch, touched: Touched, names: NodeNames) -> None:
    execution = touched.execution
    key, listed = execution.key, _listed(execution)
    batch.new.append((key, execution.team, execution.id, execution.created_us, *listed[:-1]))
    batch.tags += [(key, tag) for tag in dict.fromkeys(listed.tags)]
    _count(batch, execution.team, listed, 1)
    tail = _add_seen(batch, touched, b"")
    progress = execution.progress
    batch.new_progress.append(
        (
            key,
            execution.version,
            execution.updated_us,
            len(execution.seen),
            progress.completed,
            progress.total,
            execution.heard_us,
            _encode(execution.registers),
            tail,
        )
    )
    _pack_contents(batch, touched, names)
    execution.stored_version = execution.version
    execution.kept = Kept(listed, error_text := error_text_of(execution), tail)
    if error_text is not None:
        batch.error_texts.append((execution.team, key, error_text))


def _pack_known(batch: Batch, touched: Touched, names: NodeNames) -> None:
    execution, kept = touched.execution, touched.execution.kept
    events, progress = len(execution.seen), execution.progress
    kept.tail = _add_seen(batch, touched, kept.tail)
    batch.progress.append(
        (
            execution.version,
            execution.updated_us,
            events,
            progress.completed,
            progress.total,
            execution.heard_us,
            _encode(execution.registers),
            kept.tail,
            execution.key,
            execution.stored_version,
            events - len(touched.fresh),
        )
    )
    # What has not started stands in lists by its first evidence, which any event may be.
    if touched.restated or execution.started_us is None:
        listed = _listed(execution)
        if listed != kept.listed:
            _relist(batch, execution, kept.listed, listed)
            if listed.workflow_id != kept.listed.workflow_id:
                _pack_names(batch, execution, names)
            kept.listed = listed
        error_text = error_text_of(execution)
        if error_text != kept.error_text:
            _renew_error_text(batch, execution, error_text)
            kept.error_text = error_text
    _pack_contents(batch, touched, names)
    execution.stored_version = execution.version


def _listed(execution: Execution) -> Listed:
    started_us, details = execution.started_us, execution.details
    return Listed(
        execution.workflow_id,
        execution.workflow_name,
        execution.mode,
        execution.status,
        # Only what has not started yet needs to look for its place in the order.
        summary(execution).at_us if started_us is None else started_us,
        started_us,
        execution.duration_us,
        details.stopped_us,
        details.retry_of,
        details.parent_id,
        details.error_type,
        execution.registers.deleted,
        execution.ended_us,
        execution.trigger,
        execution.fingerprint,
        execution.tags,
    )


def _relist(batch: Batch, execution: Execution, before: Listed, after: Listed) -> None:
    """Write only what changed: SQLite renews the index entries of every column that a statement names."""
    key = execution.key
    ended = (after.status, after.duration_us, after.stopped_us, after.error_type, after.ended_us, after.error)
    status, duration_us, stopped_us, error_type, ended_us, error = ended
    same = before._replace(status=status, duration_us=duration_us, stopped_us=stopped_us, error_type=error_type)
    if same._replace(ended_us=ended_us, error=error) == after:
        batch.ended.append((*ended, key))
    else:
        batch.relisted.append((*after[:-1], key))
    if before.tags != after.tags:
        batch.untagged.append((key,))
        batch.tags += [(key, tag) for tag in dict.fromkeys(after.tags)]
    _count(batch, execution.team, before, -1)
    _count(batch, execution.team, after, 1)


def _renew_error_text(batch: Batch, execution: Execution, error_text: str | None) -> None:
    if error_text is None:
        batch.unfailed.append((execution.team, execution.key))
    else:
        batch.error_texts.append((execution.team, execution.key, error_text))


def _count(batch: Batch, team: str, listed: Listed, sign: int) -> None:
    if not listed.deleted:
        cell = (team, listed.workflow_id, listed.status)
        batch.totals[cell] = batch.totals.get(cell, 0) + sign


def _add_seen(batch: Batch, touched: Touched, tail: bytes) -> bytes:
    """The new tail; chunks that are full go to their own table."""
    for event in touched.fresh:
        record = event.record
        # By index: half of what it costs by name.
        tail += _pack_entry(event.digest, event.checksum, record[0] << _OFFSET_BITS | record[1])
    if len(tail) >= _CHUNK_BYTES:
        chunk = (len(touched.execution.seen) - len(tail) // _ENTRY_BYTES) // SEEN_CHUNK
        while len(tail) >= _CHUNK_BYTES:
            batch.seen.append((touched.execution.key, chunk, tail[:_CHUNK_BYTES]))
            tail = tail[_CHUNK_BYTES:]
            chunk += 1
    return tail


def _pack_contents(batch: Batch, touched: Touched, names: NodeNames) -> None:
    execution = touched.execution
    key = execution.key
    if touched.cleared:
        batch.cleared.append((key,))
    if touched.deleted:
        batch.silenced.append((key,))
    if touched.look_us is not None:
        batch.watches.append((key, touched.look_us))
    if touched.nodes:
        known = names.of(execution.team, execution.workflow_id)
        for node_key in touched.nodes:
            node = execution.nodes[node_key]
            batch.nodes.append((key, *node_key, _encode(node)))
            label = node.label
            if (name := (node_key[0], label[2] if label else "")) not in known:
                _learn(batch, execution, name, known)
    batch.emptied += [(key, slot) for slot in touched.refilled]
    for slot, value in touched.payloads.items():
        _pack_payload(batch, key, slot, value)
    for line in touched.lines:
        data = None if line.data is None else _encode(line.data)
        batch.log_lines.append((key, *line[:-1], data))
    batch.commands += [(key, command) for command in touched.commands]


def _pack_names(batch: Batch, execution: Execution, names: NodeNames) -> None:
    """The names of all nodes once another workflow owns them."""
    known = names.of(execution.team, execution.workflow_id)
    for node_key, node in execution.nodes.items():
        _learn(batch, execution, (node_key[0], node.label[2] if node.label else ""), known)


def _learn(batch: Batch, execution: Execution, name: tuple[str, str], known: Known) -> None:
    """Have the store keep what a node is called, unless too much is made up."""
    if name not in known and len(known) < MOST_NAMES:
        known.add(name)
        kept = (name[0], name[1][:MOST_CHARACTERS])
        batch.node_names.append((execution.team, execution.workflow_id, *kept, name_text_of(*kept)))


def _pack_payload(batch: Batch, key: int, slot: str, value: bytes) -> None:
    is_large = len(value) > LARGE_PAYLOAD_BYTES
    batch.payloads.append((key, slot, None if is_large else value))
    if is_large:
        batch.large_payloads.append((key, slot, value))


def pack_releases(releases: Iterable[Release]) -> dict[int, bytes]:
    """The body of each partition's row of `releases`."""
    packed: dict[int, list[StoredRelease]] = defaultdict(list)
    for release in releases:
        event = release.event
        packed[event.record.partition].append(stored_release(release, event.type in DERIVED))
    return {partition: pack_stored(body) for partition, body in packed.items()}


def pack_stored(releases: Sequence[StoredRelease]) -> bytes:
    """The body of a row of `releases`."""
    return _encode(releases)


def unpack_releases(body: bytes) -> list[StoredRelease]:
    """The inverse of `pack_releases`, for one row."""
    return _decode_releases(body)


def unpack_node(body: bytes) -> Node:
    """A node run from its row."""
    return _decode_node(body)


def unpack_line(row: Row) -> LogLine:
    """A log line from (time_us, event_tie, place, level, node_id, message, data)."""
    time_us, event_tie, place, level, node_id, message, data = row
    return LogLine(time_us, event_tie, place, level, node_id, message, None if data is None else _decode_any(data))


class StoredExecution(NamedTuple):
    """The columns of `executions` and `progress` that an execution is made from."""

    key: int
    team: str
    id: str
    created_us: int
    version: int
    updated_us: int
    completed: int
    total: int
    registers: bytes
    tail: bytes
    heard_us: int


def unpack(row: StoredExecution, nodes: dict[NodeKey, Node], chunks: Iterable[bytes]) -> Execution:
    """The execution as it was when it was packed, complete for the fold. `chunks` in order, without the tail."""
    execution = _bare(row)
    execution.nodes = nodes
    execution.seen = {digest: checksum for digest, checksum, _ in _unpack_entries(b"".join((*chunks, row.tail)))}
    execution.refresh()
    execution.counted, execution.counted_runs = contribution(execution), run_contributions(execution)
    execution.kept = Kept(_listed(execution), error_text_of(execution), row.tail)
    return execution


def unpack_summary(row: StoredExecution) -> Summary:
    """The view of an execution, without its nodes: how many there are stands in the row."""
    execution = _bare(row)
    execution.refresh_view()
    execution.progress = msgspec.structs.replace(execution.progress, completed=row.completed, total=row.total)
    return summary(execution)


def unpack_watched(row: StoredExecution) -> Execution:
    """An execution as far as its registers tell."""
    execution = _bare(row)
    execution.refresh_view()
    return execution


def _bare(row: StoredExecution) -> Execution:
    return Execution(
        row.team,
        row.id,
        row.key,
        row.version,
        row.version,
        row.created_us,
        row.updated_us,
        _decode_registers(row.registers),
        heard_us=row.heard_us,
    )


def unpack_places(chunks: Iterable[bytes]) -> list[Place]:
    """Where the applied events stand in the journal, in the order in which they were applied."""
    return [_unpack_place(at) for _, _, at in _unpack_entries(b"".join(chunks))]


def _unpack_place(at: int) -> Place:
    return Place(0, NOWHERE) if at == _NOWHERE else Place(at >> _OFFSET_BITS, at & (1 << _OFFSET_BITS) - 1)


def moved_entries(entries: bytes, moved: Callable[[Place], Place]) -> bytes:
    """A chunk, or a tail, of an execution whose records were moved to other places."""
    packed = (
        _pack_entry(digest, checksum, _pack_place(moved(_unpack_place(at))))
        for digest, checksum, at in _unpack_entries(entries)
    )
    return b"".join(packed)


def _pack_place(place: Place) -> int:
    return _NOWHERE if place.offset == NOWHERE else place.partition << _OFFSET_BITS | place.offset
