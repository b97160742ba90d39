"""What lies where: the top level stays small, and every module says what it is for."""

import ast

from tests.architecture.source import TOP, read_modules
from tests.architecture.test_import_chain import STEP_OF

TOP_LEVEL = {
    *("README.md", "LICENSE", "pyproject.toml", "requirements.lock"),
    *("monitor", "schemas", "tests", "compose", "scripts"),
}
# Where `monitor serve` keeps its data when it is told of no other place.
LEFT_BY_RUNNING = {"monitor-data"}


def test_top_level_holds_the_agreed_names_only() -> None:
    """Beside dotfiles there is nothing that a newcomer has not been told of."""
    names = {entry.name for entry in TOP.iterdir() if not entry.name.startswith(".")}
    assert names - LEFT_BY_RUNNING - TOP_LEVEL == set()


def test_package_holds_rooms_only() -> None:
    """Every file of the package, code or not, stands in a room."""
    entries = {entry.name.removesuffix(".py") for entry in (TOP / "monitor").iterdir()}
    assert entries - set(STEP_OF) - {"py.typed", "__pycache__"} == set()


def test_every_module_opens_with_what_it_is_for() -> None:
    """No module without a docstring."""
    silent = [module for module, tree in read_modules().items() if not ast.get_docstring(tree)]
    assert silent == []
