"""Reads that both databases share, in SQLAlchemy Core: the Reader port over one connection inside a transaction.

Drivers add a Writer on top of it. Which rows make a page is decided in `listing`; `ledger` answers for endpoints.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from monitor.events.model import Place
from monitor.events.position import Position
from monitor.projections.execution import Node, NodeKey
from monitor.projections.loglines import LogLine, Spot
from monitor.projections.view import Summary
from monitor.store import listing, rows, tables
from monitor.store.access_rows import AccessReads
from monitor.store.base import OffsetRow
from monitor.store.commands import CommandReads
from monitor.store.count_queries import CountReads
from monitor.store.execution_port import ListQuery, Page
from monitor.store.exports import ExportReads
from monitor.store.leases import LeaseReads
from monitor.store.ledger import LedgerReads
from monitor.store.orders import OrderReads
from monitor.store.quarantine_rows import QuarantineReads
from monitor.store.releases import ReleasedBatch, StoredRelease, Stretch
from monitor.store.sqlite_expiry import ExpiryReads
from monitor.store.watch_queries import WatchReads

_E: Final = tables.executions.c
_P: Final = tables.progress.c

_STORED_EXECUTION: Final = (
    *(_E.key, _E.team, _E.id, _E.created_us),
    *(_P.version, _P.updated_us, _P.completed, _P.total, _P.registers, _P.tail, _P.heard_us),
)
_STORED_EXECUTIONS: Final = select(*_STORED_EXECUTION).join_from(tables.executions, tables.progress, _E.key == _P.key)

# What most requests ask: to make a statement takes ten times as long as to run it.
_EXECUTION: Final = _STORED_EXECUTIONS.where(_E.team == bindparam("team"), _E.id == bindparam("id"), tables.LISTED)
_EXECUTIONS: Final = _STORED_EXECUTIONS.where(_E.key.in_(bindparam("keys", expanding=True)))
_NODES: Final = select(tables.nodes).where(tables.nodes.c.key == bindparam("of"))
_POSITION: Final = (
    select(tables.meta.c.incarnation, tables.offsets.c.next)
    .join_from(tables.meta, tables.offsets, true(), isouter=True)
    .order_by(tables.offsets.c.partition)
)


class Queries(
    AccessReads,
    ExpiryReads,
    CommandReads,
    CountReads,
    OrderReads,
    ExportReads,
    LedgerReads,
    QuarantineReads,
    WatchReads,
    LeaseReads,
):
    """Implements the Reader port over `connection`, whose transaction is the snapshot."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def position(self) -> Position:
        found = self._connection.execute(_POSITION).all()
        return Position(found[0][0] or "", tuple(next_ for _, next_ in found if next_ is not None))

    def offsets(self) -> Mapping[int, OffsetRow]:
        found = self._connection.execute(select(tables.offsets))
        return {row.partition: OffsetRow(row.next, row.planned, row.anchor) for row in found}

    def execution(self, team: str, execution_id: str) -> tuple[Summary, int] | None:
        found = self._connection.execute(_EXECUTION, {"team": team, "id": execution_id}).one_or_none()
        return None if found is None else (_summary(found), found.key)

    def executions(self, query: ListQuery) -> tuple[Page, list[int]]:
        found_by_text = listing.search(self._connection, query)
        total, is_lower_bound = query.counted or listing.total(self._connection, query, found_by_text)
        one_more = listing.keys(self._connection, query, found_by_text, total)
        keys = one_more[: query.limit]
        if query.backwards:
            keys.reverse()
        found = self._connection.execute(_EXECUTIONS, {"keys": keys}).all()
        views = {row.key: _summary(row) for row in found}
        return Page([views[key] for key in keys], len(one_more) > query.limit, total, is_lower_bound), keys

    def nodes(self, key: int) -> Mapping[NodeKey, Node]:
        found = self._connection.execute(_NODES, {"of": key}).all()
        return {(row.node_id, row.iteration, row.attempt): rows.unpack_node(row.body) for row in found}

    def places(self, key: int) -> Sequence[Place]:
        columns = tables.seen.c
        full = select(columns.entries).where(columns.key == key).order_by(columns.chunk)
        tail = select(_P.tail).where(_P.key == key)
        return rows.unpack_places([*self._connection.scalars(full), *self._connection.scalars(tail)])

    def payloads(self, key: int, slots: Collection[str] | None = None) -> Mapping[str, bytes]:
        small, large = tables.payloads.c, tables.large_payloads.c
        joined = tables.payloads.outerjoin(
            tables.large_payloads, (large.key == small.key) & (large.slot == small.slot) & small.value.is_(None)
        )
        wanted = select(small.slot, func.coalesce(small.value, large.value).label("value")).select_from(joined)
        wanted = wanted.where(small.key == key)
        if slots is not None:
            wanted = wanted.where(small.slot.in_(slots))
        return {row.slot: row.value for row in self._connection.execute(wanted)}

    def log_lines(
        self,
        key: int,
        *,
        levels: Collection[str] | None,
        node_id: str | None,
        limit: int,
        from_us: int | None = None,
        to_us: int | None = None,
        beyond: Spot | None = None,
        falling: bool = False,
    ) -> Sequence[LogLine]:
        columns = tables.log_lines.c
        ordered = (columns.time_us, columns.event_tie, columns.place)
        wanted = select(*ordered, columns.level, columns.node_id, columns.message, columns.data)
        wanted = wanted.where(columns.key == key).limit(limit)
        wanted = wanted.order_by(*((column.desc() for column in ordered) if falling else ordered))
        if levels is not None:
            wanted = wanted.where(columns.level.in_(levels))
        if node_id is not None:
            wanted = wanted.where(columns.node_id == node_id)
        if from_us is not None:
            wanted = wanted.where(columns.time_us >= from_us)
        if to_us is not None:
            wanted = wanted.where(columns.time_us <= to_us)
        if beyond is not None:
            spot, there = tuple_(*ordered), tuple_(*map(literal, beyond))
            wanted = wanted.where(spot < there if falling else spot > there)
        return [rows.unpack_line(tuple(row)) for row in self._connection.execute(wanted)]

    def releases(self, partition: int, start: int, end: int) -> Sequence[StoredRelease]:
        columns = tables.releases.c
        found = self._connection.scalars(
            select(columns.body)
            .where(columns.partition == partition, columns.next > start, _begins_below(partition, end))
            .order_by(columns.next)
        )
        return [release for body in found for release in rows.unpack_releases(body) if start <= release.offset < end]

    def batches(self, stretches: Mapping[int, Stretch]) -> Sequence[ReleasedBatch]:
        asked = {
            f"{name}_{at}": number
            for at, (partition, stretch) in enumerate(stretches.items())
            for name, number in zip(("partition", "start", "end"), (partition, *stretch), strict=True)
        }
        found = self._connection.execute(_batches(len(stretches)), asked) if stretches else ()
        return [ReleasedBatch(at, first, next_, rows.unpack_releases(body)) for at, first, next_, body in found]


def _begins_below(partition: int | BindParameter[int], end: int | BindParameter[int]) -> ColumnElement[bool]:
    """Whether a batch of the partition begins below `end`: none behind the first that reaches it does, and that one is
    sought in the index, which does not tell where batches begin."""
    columns, others = tables.releases.c, tables.releases.alias().c
    reaching = select(func.min(others.next)).where(others.partition == partition, others.next >= end)
    return and_(columns.first < end, columns.next <= func.coalesce(reaching.scalar_subquery(), end))


@cache
def _batches(stretches: int) -> Select[Any]:
    """The statement for so many stretches: who follows asks it many times a second."""
    columns = tables.releases.c
    lies_in = [
        and_(
            columns.partition == bindparam(f"partition_{at}"),
            columns.next > bindparam(f"start_{at}"),
            _begins_below(bindparam(f"partition_{at}"), bindparam(f"end_{at}")),
        )
        for at in range(stretches)
    ]
    wanted = select(columns.partition, columns.first, columns.next, columns.body).where(or_(*lies_in))
    return wanted.order_by(columns.partition, columns.next)


def _summary(row: Row[Any]) -> Summary:
    return rows.unpack_summary(rows.StoredExecution(*row))
