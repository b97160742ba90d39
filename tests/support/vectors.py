"""Golden vectors: the examples of a document, what engines told before them, and how an answer is held against one.

A vector is JSON: `name`; `given`, the events before; `runs`, what the engine tells of each new execution; `request`
(method, path, headers, body); `status`; `answer`, as the document shows it, or `text`, where that is no JSON;
`differs`, the members whose value is of the moment, so that only their type is compared (`*` = any one member or item).
An answer may hold more members than the document shows, and times are compared as moments.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from monitor.clock import SystemClock
from monitor.engines.base import Accepted, Answer, Cancel, Command
from monitor.events.codec import format_time


class Player:
    """An engine that runs any workflow but those of the demo, and tells of each execution what it was given to tell."""

    def __init__(self, told: Sequence[Mapping[str, Any]]) -> None:
        self._told = told
        self.tell: Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]] = _nobody

    def serves(self, team: str, workflow_id: str) -> bool:
        """Everything."""
        return not workflow_id.startswith("demo-")

    async def submit(self, command: Command) -> Answer:
        """Take it, and tell."""
        about = {"executionId": command.execution_id, "workflowId": command.workflow_id}
        if isinstance(command, Cancel):
            told = [{"type": "execution.cancelled", "timestamp": format_time(SystemClock().now_us()), "data": {}}]
        else:
            told = [dict(event) for event in self._told]
        await self.tell([{**event, **about} for event in told])
        return Accepted(command.execution_id)

    async def run(self) -> None:
        """Work at nothing."""
        await asyncio.Event().wait()


async def _nobody(events: Sequence[Mapping[str, Any]]) -> None:
    raise AssertionError("no house is listening")


FOLDER: Final = Path(__file__).parents[1] / "dialects" / "vectors"


def vectors_of(dialect: str) -> list[dict[str, Any]]:
    """Those of a dialect."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{dialect}.json").read_text(encoding="utf-8"))
    return found


def differences(shown: Any, answer: Any, differs: Sequence[str] = (), at: str = "") -> Iterator[str]:
    """What the document shows and the answer has not, each as a sentence that names the member."""
    if _fits(at, differs):
        if shown is not None and _kind(shown) != _kind(answer):
            yield f"{at}: {answer!r} is not of the type of {shown!r}"
        elif isinstance(shown, str) and _moment(shown) and not _moment(answer):
            yield f"{at}: {answer!r} is no time"
    elif isinstance(shown, dict) and isinstance(answer, dict):
        for name, value in shown.items():
            inner = f"{at}.{name}" if at else name
            if name in answer:
                yield from differences(value, answer[name], differs, inner)
            else:
                yield f"{inner}: is missing"
    elif isinstance(shown, list) and isinstance(answer, list) and len(shown) <= len(answer):
        for place, (one, other) in enumerate(zip(shown, answer, strict=False)):
            yield from differences(one, other, differs, f"{at}.{place}" if at else str(place))
    elif not _is_same(shown, answer):
        yield f"{at}: {answer!r} is not {shown!r}"


def _fits(at: str, patterns: Sequence[str]) -> bool:
    names = at.split(".")
    return any(
        len(names) == len(pattern.split("."))
        and all(one in ("*", other) for one, other in zip(pattern.split("."), names, strict=True))
        for pattern in patterns
    )


def _kind(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str) and (moment := _moment(one)):
        return moment == _moment(other)
    return _kind(one) is _kind(other) and bool(one == other)


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) and len(text) > 10 else None
    except ValueError:
        return None
    return found
