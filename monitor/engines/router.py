"""The router: which engine a command belongs to. The engines of a service run and end together."""

import asyncio
from collections.abc import Sequence

from monitor.engines.base import Engine


class Router:
    """The engines of this service; the first one that serves a workflow has it."""

    def __init__(self, engines: Sequence[Engine] = ()) -> None:
        self._engines = engines

    def engine_for(self, team: str, workflow_id: str) -> Engine | None:
        """Who runs the workflow of that team; None = nobody here."""
        return next((engine for engine in self._engines if engine.serves(team, workflow_id)), None)

    async def run(self) -> None:
        """Let every engine work until cancelled; if one of them breaks, raise what broke it."""
        async with asyncio.TaskGroup() as group:
            for engine in self._engines:
                group.create_task(engine.run())
            await asyncio.Event().wait()
