"""Mistakes made on purpose: one expression of the code under test is another, and some test has to notice."""

import functools
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest


class Mistake(NamedTuple):
    """In a function, some text that stands there once is replaced."""

    function: Callable[..., Any]
    text: str
    instead: str

    def make(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it, for as long as `monkeypatch` holds."""
        source = textwrap.dedent(inspect.getsource(self.function))
        assert source.count(self.text) == 1, f"{self.function.__qualname__} does not say '{self.text}' once any more"
        made: dict[str, Any] = {}
        code = compile(source.replace(self.text, self.instead), f"<mistake in {self.function.__qualname__}>", "exec")
        exec(code, self.function.__globals__, made)  # noqa: S102 - our own source, changed by a word
        name, mistaken = self.function.__name__, made[self.function.__name__]
        for owner in _owners(self.function):
            monkeypatch.setattr(owner, name, mistaken)


def _owners(function: Callable[..., Any]) -> list[Any]:
    """The class that a method is of, or every module of ours that knows a function by its name."""
    *classes, name = function.__qualname__.split(".")
    if classes:
        return [functools.reduce(getattr, classes, sys.modules[function.__module__])]
    ours = [module for path, module in sys.modules.items() if path.startswith("monitor.")]
    return [module for module in ours if getattr(module, name, None) is function]
