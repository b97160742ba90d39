"""The catalogue of event types is closed and consistent."""

import re

import pytest

from monitor.events.types import CONTROL_PREFIX, DERIVED, TYPES, EventType, reported_status, status_rank
from monitor.projections.status import FINAL, STATUSES

KINDS = pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)


@KINDS
def test_a_row_is_consistent(kind: EventType) -> None:
    """Its name tells its family, its words have ranks, its outcomes are ends, and it is explained."""
    assert re.fullmatch(r"(execution|node|log|command)\.[a-z]+", kind.name)
    assert kind.name.startswith(f"{kind.family}.")
    assert not kind.name.startswith(CONTROL_PREFIX)
    assert kind.doc.endswith(".")
    words = {*kind.outcomes, *([kind.status] if kind.status else [])}
    assert words <= {*STATUSES, "skipped"}
    assert not kind.outcomes or kind.status in kind.outcomes
    assert bool(words & {*FINAL, "skipped"}) is kind.final
    assert all(status_rank(word) for word in words)


def test_types_by_how_streams_may_treat_them() -> None:
    """Everything else is lifecycle, which is never dropped or merged."""
    progress = {name for name, kind in TYPES.items() if kind.stream_class == "progress"}
    logs = {name for name, kind in TYPES.items() if kind.stream_class == "log"}
    assert progress == {"execution.progress", "execution.heartbeat", "node.progress"}
    assert logs == {"log.appended"}


def test_ends_of_an_execution() -> None:
    """The three types that end one, and every final status that they can report."""
    ends = {name: kind for name, kind in TYPES.items() if kind.final and kind.family == "execution"}
    assert set(ends) == {"execution.completed", "execution.failed", "execution.cancelled"}
    assert {word for kind in ends.values() for word in (*kind.outcomes, kind.status)} == FINAL


def test_ranks_put_later_phases_and_stronger_ends_last() -> None:
    """Queued < running < waiting < any end; among ends crashed < success < failed < timeout < cancelled."""
    order = ("queued", "running", "waiting", "crashed", "success", "failed", "timeout", "cancelled")
    assert sorted(STATUSES, key=status_rank) == list(order)
    assert len({status_rank(status) for status in STATUSES}) == len(STATUSES)


def test_derived_types_are_in_the_catalogue() -> None:
    """They are events like others, though nobody may send them."""
    assert set(TYPES) > DERIVED


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("execution.failed", "timeout", "timeout"),
        ("execution.failed", None, "failed"),
        ("execution.failed", "success", "failed"),
        ("execution.failed", ["timeout"], "failed"),
        ("execution.completed", "failed", "success"),
        ("node.completed", "failed", "failed"),
        ("node.completed", "no such word", "success"),
        ("execution.heartbeat", "failed", None),
    ],
)
def test_what_a_type_reports(name: str, said: object, expected: str | None) -> None:
    """`data.status` decides only where the type has several outcomes, and only by one of them."""
    assert reported_status(TYPES[name], said) == expected
