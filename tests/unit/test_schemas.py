"""The committed schemas are those that monitor/ makes now."""

import pytest

from tests.support.schemas import FOLDER, GENERATED, files, rendered


def test_every_file_is_made_and_every_made_file_is_there() -> None:
    """Neither strays nor gaps."""
    assert files() == set(GENERATED)


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_a_file_is_current(name: str) -> None:
    """`scripts/schemas` would change nothing."""
    assert (FOLDER / name).read_text() == rendered(name), "run scripts/schemas"
