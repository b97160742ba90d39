"""The rooms that decide are pure: no loop, clock, chance, socket, file, driver or framework reaches in."""

import ast

from tests.architecture.source import (
    Modules,
    imported_at_load,
    imported_by,
    ours,
    read_modules,
)

# Whole rooms, or single modules of a room that otherwise acts.
PURE = (
    "monitor.events",
    "monitor.projections",
    "monitor.access.principal",
    "monitor.access.roles",
    "monitor.access.looks",
    "monitor.access.mask",
    "monitor.access.mask_rules",
    "monitor.access.mask_text",
    "monitor.access.masking",
    "monitor.access.suspicion",
    "monitor.webhooks.endpoint",
    "monitor.webhooks.delivery",
    "monitor.webhooks.headers",
    "monitor.webhooks.payload",
    "monitor.webhooks.lane",
    "monitor.webhooks.notices",
    "monitor.webhooks.planner",
    "monitor.webhooks.signing",
    "monitor.webhooks.schedule",
    "monitor.webhooks.targets",
    "monitor.fanout.channels",
    "monitor.fanout.controls",
    "monitor.fanout.frames",
    "monitor.fanout.released",
    "monitor.fanout.ring",
    "monitor.fanout.slices",
    "monitor.fanout.wires",
    "monitor.streams.messages",
    "monitor.streams.questions",
    "monitor.streams.session",
    "monitor.sources",
    "monitor.web.filters",
)
IMPURE_ROOTS = {
    *("asyncio", "threading", "multiprocessing", "concurrent", "subprocess", "signal", "select"),
    *("time", "random", "secrets", "os", "pathlib", "shutil", "tempfile", "io", "logging"),
    *("socket", "ssl", "http", "urllib3", "requests", "httpx", "sqlite3"),
    *("aiokafka", "psycopg", "aiohttp", "sqlalchemy", "uvloop", "anyio", "websockets"),
    *("starlette", "uvicorn", "sse_starlette", "typer", "structlog", "prometheus_client"),
}
CLOCK_READINGS = {"now", "utcnow", "today"}

DRIVERS = {"aiokafka", "psycopg", "aiohttp"}

TRANSLATORS = "monitor.api.dialects"
DESK = f"{TRANSLATORS}.desk"
TRANSLATED_TO = (
    *("monitor.web", "monitor.executions", "monitor.projections", "monitor.events", "monitor.errors"),
    "monitor.access.principal",
)
"""What dialects may use: the desk and its words, and what says how requests and answers look."""
WORDING = {"starlette", "http"}
"""Roots that dialects need for requests and statuses. Of asyncio they have a thread to write long documents in."""


def is_pure(module: str) -> bool:
    """Whether the module is one that only decides."""
    return any(module == pure or module.startswith(f"{pure}.") for pure in PURE)


def impurities(modules: Modules) -> list[str]:
    """What pure modules reach for, as sentences."""
    found = []
    for module, tree in modules.items():
        if is_pure(module):
            names = imported_by(tree)
            drawn_in = [name for name in names if name.split(".")[0] in IMPURE_ROOTS]
            drawn_in += [name for name in ours(names, modules) if not _is_harmless(name)]
            found += [f"{module} imports {name}" for name in sorted(drawn_in)]
            found += [f"{module} reads a clock: {reading}" for reading in _clock_readings(tree)]
    return found


def doings(modules: Modules) -> list[str]:
    """What dialects reach for beside the desk, as sentences: they translate, and do nothing themselves."""
    found = []
    for module, tree in modules.items():
        if module.startswith(f"{TRANSLATORS}.") and module != DESK:
            names = imported_by(tree)
            drawn_in = [name for name in names - {"asyncio"} if name.split(".")[0] in IMPURE_ROOTS - WORDING]
            drawn_in += [name for name in ours(names, modules) if not _is_translating(name)]
            drawn_in += [name for name in _used_of(tree, "asyncio") if name != "asyncio.to_thread"]
            found += [f"{module} imports {name}" for name in sorted(drawn_in)]
            found += [f"{module} reads a clock: {reading}" for reading in _clock_readings(tree)]
    return found


def drivers_at_load(modules: Modules) -> list[str]:
    """Modules that cannot be loaded without a driver, as sentences."""
    return [
        f"{module} imports {name}"
        for module, tree in modules.items()
        for name in sorted(imported_at_load(tree))
        if name.split(".")[0] in DRIVERS
    ]


def _is_harmless(module: str) -> bool:
    return is_pure(module) or module in {"monitor", "monitor.errors"}


def _used_of(tree: ast.AST, module: str) -> set[str]:
    members = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {ast.unparse(member) for member in members if ast.unparse(member.value) == module}


def _is_translating(module: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in (*TRANSLATED_TO, TRANSLATORS))


def _clock_readings(tree: ast.AST) -> list[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [
        ast.unparse(call)
        for call in calls
        if isinstance(call, ast.Attribute)
        and call.attr in CLOCK_READINGS
        and ast.unparse(call.value).split(".")[-1] in {"datetime", "date"}
    ]


def test_pure_rooms_reach_for_nothing() -> None:
    """A pure room imports nothing that acts, also not by way of another room of ours."""
    assert impurities(read_modules()) == []


def test_dialects_translate_and_do_nothing() -> None:
    """They reach for no store, journal, hub, loop, clock or chance: the desk does what they ask."""
    assert doings(read_modules()) == []


def test_drivers_load_in_their_openers_only() -> None:
    """The embedded default never loads a driver that it does not use."""
    assert drivers_at_load(read_modules()) == []


def test_impurities_are_found() -> None:
    """The checks see every way in."""
    modules = {
        "monitor.clock": ast.parse("import time"),
        "monitor.events.codec": ast.parse("import os.path\nfrom monitor.clock import Clock"),
        "monitor.fanout.ring": ast.parse("def f():\n  return datetime.datetime.now(UTC)"),
        "monitor.fanout.hub": ast.parse("import asyncio"),
    }
    assert impurities(modules) == [
        "monitor.events.codec imports monitor.clock",
        "monitor.events.codec imports os.path",
        "monitor.fanout.ring reads a clock: datetime.datetime.now",
    ]


def test_doings_are_found() -> None:
    """A dialect that asks the store, or waits, or looks at the clock by itself is seen."""
    modules = {
        "monitor.store.base": ast.parse(""),
        "monitor.web.replies": ast.parse(""),
        "monitor.api.dialects.desk": ast.parse("from monitor.clock import Clock"),
        "monitor.api.dialects.so1.routes": ast.parse(
            "from asyncio import sleep\nfrom monitor.web import replies\nfrom starlette.requests import Request"
        ),
        "monitor.api.dialects.team.readers": ast.parse(
            "import asyncio\ndef f():\n  from monitor.store.base import ListQuery\n  asyncio.to_thread(g)\n"
            "  asyncio.create_task(g)\n  return datetime.now()"
        ),
    }
    assert doings(modules) == [
        "monitor.api.dialects.so1.routes imports asyncio.sleep",
        "monitor.api.dialects.team.readers imports asyncio.create_task",
        "monitor.api.dialects.team.readers imports monitor.store.base",
        "monitor.api.dialects.team.readers reads a clock: datetime.now",
    ]


def test_driver_imports_are_told_apart_by_when_they_happen() -> None:
    """A function or a type checker may name a driver, a class body may not."""
    modules = {
        "monitor.journal.kafka": ast.parse(
            "if TYPE_CHECKING:\n  import aiokafka\nasync def open_kafka():\n  import aiokafka"
        ),
        "monitor.webhooks.sender": ast.parse("class Sender:\n  from aiohttp import ClientSession"),
    }
    assert drivers_at_load(modules) == ["monitor.webhooks.sender imports aiohttp.ClientSession"]
