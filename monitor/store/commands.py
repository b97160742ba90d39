"""Reads of commands that both databases share, and how a command stands in its row. `queries` mixes it in."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, select, tuple_

from monitor.projections.commands import Command
from monitor.store import tables
from monitor.store.command_port import CommandRow, CommandSpot

_C: Final = tables.commands.c
_E: Final = tables.executions.c

encode_command: Final = msgspec.msgpack.Encoder().encode
decode_command: Final = msgspec.msgpack.Decoder(Command).decode


class CommandReads:
    """Implements CommandReader over `_connection`."""

    _connection: Connection

    def commands(self, key: int) -> Sequence[Command]:
        wanted = select(_C.body).where(_C.key == key).order_by(_C.since_us, _C.command_id)
        return [decode_command(body) for body in self._connection.scalars(wanted)]

    def command(self, team: str, command_id: str) -> CommandRow | None:
        found = self._connection.execute(
            _rows().where(_C.command_id == command_id, _E.team == team).order_by(_C.key).limit(1)
        ).one_or_none()
        return None if found is None else _row(*found)

    def open_commands(self, before_us: int, limit: int, after: CommandSpot | None = None) -> Sequence[CommandRow]:
        waiting = _rows().where(tables.UNANSWERED, _C.since_us < before_us)
        order = (_C.since_us, _C.key, _C.command_id)
        if after is not None:
            waiting = waiting.where(_C.since_us >= after[0], tuple_(*order) > after)
        found = self._connection.execute(waiting.order_by(*order).limit(limit))
        return [_row(*row) for row in found]


def _rows() -> Select[Any]:
    columns = select(_E.team, _E.id, _E.workflow_id, _C.body, _C.key)
    return columns.join_from(tables.commands, tables.executions, _C.key == _E.key)


def _row(team: str, execution_id: str, workflow_id: str, body: bytes, key: int) -> CommandRow:
    return CommandRow(team, execution_id, workflow_id, decode_command(body), key)
