"""Errors that differ in particulars alone have one fingerprint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.projections.fingerprint import kind_of, pattern_of


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("no answer after 30 s", "no answer after <n> s"),
        ("no answer  after\n2.5 s ", "no answer after <n> s"),
        ("order 5f0c1d2e-aa11-4c55 is gone", "order <n> is gone"),
        ("column 'customer_id' is \"missing\" in `orders`", "column <text> is <text> in <text>"),
        ("GET https://api.example.com/v1?key=abc failed", "GET <address> failed"),
        ("cannot send to jane.doe@example.com: refused", "cannot send to <address> refused"),
        ("at 2026-11-22T10:00:00Z on 10.0.0.7:443", "at <n> on <n>"),
        ("Failed to connect to Slack API", "Failed to connect to Slack API"),
        ("", ""),
    ],
)
def test_what_varies_is_replaced(message: str, pattern: str) -> None:
    """By the documented rules, in their order."""
    assert pattern_of(message) == pattern


def test_type_and_pattern_tell_kinds_apart() -> None:
    """An error without a type is an Error; members that are no text say nothing."""
    one = kind_of({"type": "Timeout", "message": "after 5 s"})
    assert one == kind_of({"type": "Timeout", "message": "after 60 s", "stack": "x"})
    assert (one.type, one.pattern, len(one.fingerprint)) == ("Timeout", "after <n> s", 16)
    assert one.fingerprint != kind_of({"message": "after 5 s"}).fingerprint
    assert (
        kind_of({"message": "x"}) == kind_of({"type": "Error", "message": "x"}) == kind_of({"type": 5, "message": "x"})
    )
    assert kind_of({}).pattern == kind_of({"message": {"no": "text"}}).pattern == ""


@given(st.text(), st.text())
def test_any_text_has_a_short_pattern(type_: str, message: str) -> None:
    """Whatever engines send, and twice the same."""
    kind = kind_of({"type": type_, "message": message})
    assert kind == kind_of({"type": type_, "message": message})
    assert len(kind.pattern) <= 200
    assert len(kind.type) <= 100


def test_a_long_message_costs_no_more_than_its_beginning() -> None:
    """Words without an end are read to a limit, and no rule goes back over what it has read."""
    assert len(pattern_of("a" * 10_000_000)) == 200
    assert pattern_of("@" * 100_000) == "@" * 200
    assert pattern_of("." * 100_000) == "." * 200
