"""Partitions that stand still after a burst of records without an event, at the desk: see them, let them go on.

A partition carries every team's records, so the team `default`, which runs the service, decides. What is let go on
accepts the burst: the records in quarantine, and what else holds no event up to the journal's end as it is then. All of
them stay in quarantine and can be replayed. After that, counting begins anew.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import InsufficientPermissions, PartitionNotFound
from monitor.events.model import DEFAULT_TEAM
from monitor.executions.audit import Audit
from monitor.journal.base import Journal
from monitor.projections.bursts import Halt
from monitor.store.base import Store, Writer

_ACTION: Final = "quarantine.resume"


class Resumed(NamedTuple):
    """What letting a partition go on did."""

    # False: it did not stand still.
    was_halted: bool
    # How many records of the burst in quarantine are accepted by it.
    accepted: int


class Halts:
    """The use cases of halted partitions. Every method raises Unavailable."""

    def __init__(
        self, *, store: Store, journal: Journal, audit: Audit, clock: Clock, on_resumed: Callable[[], None]
    ) -> None:
        """`on_resumed` is called on the event loop when a partition may go on."""
        self._store, self._journal, self._audit, self._clock = store, journal, audit, clock
        self._on_resumed = on_resumed

    async def standing(self) -> Mapping[int, Halt]:
        """Partitions that stand still, and why."""
        rows = await self._store.read(lambda reader: reader.halts())
        return {partition: row.halt for partition, row in sorted(rows.items()) if row.stands}

    async def resume(self, who: Principal, partition: int) -> Resumed:
        """Let a partition go on; one that does is left alone. Durable when this returns.

        Raises PartitionNotFound, and InsufficientPermissions for other teams.
        """
        bounds = await self._journal.bounds()
        if partition not in bounds:
            raise PartitionNotFound(f"The journal has the partitions 0 to {len(bounds) - 1}.")
        if partition not in (standing := await self.standing()):
            return Resumed(was_halted=False, accepted=0)
        if who.team != DEFAULT_TEAM:
            await self._audit.record(who, _ACTION, str(partition), outcome="refused", code=InsufficientPermissions.code)
            raise InsufficientPermissions(
                f"a partition carries every team's records; an administrator of the team '{DEFAULT_TEAM}' lets it go on"
            )
        until = max(bounds[partition].end, standing[partition].offset + 1)
        accepted = await self._store.write(lambda writer: self._resume(writer, who, partition, until), durable=True)
        self._on_resumed()
        return Resumed(was_halted=True, accepted=accepted)

    def _resume(self, writer: Writer, who: Principal, partition: int, until: int) -> int:
        row = writer.halts().get(partition)
        if row is None or not row.stands:
            return 0
        accepted = writer.resume(partition, until, self._clock.now_us(), who.name)
        self._audit.note(writer, who, _ACTION, str(partition), offset=row.halt.offset, until=until, accepted=accepted)
        return accepted
