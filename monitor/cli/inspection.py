"""What `monitor doctor` tells of journal and store: their life, how far one is behind the other, what waits in them.

Embedded files are only looked at, beside a service as well as without one; of Kafka topics and the consumer group it
tells what decides whether events are kept and who folds them.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Protocol, TypeVar

from monitor.cli.findings import Finding
from monitor.cli.journal_checks import Folded, check_clock, compare, journal_finding, store_clock_finding
from monitor.cli.store_checks import check_key, connections_finding, keepers_finding, store_findings
from monitor.cli.topic_checks import Use, group_finding, topic_findings
from monitor.clock import Clock, SystemClock
from monitor.errors import MonitorError, Unavailable
from monitor.journal import open_kafka_journal
from monitor.journal.base import Journal
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.condition import condition_of, group_of
from monitor.journal.sqlite import look_at_sqlite_journal
from monitor.settings import Settings
from monitor.store.base import Reader
from monitor.store.postgres_look import PostgresLook, look_at_postgres_store
from monitor.store.sqlite_look import look_at_sqlite_store

T = TypeVar("T")

_REBUILD = "fold it anew with `monitor rebuild`, or start the version that folded it"
_FOLD_ANEW = "start the version that folded it, or name an empty database to fold the journal anew"


class Readable(Protocol):
    """What of a store is needed here."""

    @property
    def description(self) -> str:
        """What it is and in which version."""
        ...

    @property
    def is_current(self) -> bool:
        """Whether this version goes on with it as it is."""
        ...

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on a snapshot. Raises StoreUnavailable."""
        ...


async def inspect_journal_and_store(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Finding]:
    """What is to be said about both, each by itself and how they fit together."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as opened:
        journal, store = None, None
        try:
            journal = await _open_journal(settings, clock, opened)
            for finding in journal_finding(journal):
                yield finding
            if journal:
                yield await check_clock(journal, clock.now_us(), "who wrote it" if settings.journal else "the service")
            if settings.journal:
                for finding in await _inspect_topics(settings):
                    yield finding
        except MonitorError as error:
            yield Finding("fail", "journal", error.message, _cure_of(error, "MONITOR_JOURNAL"))
        try:
            store = await _open_store(settings, opened)
            async for finding in _inspect_store(settings, store, clock):
                yield finding
        except MonitorError as error:
            yield Finding("fail", "store", error.message, _cure_of(error, "MONITOR_STORE"))
        if journal and store:
            async for finding in _compare(journal, store, clock):
                yield finding


async def _open_journal(settings: Settings, clock: Clock, opened: AsyncExitStack) -> Journal | None:
    """The journal; None when there is none yet."""
    journal: Journal
    if settings.journal:
        journal = await open_kafka_journal(
            settings.journal, clock=clock, group="monitor-doctor", security=settings.kafka, create=False
        )
    elif (path := settings.data / "journal.db").exists():
        journal = await look_at_sqlite_journal(path, clock=clock)
    else:
        return None
    opened.push_async_callback(journal.close)
    return journal


async def _inspect_topics(settings: Settings) -> list[Finding]:
    """Everything about the topics that are there."""
    urls: Mapping[Use, str] = {"events": settings.journal, "commands": settings.commands}
    findings = []
    for use, url in urls.items():
        if url:
            address = Address.parse(url, settings.kafka)
            found = await condition_of(address)
            findings += topic_findings(use, address.topic, found) if found else [_missing(address.topic)]
            if use == "events" and settings.shares_store and found:
                # Whoever has a store for itself shares the partitions with nobody.
                group = await group_of(address, settings.kafka_group)
                findings.append(group_finding(settings.kafka_group, group, found.partitions))
    return findings


def _missing(topic: str) -> Finding:
    return Finding("fail", topic, "there is no such topic", "`monitor topics` makes it")


async def _open_store(settings: Settings, opened: AsyncExitStack) -> Readable | None:
    """The store; None when there is none yet."""
    if settings.shares_store:
        shared = await look_at_postgres_store(settings.store.get_secret_value())
        if shared:
            opened.push_async_callback(shared.close)
        return shared
    if not (path := settings.data / "store.db").exists():
        return None
    store = await look_at_sqlite_store(path)
    opened.push_async_callback(store.close)
    return store


async def _inspect_store(settings: Settings, store: Readable | None, clock: Clock) -> AsyncIterator[Finding]:
    if store is None:
        yield Finding("ok", "store", "none yet; the first start makes it")
        yield check_key(settings, None)
        return
    if store.is_current:
        yield Finding("ok", "store", store.description)
    else:
        cure = _FOLD_ANEW if settings.shares_store else _REBUILD
        yield Finding("fail", "store", f"{store.description}: those of another version", cure)
    if isinstance(store, PostgresLook):
        before_us = clock.now_us()
        store_us = await store.now_us()
        yield store_clock_finding(store_us, before_us, clock.now_us())
        yield connections_finding(await store.connections())
        yield await store.read(lambda reader: keepers_finding(reader, store_us))
    for finding in await store.read(lambda reader: store_findings(reader, clock.now_us())):
        yield finding
    yield check_key(settings, await store.read(lambda reader: reader.key_check()))


async def _compare(journal: Journal, store: Readable, clock: Clock) -> AsyncIterator[Finding]:
    try:
        folded = await store.read(lambda reader: Folded(reader.position(), reader.offsets()))
        async for finding in compare(journal, folded, clock.now_us()):
            yield finding
    except MonitorError as error:
        # Each could be opened a moment ago.
        yield Finding("fail", "anchors", error.message, _cure_of(error, "MONITOR_JOURNAL"))


def _cure_of(error: MonitorError, setting: str) -> str:
    """Other errors name theirs."""
    return f"see that it runs, and that {setting} names it" if isinstance(error, Unavailable) else ""
