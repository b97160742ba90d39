"""Two stores compared: what a service left behind, and what a clean replay of its journal gives."""

from collections.abc import Sequence
from typing import Any

import msgspec

from monitor.clock import SystemClock
from monitor.events.codec import TeamOf
from monitor.events.position import Position
from monitor.journal.base import Journal
from monitor.pipeline import Pipeline
from monitor.projections.filter import Filter
from monitor.projections.fold import Release
from monitor.store.base import Reader, Store, Writer
from monitor.store.delivery_port import DeliveryQuery
from monitor.store.execution_port import ListQuery
from monitor.store.memory import MemoryStore
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.endpoint import Endpoint
from tests.support.decoding import usual
from tests.support.webhooks import BODIES


async def replayed(journal: Journal, team_of: TeamOf, endpoints: Sequence[Endpoint] = ()) -> Store:
    """A fresh store in memory, folded from the whole journal with these endpoints registered from the beginning."""
    store = MemoryStore()
    bounds = await journal.bounds()
    starts = [bounds[partition].start for partition in range(journal.partitions)]

    def prepare(writer: Writer) -> None:
        writer.bind(journal.incarnation, starts)
        for endpoint in endpoints:
            writer.add_endpoint(endpoint)

    await store.write(prepare)
    await quiet_pipeline(journal, store, team_of).catch_up()
    return store


def quiet_pipeline(journal: Journal, store: Store, team_of: TeamOf, **options: Any) -> Pipeline:
    """A pipeline that nobody listens to."""
    return Pipeline(
        journal=journal,
        store=store,
        hub=SilentHub(),
        decoding=usual(team_of),
        bodies=BODIES,
        on_deliveries=lambda: None,
        clock=SystemClock(),
        metrics=Metrics(),
        **options,
    )


class SilentHub:
    """Takes what is released and tells nobody."""

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        """Nobody hears it."""

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        """Nor this."""


async def deliveries(store: Store) -> list[str]:
    """The ids of all deliveries that were planned."""

    def read(reader: Reader) -> list[str]:
        queries = [DeliveryQuery(endpoint.key) for endpoint in reader.endpoints(None)]
        return [row.id for query in queries for row in reader.deliveries(query, 1_000_000)]

    return await store.read(read)


async def contents(store: Store, team: str = "default") -> dict[str, Any]:
    """Everything that is projected of a team, without what depends on the moment it was stored."""
    return await store.read(lambda reader: _contents(reader, team))


def _contents(reader: Reader, team: str) -> dict[str, Any]:
    executions = {}
    after = None
    while True:
        page, keys = reader.executions(ListQuery(team, Filter(), "-startedAt", 1000, after))
        for row, key in zip(page.rows, keys, strict=True):
            executions[row.id] = {
                "summary": msgspec.to_builtins(row),
                "nodes": {str(name): msgspec.to_builtins(node) for name, node in reader.nodes(key).items()},
                "payloads": dict(reader.payloads(key)),
                "log": list(reader.log_lines(key, levels=None, node_id=None, limit=1000)),
            }
            after = (row.at_us, key)
        if not page.has_more:
            break
    statistics = dict(reader.statistics(team))
    return {"position": reader.position(), "executions": executions, "statistics": statistics}
