"""The events of `scripts/bench fanout`, each with a mark inside `data` that its subscribers check and time.

A mark is `~`, the event's number in 8 digits, and in 16 digits the microsecond at which it was due. `bench.h` says the
same to the programs in C.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

from msgspec.structs import replace

from monitor.access.teams import team_rule
from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, Event, Record
from monitor.projections.execution import Execution
from monitor.projections.fold import Release, fold

UNMARKED: Final = f"~{0:024d}"
_STRIDE: Final = 7919


class Due(NamedTuple):
    """An event to publish."""

    number: int
    mark: str


def sample_event(execution: int, padding_bytes: int) -> bytes:
    """An event as a producer writes it: about 300 bytes, and the padding."""
    event = {
        "type": "node.completed",
        "executionId": f"exec_{execution}",
        "workflowId": f"wf_{execution}",
        "timestamp": "2026-11-22T10:30:05.204Z",
        "id": f"{0:08d}",
        "source": "n8n:prod-1",
        "data": {
            "nodeId": "http_1",
            "nodeName": "HTTP Request",
            "nodeType": "httpRequest",
            "status": "success",
            "duration": 0.304,
            "mark": UNMARKED,
            "padding": "x" * padding_bytes,
        },
    }
    return json.dumps(event, separators=(",", ":")).encode()


class Releases:
    """Makes what a commit would release, from releases that were really decoded and folded, one for each execution.

    Decoding and folding every event would be measured along with the fan-out; `scripts/bench pipeline` has those.
    """

    def __init__(self, executions: int, padding_bytes: int, first_offset: int) -> None:
        self._samples = [_released(sample_event(index, padding_bytes)) for index in range(executions)]
        self._next = first_offset

    def make(self, due: Sequence[Due]) -> tuple[list[Release], int]:
        """The releases of one commit, and the offset behind it."""
        now_us = time.time_ns() // 1000
        return [self._make(*each, now_us) for each in due], self._next

    def _make(self, number: int, mark: str, now_us: int) -> Release:
        sample = self._samples[number * _STRIDE % len(self._samples)]
        event = sample.event
        offset, self._next = self._next, self._next + 1
        record = Record(0, offset, None, event.record.value, (), now_us)
        marked = replace(event, record=record, id=f"{number:08d}", data=event.data | {"mark": mark})
        return replace(sample, event=marked, version=offset + 1)


def _released(value: bytes) -> Release:
    event = decode(Record(0, 0, None, value, (), 0), team_rule(exclusive=True, trust_body=False))
    assert isinstance(event, Event), event
    execution = Execution(DEFAULT_TEAM, event.execution_id)
    [release] = fold([event], {(DEFAULT_TEAM, event.execution_id): execution}).releases
    return release


class Control(asyncio.Protocol):
    """The control port of a server under test, by lines: `publish COUNT NUMBER STAMP`, or a question.

    What comes in one reading is published together, as what a commit contains is.
    """

    def __init__(self, publish: Callable[[Sequence[Due]], None], answer: Callable[[str], object]) -> None:
        self._publish, self._answer = publish, answer
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is no subclass.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        due: list[Due] = []
        for line in lines:
            word, *numbers = line.decode().split()
            if word == "publish":
                due += _due(*map(int, numbers))
            elif self._transport is not None:
                self._transport.write(json.dumps(self._answer(word)).encode() + b"\n")
        if due:
            self._publish(due)


def _due(count: int, number: int, stamp_us: int) -> list[Due]:
    return [Due(each, f"~{each:08d}{stamp_us:016d}") for each in range(number, number + count)]
