"""Pages of an execution's log: by time in both directions, of some levels, one node, and with some text.

What is written meanwhile moves no page: each begins behind a line, wherever that stands by then. For `reads`.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from monitor.access.principal import Principal
from monitor.projections.loglines import LogLine, Spot
from monitor.store.base import Reader

MOST_SEEN: Final = 50_000
"""Lines that are looked through for a text, some 0.2 s; beyond it the page ends early, and the next one goes on."""

_PORTION: Final = 1000


class AskedLines(NamedTuple):
    """Which lines."""

    levels: Collection[str] | None
    node_id: str | None
    limit: int
    # Both included.
    from_us: int | None = None
    to_us: int | None = None
    # In the message, whatever the case.
    text: str | None = None
    # The latest first.
    falling: bool = False
    # Where the page starts, or ends if it is read `backwards`, as `LinePage` told it.
    beyond: Spot | None = None
    backwards: bool = False


class LinePage(NamedTuple):
    """The page."""

    lines: Sequence[LogLine]
    # Where the pages before and behind it start; None where nothing is there.
    before: Spot | None
    after: Spot | None


def line_page(reader: Reader, key: int, asked: AskedLines) -> LinePage:
    """A page of the log of the execution of that key."""
    falling = asked.falling is not asked.backwards
    found, rest = _found(reader, key, asked, falling=falling)
    if found:
        back: Spot | None = found[0].spot
    elif asked.beyond is not None:
        # From where the line itself that the page started from is found, read the other way.
        time_us, tie, place = asked.beyond
        back = (time_us, tie, place + (-1 if falling else 1))
    else:
        back = None
    if asked.backwards:
        return LinePage(found[::-1], rest, back)
    return LinePage(found, back if asked.beyond else None, rest)


def lines_for(who: Principal, lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """The lines as `who` may see them: what producers added to them is a payload."""
    return lines if who.may("executions:data") else [line._replace(data=None) for line in lines]


def _found(reader: Reader, key: int, asked: AskedLines, *, falling: bool) -> tuple[list[LogLine], Spot | None]:
    """What fits, in the order of reading, and behind what there is more."""
    text = None if asked.text is None else asked.text.casefold()
    portion = asked.limit + 1 if text is None else _PORTION
    found: list[LogLine] = []
    beyond, seen = asked.beyond, 0
    while seen < MOST_SEEN:
        lines = reader.log_lines(
            key,
            levels=asked.levels,
            node_id=asked.node_id,
            limit=portion,
            from_us=asked.from_us,
            to_us=asked.to_us,
            beyond=beyond,
            falling=falling,
        )
        found += (line for line in lines if text is None or text in line.message.casefold())
        if len(found) > asked.limit:
            return found[: asked.limit], found[asked.limit - 1].spot
        if len(lines) < portion:
            return found, None
        beyond, seen = lines[-1].spot, seen + len(lines)
    return found, beyond
