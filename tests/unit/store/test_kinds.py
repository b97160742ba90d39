"""Every table has a kind, so that a rebuild of the store knows what becomes of it."""

import pytest

from monitor.store.kinds import KINDS, tables_of
from monitor.store.tables import METADATA


def test_every_table_has_a_kind() -> None:
    """Whoever adds a table decides in `store/kinds.py` whether a rebuild folds it anew or carries it over."""
    assert set(KINDS) == set(METADATA.tables)


@pytest.mark.parametrize("name", tables_of("executions"))
def test_what_belongs_to_an_execution_is_keyed_by_it(name: str) -> None:
    """By the column `key`, which carries an execution over whole."""
    assert "key" in METADATA.tables[name].c
