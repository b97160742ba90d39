"""A service that says exactly what a test wrote down, byte for byte: ends, cuts, silence, garbage, refusals.

Raw sockets, so that nothing repairs what is meant to be broken. Each connection to a stream address takes the next
script; reads are answered from `executions` and `logs` as they stand.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.clocks import ManualClock

Document = dict[str, Any]

# What the service's clock shows, and long before it.
NOW = "2026-11-22T11:00:00.000Z"
NOW_S = 1_795_345_200
LONG_AGO = "2026-11-22T10:30:00.000Z"


class Act(Enum):
    """What a stream does beside sending."""

    END = "end the answer, as HTTP asks for it"
    CUT = "close the connection in the middle of the answer, as a kill does"
    HANG = "say nothing until the client goes"


@dataclass(frozen=True)
class Refusal:
    """An answer that is no stream."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Script = Sequence[Document | bytes | Act | Callable[[], object]] | Refusal

Answer = Document | Refusal | Act


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class Scripted:
    """The service. A stream without a script is a service that is overloaded."""

    def __init__(self) -> None:
        self.url = ""
        self.streams: deque[Script] = deque()
        # What reads get; several answers are given one after the other, the last one for good.
        self.executions: dict[str, Answer | deque[Answer]] = {}
        self.logs: list[Document] = []
        self.asked: list[Asked] = []
        # The position that reads stand at.
        self.position = "read"

    @property
    def connections(self) -> list[Asked]:
        """The requests to stream addresses."""
        return [asked for asked in self.asked if asked.path.endswith("/stream")]

    @property
    def reads(self) -> list[Asked]:
        """The other ones."""
        return [asked for asked in self.asked if not asked.path.endswith("/stream")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is closed after its answer."""
        try:
            asked = await _request(reader)
            self.asked.append(asked)
            if asked.path.endswith("/stream"):
                script = self.streams.popleft() if self.streams else Refusal(503)
                await _answer_stream(reader, writer, script)
            elif (answer := self._read(asked)) is not None:
                writer.write(_plain(answer))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    def _read(self, asked: Asked) -> Refusal | None:
        """None = none at all."""
        _, _, _, name, *rest = asked.path.split("/")
        execution = self.executions.get(unquote(name))
        if isinstance(execution, deque):
            execution = execution.popleft() if len(execution) > 1 else execution[0]
        if isinstance(execution, Act):
            return None
        if isinstance(execution, Refusal):
            return execution
        if execution is None:
            return refusal(404, "EXECUTION_NOT_FOUND", f"Execution with ID '{name}' not found")
        document = {"executionId": name, "logs": self._page(asked.query)} if rest == ["logs"] else execution
        return Refusal(200, json.dumps(document).encode(), {"monitor-position": self.position})

    def _page(self, query: Mapping[str, str]) -> list[Document]:
        begin, end = query.get("from", ""), query.get("to", "9")
        found = [line for line in self.logs if begin <= line["timestamp"] <= end]
        return found[: int(query.get("limit", "100"))]


class HastyClock(ManualClock):
    """Does not sleep; notes for how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self._now_us += round(delay_s * 1_000_000)


def refusal(status: int, code: str, message: str, **headers: str) -> Refusal:
    """An error in the service's own form."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Refusal(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """A scripted service that listens while the block runs."""
    service = Scripted()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield service


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    target = urlsplit(head[0].split()[1])
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return Asked(target.path, dict(parse_qsl(target.query)), headers)


async def _answer_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, script: Script) -> None:
    if isinstance(script, Refusal):
        writer.write(_plain(script))
        await writer.drain()
        return
    writer.write(_head(200, {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"}))
    for step in script:
        await _act(reader, writer, step)


async def _act(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, step: Document | bytes | Act | Callable[[], object]
) -> None:
    if isinstance(step, dict):
        step = json.dumps(step).encode() + b"\n"
    if isinstance(step, bytes):
        writer.write(b"%x\r\n%b\r\n" % (len(step), step))
        await writer.drain()
    elif step is Act.END:
        writer.write(b"0\r\n\r\n")
    elif step is Act.CUT:
        await writer.drain()
        writer.transport.abort()
    elif step is Act.HANG:
        await reader.read()
    elif callable(step):
        step()


def _plain(answer: Refusal) -> bytes:
    return _head(answer.status, {"content-length": str(len(answer.body)), **answer.headers}) + answer.body


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    said = {"date": formatdate(NOW_S, usegmt=True), "connection": "close", **headers}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in said.items())]
    return "\r\n".join([*lines, "", ""]).encode()
