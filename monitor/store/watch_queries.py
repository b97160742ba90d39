"""What is watched, in SQLAlchemy Core: mixins for the drivers' readers and writers."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, select, update

from monitor.projections.execution import Execution
from monitor.store import rows, tables

_W: Final = tables.watches.c
_E: Final = tables.executions.c
_P: Final = tables.progress.c

_FIRST: Final = select(func.min(_W.due_us))
_DUE: Final = (
    select(*(_E.key, _E.team, _E.id, _E.created_us), *(_P.version, _P.updated_us, _P.completed, _P.total))
    .add_columns(_P.registers, _P.tail, _P.heard_us)
    .select_from(tables.watches.join(tables.executions, _E.key == _W.key).join(tables.progress, _P.key == _W.key))
    .where(_W.due_us <= bindparam("now_us"))
    .order_by(_W.due_us)
    .limit(bindparam("most"))
)
_AGAIN: Final = update(tables.watches).where(_W.key == bindparam("of")).values(due_us=bindparam("at_us"))
_NOT_AGAIN: Final = delete(tables.watches).where(_W.key == bindparam("of"))


class WatchReads:
    """Implements WatchReader over `_connection`."""

    _connection: Connection

    def next_watch_us(self) -> int | None:
        first_us: int | None = self._connection.scalar(_FIRST)
        return first_us

    def due_watches(self, now_us: int, limit: int) -> Sequence[Execution]:
        found = self._connection.execute(_DUE, {"now_us": now_us, "most": limit})
        return [rows.unpack_watched(rows.StoredExecution(*row)) for row in found]


class WatchWrites:
    """Implements what WatchWriter adds."""

    _connection: Connection

    def watch_again(self, looks: Mapping[int, int | None]) -> None:
        again = [{"of": key, "at_us": look_us} for key, look_us in sorted(looks.items()) if look_us is not None]
        over = [{"of": key} for key, look_us in sorted(looks.items()) if look_us is None]
        if again:
            self._connection.execute(_AGAIN, again)
        if over:
            self._connection.execute(_NOT_AGAIN, over)
