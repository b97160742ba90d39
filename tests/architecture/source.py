"""Reads the source of `monitor/` without running it: its modules and what each of them imports."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

Modules = Mapping[str, ast.Module]


def read_modules() -> Modules:
    """Every module of the package by its dotted name."""
    files = sorted((TOP / "monitor").rglob("*.py"))
    return {_dotted_name(file.relative_to(TOP)): ast.parse(file.read_text(), str(file)) for file in files}


def room_of(module: str) -> str:
    """The room a module of ours stands in: `events` for `monitor.events.codec`, `__init__` for `monitor`."""
    return module.split(".")[1] if "." in module else "__init__"


def imported_by(tree: ast.AST) -> set[str]:
    """Every name that the tree imports anywhere, in full: `from a.b import c` counts as `a.b.c`."""
    return {name for node in ast.walk(tree) for name in _imported_names(node)}


def imported_at_load(tree: ast.AST) -> set[str]:
    """What loading the module imports: not what functions do, nor what only a type checker sees."""
    return {name for node in _loaded_nodes(tree) for name in _imported_names(node)}


def ours(names: set[str], modules: Modules) -> set[str]:
    """Those of the imported names that lie in `monitor`, each as the module that holds it."""
    return {_holder(name, modules) for name in names if name.split(".")[0] == "monitor"}


def _dotted_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _holder(name: str, modules: Modules) -> str:
    # A module that does not exist stays as it is named: its room tells whether it might be imported.
    parent = name.rpartition(".")[0]
    return name if name in modules or parent not in modules else parent


def _imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _loaded_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from _loaded_nodes(child)
