"""`monitor tail`: live events of many executions, a line each, on one connection after the other without loss.

What is missing all the same is announced by a line. Conditions are written as people write them, `duration>=5`, and are
judged by the service, in the grammar of its lists.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from monitor.cli.frame_line import lines_of
from monitor.cli.frames import Frame
from monitor.cli.screen import Screen
from monitor.cli.service import Query, Unwatchable, open_service
from monitor.cli.subscription import STREAM_PATH, Sent, Subscription, subscribe

_OPERATORS: Final = {"=": "", "!=": "[ne]", ">": "[gt]", ">=": "[gte]", "<": "[lt]", "<=": "[lte]"}
_CONDITION: Final = re.compile(r"(\w+)\s*(!=|>=|<=|=|>|<)\s*([^\s=<>].*)")

_HOUSEKEEPING: Final = frozenset(
    f"stream.{word}" for word in ("hello", "checkpoint", "heartbeat", "drain", "shed", "error")
)
"""What programs are not told: it concerns one connection, and who reads our output has none."""


class Wanted(NamedTuple):
    """What the command line asks for."""

    channels: Sequence[str] = ()
    workflows: Sequence[str] = ()
    statuses: Sequence[str] = ()
    events: Sequence[str] = ()
    conditions: Sequence[str] = ()
    since: str | None = None
    recent: int | None = None
    logs: bool = False


async def tail(
    url: str, wanted: Wanted, token: str | None = None, *, as_json: bool, limit: int | None, patience_s: float
) -> int:
    """Show events until `limit` of them were shown; returns 0.

    Raises Unwatchable when what is wanted cannot be asked for, or when nobody answers for `patience_s`.
    """
    query, screen = query_of(wanted), Screen()
    async with open_service(url, token) as service:
        subscription = subscribe(
            service, STREAM_PATH, query, position=wanted.since, patience_s=patience_s, on_pause=screen.note_pause
        )
        await show(subscription, screen, as_json=as_json, limit=limit)
    return 0


def query_of(wanted: Wanted) -> Query:
    """The question to the stream's address. Raises Unwatchable for a condition that is none."""
    if wanted.recent is not None and wanted.since is not None:
        raise Unwatchable("--recent begins with the latest executions, --since at a time; choose one of them")
    channels = [*wanted.channels, *(f"workflow:{id_}" for id_ in wanted.workflows)]
    named = {"channels": channels, "events": wanted.events, "filter[status]": wanted.statuses}
    return [
        *((name, ",".join(words)) for name, words in named.items() if words),
        *map(condition, wanted.conditions),
        *([("logs", "1")] if wanted.logs else []),
        # Otherwise a gap would be followed by every execution that is under way.
        ("snapshot", f"recent:{wanted.recent}" if wanted.recent else "none"),
    ]


def condition(said: str) -> tuple[str, str]:
    """The filter parameter of `duration>=5`, `mode!=manual` or `tag=a,b`. Raises Unwatchable."""
    found = _CONDITION.fullmatch(said.strip())
    if found is None:
        raise Unwatchable(f"'{said}' is no condition; write --filter 'duration>=5', with one of {' '.join(_OPERATORS)}")
    field, operator, value = found.groups()
    return f"filter[{field}]{_OPERATORS[operator]}", value


async def show(subscription: Subscription, screen: Screen, *, as_json: bool, limit: int | None) -> None:
    """Show what comes until `limit` events were shown."""
    rows = _Rows()
    count = 0
    async for sent in subscription.forever():
        if rows.is_news(sent.frame):
            _show_one(sent, screen, as_json=as_json)
        count += sent.frame.is_event
        if count == limit:
            return


def _show_one(sent: Sent, screen: Screen, *, as_json: bool) -> None:
    if not as_json:
        for line in lines_of(sent.frame):
            screen.show(line)
    elif sent.frame.type not in _HOUSEKEEPING:
        screen.show_json(sent.line)


class _Rows:
    """The rows of snapshots that were shown: one that was cut off begins again."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}

    def is_news(self, frame: Frame) -> bool:
        """Whether it was not shown already. After a snapshot its position is known, and nothing comes twice."""
        if frame.type == "stream.snapshot-end":
            self._versions.clear()
        if frame.type != "stream.snapshot":
            return True
        is_news = frame.version > self._versions.get(frame.execution_id, 0)
        self._versions[frame.execution_id] = frame.version
        return is_news
