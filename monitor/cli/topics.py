"""`monitor topics`: the Kafka topics of a deployment, made where they are missing, and looked over."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from monitor.cli.findings import Finding, exit_code, json_of, print_finding
from monitor.cli.topic_checks import Use, topic_findings, twin_findings, worst
from monitor.clock import SystemClock
from monitor.errors import JournalUnavailable, StartupError
from monitor.journal.kafka import ensure_topic
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.condition import Condition, condition_of
from monitor.journal.kafka.topics import KEEP_DAYS
from monitor.settings import Settings
from monitor.telemetry.logs import configure_logs

_KEEP_DAYS: Final[Mapping[Use, int]] = {"events": KEEP_DAYS, "commands": KEEP_DAYS, "dead letters": 30}

_TABLE_WIDTH: Final = 140

_SHOWN: Final = (
    "retention.ms",
    "retention.bytes",
    "min.insync.replicas",
    "cleanup.policy",
    "max.message.bytes",
    "message.timestamp.type",
    "unclean.leader.election.enable",
)
"""Settings that decide whether events are kept."""


class Wanted(NamedTuple):
    """What the command line asks for. `partitions` and `replication` (None: three, or one for each broker) are those of
    topics that are made.
    """

    create: bool = True
    partitions: int = 12
    replication: int | None = None
    # The topic of dead letters beside that of events: for connectors and consumers of your own, which take records that
    # they cannot use there. This service itself keeps what it cannot read in quarantine.
    dlq: bool = False
    # Warnings fail as well.
    strict: bool = False


class _Topic(NamedTuple):
    use: Use
    address: Address
    found: Condition


async def show_topics(settings: Settings, wanted: Wanted, *, as_json: bool) -> int:
    """Make what is missing, if that is wanted, and print each topic as it is now, and what is wrong with it.

    Returns 0, or 1 when something is wrong. Raises StartupError, naming the cure, when no topic is set, one is missing
    and not to be made, or Kafka refuses it; JournalUnavailable when Kafka does not answer.
    """
    configure_logs(settings.log)
    topics = [await _ready(use, address, wanted, partitions=None) for use, address in _addresses(settings).items()]
    events = next((it for it in topics if it.use == "events"), None)
    if events and (twin := await _dead_letters(events, wanted)):
        topics.append(twin)
    by_topic = {it.address.topic: topic_findings(it.use, it.address.topic, it.found) for it in topics}
    for it in topics:
        if events and it.use == "dead letters":
            twin_topic = it.address.topic
            by_topic[twin_topic] += twin_findings(events.address.topic, events.found, twin_topic, it.found)
    findings = [finding for found in by_topic.values() for finding in found]
    if as_json:
        typer.echo(json_of(findings, topics=[_row(it) for it in topics]))
    else:
        _show(topics, by_topic)
    code = exit_code(findings)
    return int(code > (0 if wanted.strict else 1))


def _addresses(settings: Settings) -> Mapping[Use, Address]:
    asked: Mapping[Use, str] = {"events": settings.journal, "commands": settings.commands}
    addresses = {use: Address.parse(url, settings.kafka) for use, url in asked.items() if url}
    if not addresses:
        raise StartupError(
            "no topic is set: name that of events with MONITOR_JOURNAL=kafka://host:port/executions.events.v1, and "
            "that of commands with MONITOR_COMMANDS=kafka://host:port/executions.commands.v1"
        )
    return addresses


async def _ready(use: Use, address: Address, wanted: Wanted, *, partitions: int | None) -> _Topic:
    """The topic as it is, once it is there; `partitions` None: as many as are wanted."""
    await ensure_topic(
        *address,
        partitions or wanted.partitions,
        wanted.replication,
        wanted.create,
        clock=SystemClock(),
        keep_days=_KEEP_DAYS[use],
    )
    found = await condition_of(address)
    if found is None:
        raise JournalUnavailable(f"Topic {address.topic} was deleted a moment ago.")
    return _Topic(use, address, found)


async def _dead_letters(events: _Topic, wanted: Wanted) -> _Topic | None:
    """The topic of dead letters, where there is one or is to be one: with as many partitions as that of events."""
    address = events.address._replace(topic=f"{events.address.topic}.dlq")
    if not wanted.dlq and await condition_of(address) is None:
        return None
    return await _ready("dead letters", address, wanted, partitions=events.found.partitions)


def _row(it: _Topic) -> Mapping[str, object]:
    seats = [seat._asdict() for seat in it.found.seats]
    settings = {name: it.found.settings.get(name) for name in _SHOWN}
    counts = {"partitions": it.found.partitions, "replication": it.found.replication, "brokers": it.found.brokers}
    servers = {"use": it.use, "topic": it.address.topic, "servers": str(it.address.brokers)}
    return {**servers, **counts, "settings": settings, "seats": seats}


def _show(topics: Sequence[_Topic], by_topic: Mapping[str, Sequence[Finding]]) -> None:
    console = Console(highlight=False)
    # A terminal that is narrower wraps lines; a table that is squeezed breaks names in the middle.
    console.width = max(console.width, _TABLE_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("use", "topic", "partitions", "led", "in sync", "replicas", "min", "kept", "policy", "stamped", ""):
        table.add_column(heading, overflow="fold")
    for it in topics:
        table.add_row(*_cells(it), worst(by_topic[it.address.topic]))
    console.print(table)
    for findings in by_topic.values():
        for finding in findings:
            if finding.state != "ok":
                print_finding(finding, console)


def _cells(it: _Topic) -> list[str]:
    seats, settings = it.found.seats, it.found.settings
    in_sync = sum(len(seat.in_sync) == len(seat.replicas) for seat in seats)
    retention_ms = int(settings.get("retention.ms", "-1"))
    return [
        it.use,
        it.address.topic,
        str(it.found.partitions),
        str(sum(seat.leader is not None for seat in seats)),
        str(in_sync),
        str(it.found.replication),
        settings.get("min.insync.replicas", "?"),
        "for ever" if retention_ms < 0 else f"{retention_ms / 86_400_000:.3g} d",
        settings.get("cleanup.policy", "?"),
        settings.get("message.timestamp.type", "?"),
    ]
