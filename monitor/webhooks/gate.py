"""The gate to the network: names are looked up and sockets opened here, for admitted addresses and no others.

Nothing lies between the judgement of an address and the socket that is opened for it. The sender's client asks for
every new connection.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Any, Final

from monitor.webhooks.targets import BlockedAddress, Targets

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

MOST_LOOKUPS: Final = 128
"""At a time. Each blocks a thread, for half a minute where a zone does not answer; equal names share one."""


class Gate:
    """Looks names up and opens sockets, for admitted addresses alone."""

    def __init__(self, targets: Targets, scheme: str, lookups: "Lookups", note_dial: Callable[[], None]) -> None:
        """`note_dial` is told, in the context of whoever asked for a socket, that one is about to be opened."""
        self._targets, self._scheme, self._lookups, self._note_dial = targets, scheme, lookups, note_dial

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> "list[ResolveResult]":
        """The admitted addresses of a name: of a public and a private one the former alone is dialled."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._lookups, _look_up, host, port, family)
        admitted = [result for result in found if self._admits(result["host"], port)]
        if not admitted:
            raise BlockedAddress
        return admitted

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that is judged here, after everything that could still have changed it."""
        family, kind, protocol, _, address = info
        if not self._admits(address[0], address[1]):
            raise BlockedAddress
        self._note_dial()
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Nothing is held: the lookups belong to whoever made them."""

    def _admits(self, host: str, port: int) -> bool:
        return self._targets.admits(ip_address(host), port, self._scheme)


class Lookups(Executor):
    """Threads for names. Nobody waits for them, unlike for a ThreadPoolExecutor's, which the interpreter joins when it
    exits: a lookup ends when the C library says so, which may be half a minute later.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = 0
        # As many permits as threads wait for a call.
        self._idle = Semaphore(0)

    def submit(self, call: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """As the library's executors. A thread is started when all others are at work."""
        future: Future[Any] = Future()
        self._calls.put((future, partial(call, *args, **options)))
        if not self._idle.acquire(blocking=False) and self._threads < MOST_LOOKUPS:
            self._threads += 1
            Thread(target=self._work, name=f"webhook-names-{self._threads}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - the port's words
        """Let each thread end after what it is at."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except Exception as error:  # noqa: BLE001 - the rim: whoever asked is told
                    future.set_exception(error)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """The next call; None ends the thread. It counts as idle only while it has to wait."""
        try:
            return self._calls.get_nowait()
        except Empty:
            self._idle.release()
            return self._calls.get()


def _look_up(host: str, port: int, family: int) -> "list[ResolveResult]":
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        {"hostname": host, "host": str(address[0]), "port": port, "family": found, "proto": protocol, "flags": numeric}
        for found, _, protocol, _, address in socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    ]
