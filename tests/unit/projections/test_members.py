"""Members of `data` are believed only when they have the type that they should have."""

from typing import Any

import pytest

from monitor.projections.members import duration_us, error, mapping, strings, text, whole


@pytest.mark.parametrize(
    ("said", "expected"),
    [(0, 0), (1.5, 1_500_000), (0.0000004, 0), (-1, None), (1e10, None), (True, None), ("5", None), (None, None)],
)
def test_durations_are_seconds(said: object, expected: int | None) -> None:
    """Read as microseconds; neither negative nor longer than three centuries."""
    assert duration_us(said) == expected


def test_words_counts_and_objects() -> None:
    """Anything else says nothing."""
    odd: list[Any] = ["a", "", 0, 5, -1, 5.0, True, 1 << 53, None, {}, {"a": 1}, [], ["a", 5]]
    assert {repr(said): text(said) for said in odd if text(said) is not None} == {"'a'": "a"}
    assert [said for said in odd if whole(said) is not None] == [0, 5]
    assert [said for said in odd if mapping(said) is not None] == [{}, {"a": 1}]
    assert [strings(said) for said in odd if strings(said) is not None] == [[], ["a"]]
    assert [error(said) for said in odd if error(said) is not None] == [{"message": "a"}, {}, {"a": 1}]
