"""`monitor topics`: the Kafka topics that the settings name, made where they are missing."""

import json

import typer

from monitor.clock import SystemClock
from monitor.errors import StartupError
from monitor.journal.kafka import ensure_topic
from monitor.journal.kafka.address import Address
from monitor.settings import Settings
from monitor.telemetry.logs import configure_logs


async def show_topics(
    settings: Settings, create: bool, partitions: int, replication: int | None, *, as_json: bool
) -> None:
    """Make what is missing, if `create`, and print each topic as it is now.

    Raises StartupError, naming the cure, when no topic is set, one is missing and not to be made, or Kafka refuses it;
    JournalUnavailable when Kafka does not answer.
    """
    configure_logs(settings.log)
    asked = {"events": settings.journal, "commands": settings.commands}
    addresses = {use: Address.parse(url, settings.kafka) for use, url in asked.items() if url}
    if not addresses:
        raise StartupError(
            "no topic is set: name that of events with MONITOR_JOURNAL=kafka://host:port/executions.events.v1, and "
            "that of commands with MONITOR_COMMANDS=kafka://host:port/executions.commands.v1"
        )
    rows = []
    for use, address in addresses.items():
        topic = await ensure_topic(*address, partitions, replication, create, clock=SystemClock())
        told = {"partitions": topic.partitions, "replication": topic.replication}
        rows.append({"use": use, "topic": address.topic, "servers": str(address.brokers), **told})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo("{use}: {topic} at {servers}, {partitions} partitions, replication {replication}".format(**row))
