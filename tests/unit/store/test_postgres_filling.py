"""What becomes of each table when a store is moved to a database: nothing is left out by chance."""

from monitor.events.model import NOWHERE, Place
from monitor.store.postgres_filling import PLACED, WAYS
from monitor.store.rows import moved_entries, unpack_places
from monitor.store.tables import METADATA


def test_every_table_has_a_way() -> None:
    """Whoever adds a table decides there whether it is copied, and whether it names places in the journal."""
    assert set(WAYS) == set(METADATA.tables)
    assert {name for name, way in WAYS.items() if way == "placed"} == set(PLACED)


def test_places_of_applied_events_are_moved_and_nothing_else_of_them() -> None:
    """What is nowhere stays so, wherever it would be moved."""
    entries = bytes(range(20)) + (7).to_bytes(8) + bytes(range(20, 40)) + (3 << 48 | 9).to_bytes(8)
    assert unpack_places([entries]) == [(0, 7), (3, 9)]
    moves = {(0, 7): Place(0, NOWHERE), (3, 9): Place(1, 5)}
    moved = moved_entries(entries, lambda place: moves[place])
    assert unpack_places([moved]) == [(0, NOWHERE), (1, 5)]
    assert (moved[:20], moved[28:48]) == (entries[:20], entries[28:48])
    assert moved_entries(moved, lambda place: place) == moved
