"""The arguments of commands that keep a service: its folder, topics and copies. Each is done in a module of its own."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.options import (
    AsJson,
)


def rebuild(
    *,
    check: Annotated[bool, typer.Option("--check", help="Compare only; the store stays as it is.")] = False,
    rate: Annotated[float | None, typer.Option(min=1, help="Records a second at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build the store of a stopped service anew from its journal: settings, webhooks and what is owed to them stay.

    The store of before stays beside it as store.db.before-rebuild. With --check exits 1 when the two differ.
    """
    from monitor.cli.rebuild import rebuild_store
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(rebuild_store(read_settings(), check=check, rate=rate, as_json=as_json)))


def migrate(
    *,
    check: Annotated[bool, typer.Option("--check", help="Only name the steps; the store stays as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the store of an earlier version to this one's layout. `serve` does so by itself with the embedded one.

    That of a data folder stays beside it as store.db.layout-N. With --check exits 1 when there are steps to take.
    """
    from monitor.cli.migrate import migrate_store
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(migrate_store(read_settings(), check=check, as_json=as_json)))


def topics(
    *,
    check: Annotated[bool, typer.Option("--check", help="Make nothing; fail where one is missing.")] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Of a topic that is made.")] = 12,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Of a topic that is made; without it three, or one for each broker.")
    ] = None,
    dlq: Annotated[
        bool, typer.Option("--dlq", help="A topic of dead letters as well, for consumers of your own.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 for warnings too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the Kafka topics of MONITOR_JOURNAL and MONITOR_COMMANDS where they are missing, and look all of them over:
    leaders, replicas, and the settings that decide whether events are kept.

    Exits 1 when something is wrong with one of them.
    """
    from monitor.cli.topics import Wanted, show_topics
    from monitor.settings import read_settings

    wanted = Wanted(not check, partitions, replication, dlq, strict)
    raise typer.Exit(asyncio.run(show_topics(read_settings(), wanted, as_json=as_json)))


def move(*, as_json: AsJson = False) -> None:
    """Take what the data folder of a stopped service holds to the empty topic of MONITOR_JOURNAL and the empty database
    of MONITOR_STORE: executions with their events, tokens, webhooks and what is owed to them.

    The folder stays as it is. Killed, it goes on when it is run again.
    """
    from monitor.cli.move import move_folder
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(move_folder(read_settings(), as_json=as_json)))


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder, or one to be made.")],
    *,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="The key as well, with which the copy opens every secret.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy journal and store as they stand at one moment, beside a running service."""
    from monitor.cli.backup import back_up_folder
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(back_up_folder(read_settings(), folder, with_key=with_key, as_json=as_json)))


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `monitor backup` made.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Put a backup into an empty data folder; then start the service on it."""
    from monitor.cli.backup import restore_folder
    from monitor.settings import read_settings

    raise typer.Exit(asyncio.run(restore_folder(read_settings(), folder, as_json=as_json)))


def doctor(
    *,
    url: Annotated[
        str | None, typer.Option("--url", help="Ask the service there; without it, look over what is here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look over installation, settings, data folder, journal and store, beside a service too; name a cure for what is
    wrong.

    Exits 0 when all is well, 1 when something deserves a look, 2 when something is wrong.
    """
    from monitor.cli.doctor import examine

    raise typer.Exit(asyncio.run(examine(url=url, as_json=as_json)))
