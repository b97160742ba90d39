"""A journal without end: the event of any offset, batches of them folded into a store, and what it must hold then."""

from monitor.events.codec import decode
from monitor.events.model import Event, Record
from monitor.projections.execution import Execution
from monitor.projections.fold import fold
from monitor.projections.view import summary
from monitor.store import Commit, Moved, Reader, Writer

EXECUTIONS = 7


def numbered(offset: int, partition: int = 0) -> Event:
    """The event at an offset: nodes of a few executions of the partition's own, with a payload each."""
    value = (
        b'{"type":"node.completed","executionId":"%s","timestamp":"2026-11-22T10:30:01Z","data":{"nodeId":"n_%d",'
        b'"outputData":"%s"}}' % (id_of(offset % EXECUTIONS, partition).encode(), offset, b"x" * 2000)
    )
    event = decode(Record(partition, offset, None, value, (), offset), lambda _, team: team or "default")
    assert isinstance(event, Event)
    return event


def id_of(number: int, partition: int = 0) -> str:
    """The id of an execution."""
    return f"exec_{number}" if partition == 0 else f"exec_{partition}_{number}"


def append(writer: Writer, count: int, partition: int = 0) -> int:
    """Fold and commit the next `count` events; returns the offset after them."""
    offset = writer.offsets()[partition].next
    events = [numbered(at, partition) for at in range(offset, offset + count)]
    ids = {(event.team, event.execution_id) for event in events}
    loaded = writer.load(ids)
    changes = fold(events, {id_: loaded.get(id_) or Execution(*id_) for id_ in ids})
    writer.commit(Commit(changes, {partition: Moved(offset, offset + count, b"anchor")}, []))
    return offset + count


def contents(reader: Reader, partition: int = 0) -> tuple[int, list[object], list[int]]:
    """Offset, views with their nodes and payloads, and the offsets of the releases."""
    offset = reader.offsets()[partition].next
    found = [reader.execution("default", id_of(number, partition)) for number in range(EXECUTIONS)]
    views: list[object] = [(it[0], len(reader.nodes(it[1])), len(reader.payloads(it[1]))) for it in found if it]
    return offset, views, [release.offset for release in reader.releases(partition, 0, 1 << 40)]


def expected(offset: int, partition: int = 0) -> tuple[int, list[object], list[int]]:
    """What a store holds that has folded everything below `offset`."""
    names = [id_of(number, partition) for number in range(EXECUTIONS)]
    whole = {("default", name): Execution("default", name) for name in names}
    fold([numbered(at, partition) for at in range(offset)], whole)
    seen = [it for it in whole.values() if it.seen]
    return offset, [(summary(it), len(it.nodes), len(it.nodes)) for it in seen], list(range(offset))
