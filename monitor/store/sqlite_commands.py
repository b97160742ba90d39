"""Commands of a batch on their way into SQLite: what was heard is joined to what is stored. For `sqlite_write`."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from monitor.projections.commands import Command, merged
from monitor.store.commands import decode_command, encode_command

_STORED: Final = """
SELECT c.key, c.body
FROM json_each(?) AS wanted
CROSS JOIN commands AS c ON c.key = wanted.value ->> 0 AND c.command_id = wanted.value ->> 1
"""
_REPLACE: Final = "REPLACE INTO commands (key, command_id, state, since_us, body) VALUES (?, ?, ?, ?, ?)"


def write_commands(driver: sqlite3.Connection, heard: Sequence[tuple[int, Command]]) -> None:
    """Join facts, each by its execution's key, to their commands."""
    if not heard:
        return
    wanted = sorted({(key, command.id) for key, command in heard})
    bodies = [(key, decode_command(body)) for key, body in driver.execute(_STORED, (json.dumps(wanted),))]
    commands = {(key, command.id): command for key, command in bodies}
    for key, command in heard:
        commands[key, command.id] = merged(commands.get((key, command.id)), command)
    rows = [(*at, it.state, it.since_us, encode_command(it)) for at, it in sorted(commands.items())]
    driver.executemany(_REPLACE, rows)
