"""Watches: requests that wait for what becomes of one execution, told by the releases themselves.

Nothing asks the store while it waits: a watch is opened before what it waits for is set off, and hears of every commit
from then on. What a watch has heard, REST already shows.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from monitor.errors import TooManyWaiting
from monitor.projections.fold import ExecutionId, Release

MOST_WATCHES: Final = 2_000
"""Requests that wait at a time: each holds a connection and some kilobytes."""

MOST_OF_TEAM: Final = 1_000
"""Of one team: the others can wait as well."""


class Watch:
    """What was heard of one execution since the watch was opened."""

    def __init__(self) -> None:
        # The latest status; None = nothing was heard.
        self.status: str | None = None
        self._heard: set[tuple[str, str]] = set()
        self._woken = asyncio.Event()
        self._is_over = False

    def has_heard(self, command_id: str, *types: str) -> bool:
        """Whether one of `types` was told of the command."""
        return any((command_id, name) in self._heard for name in types)

    async def until(self, test: Callable[["Watch"], bool], timeout_s: float) -> bool:
        """Whether `test` holds, now or within `timeout_s` seconds. Ends early, with False, when the service stops."""
        try:
            async with asyncio.timeout(timeout_s):
                while not test(self) and not self._is_over:
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            pass
        return test(self)

    def note(self, release: Release) -> None:
        """A commit released this."""
        event = release.event
        self.status = release.status
        if event.type.startswith("command."):
            self._heard.add((event.data["commandId"], event.type))
        self._woken.set()

    def end(self) -> None:
        """Nothing more will be heard."""
        self._is_over = True
        self._woken.set()


class Watches:
    """Everybody who waits, by execution."""

    def __init__(self, most: int = MOST_WATCHES, most_of_team: int = MOST_OF_TEAM) -> None:
        self._most, self._most_of_team = most, most_of_team
        self._open: dict[ExecutionId, set[Watch]] = {}
        self._count = 0
        self._by_team: Counter[str] = Counter()
        self._is_over = False

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def open(self, id_: ExecutionId) -> Iterator[Watch]:
        """A watch while the block runs. Raises TooManyWaiting."""
        team, _ = id_
        if self._count >= self._most or self._by_team[team] >= self._most_of_team:
            raise TooManyWaiting
        watch = Watch()
        if self._is_over:
            watch.end()
        watches = self._open.setdefault(id_, set())
        watches.add(watch)
        self._count += 1
        self._by_team[team] += 1
        try:
            yield watch
        finally:
            watches.discard(watch)
            self._count -= 1
            self._by_team[team] -= 1
            if not watches and self._open.get(id_) is watches:
                del self._open[id_]

    def note(self, releases: Sequence[Release]) -> None:
        """Tell who waits for one of these."""
        for release in releases:
            event = release.event
            for watch in self._open.get((event.team, event.execution_id), ()):
                watch.note(release)

    def end(self) -> None:
        """Let everybody go who waits, and who comes."""
        self._is_over = True
        for watches in self._open.values():
            for watch in watches:
                watch.end()
