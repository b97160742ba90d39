"""The rooms of `monitor/` stand in a chain, and each imports only from rooms that stand left of it."""

import ast

from tests.architecture.source import Modules, imported_by, ours, read_modules, room_of

# Rooms in one step never import each other.
CHAIN = (
    ("__init__",),
    ("errors", "clock", "retention", "kafka_security"),
    ("settings", "telemetry", "sqlite_errors", "sqlite_looks", "sqlite_traces"),
    ("events",),
    ("projections",),
    ("access",),
    ("webhooks",),
    ("journal", "store"),
    ("intake", "anchors", "working_set"),
    ("engines", "sources", "fanout"),
    (
        *("executions", "pipeline", "follower", "deliverer", "replayer"),
        *("janitor", "expiry", "eraser", "judge", "mishaps", "keepers", "steering"),
    ),
    ("opening", "observing"),
    ("web",),
    ("api", "streams", "dashboard"),
    ("app",),
    ("serving", "keeping"),
    ("cli",),
    ("__main__",),
)
STEP_OF = {room: step for step, rooms in enumerate(CHAIN) for room in rooms}


def unknown_rooms(modules: Modules) -> list[str]:
    """Modules that stand in no room of the chain."""
    return [module for module in modules if room_of(module) not in STEP_OF]


def steps_to_the_right(modules: Modules) -> list[str]:
    """Imports that do not lead to the left, as sentences."""
    return [
        f"{module} imports {imported}"
        for module, tree in modules.items()
        for imported in sorted(ours(imported_by(tree), modules))
        if room_of(imported) != room_of(module) and not _stands_left(room_of(imported), room_of(module))
    ]


def _stands_left(room: str, of: str) -> bool:
    # A room that nobody knows is reported by the other check; here it stands right of all.
    return STEP_OF.get(room, len(CHAIN)) < STEP_OF.get(of, len(CHAIN))


def test_every_module_stands_in_a_known_room() -> None:
    """A new room is a decision: it gets its place in the chain first."""
    assert unknown_rooms(read_modules()) == []


def test_imports_lead_to_the_left() -> None:
    """No room imports from its own step or from one to its right, not even inside a function."""
    assert steps_to_the_right(read_modules()) == []


def test_wrong_directions_are_found() -> None:
    """The check sees every spelling of an import, wherever it stands."""
    modules = {
        "monitor": ast.parse(""),
        "monitor.errors": ast.parse(""),
        "monitor.events": ast.parse("from monitor import errors, __version__"),
        "monitor.events.codec": ast.parse("def f():\n  from monitor import store"),
        "monitor.journal.sqlite": ast.parse("import monitor.store.tables"),
        "monitor.api.ingest": ast.parse("from monitor.streams.session import Session"),
        "monitor.store": ast.parse(""),
        "monitor.store.tables": ast.parse(""),
        "monitor.utils": ast.parse(""),
    }
    assert unknown_rooms(modules) == ["monitor.utils"]
    assert steps_to_the_right(modules) == [
        "monitor.events.codec imports monitor.store",
        "monitor.journal.sqlite imports monitor.store.tables",
        "monitor.api.ingest imports monitor.streams.session.Session",
    ]
