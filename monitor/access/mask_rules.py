"""The words in which rules of masking are written, and which of several holds for a member.

`iban` is a name, `customer.iban` and `*.email` are paths, `type:card` is a kind of `looks`; `-` in front takes out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from monitor.access.looks import KINDS
from monitor.errors import SettingsInvalid

NAMED: Final = "pair"
"""The kind that depends on names: in text, what stands behind one (`password=...`)."""

ALL_KINDS: Final = (*KINDS, NAMED)

_ANY: Final = "*"
_TYPE: Final = "type:"

Spellings = frozenset[bytes]
Path = Sequence[bytes]


class Rule(NamedTuple):
    """One rule: of a kind, or of the last names of a path."""

    # False: what it fits is shown as it is.
    hides: bool
    kinds: tuple[str, ...]
    # By name of the path; None for any.
    names: tuple[Spellings | None, ...]

    def fits(self, path: Path) -> bool:
        """Whether the last names of `path`, folded, are its own."""
        if len(self.names) > len(path):
            return False
        ends = zip(reversed(self.names), reversed(path), strict=False)
        return all(names is None or name in names for names, name in ends)

    @property
    def last_names(self) -> Spellings:
        """One of these stands in whatever it fits. Empty among them: a rule of stars alone fits everything."""
        return next((names for names in reversed(self.names) if names is not None), frozenset({b""}))


def rule_of(said: str) -> Rule:
    """The rule that is written like this. Raises SettingsInvalid for a kind that is none."""
    word = said.removeprefix("-").strip()
    if not word.startswith(_TYPE):
        names = tuple(None if name == _ANY else spellings(name) for name in word.split("."))
        return Rule(not said.startswith("-"), (), names)
    kind = word.removeprefix(_TYPE).strip().lower()
    if kind != _ANY and kind not in ALL_KINDS:
        raise SettingsInvalid(f"MONITOR_MASK: '{word}' is no type; there are {', '.join(ALL_KINDS)}, and * for all")
    return Rule(not said.startswith("-"), ALL_KINDS if kind == _ANY else (kind,), ())


def folded(name: str) -> bytes:
    """As names are compared. Of bytes, `lower` touches A to Z alone: what it does not unite, a search does not miss."""
    return name.encode(errors="surrogatepass").lower()


class Rules:
    """Rules in their order: of those that fit a member the last one holds."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.all = tuple(rules)
        self._names: dict[bytes, int] = {}
        self._paths: list[int] = []
        kinds: dict[str, bool] = {}
        for order, rule in enumerate(self.all):
            kinds.update(dict.fromkeys(rule.kinds, rule.hides))
            if len(rule.names) == 1 and rule.names[0] is not None:
                self._names.update(dict.fromkeys(rule.names[0], order))
            elif rule.names:
                self._paths.insert(0, order)
        self.kinds = tuple(kind for kind in ALL_KINDS if kinds.get(kind))

    def verdict(self, path: Path) -> bool | None:
        """Whether what stands at `path` is hidden as a whole (True), shown as it is (False), or looked into (None)."""
        order = self._names.get(path[-1], -1)
        if self._paths:
            order = max(order, next((other for other in self._paths if self.all[other].fits(path)), -1))
        return None if order < 0 else self.all[order].hides

    @property
    def words(self) -> Spellings:
        """The last names of what is hidden, without those that a later rule takes out wherever they stand."""
        hidden = frozenset[bytes]().union(*(rule.last_names for rule in self.all if rule.hides and rule.names))
        taken_out = {name for name, order in self._names.items() if not self.all[order].hides}
        return hidden - taken_out


def combined(rules: Sequence[Rule], more: Mapping[str, Sequence[Rule]]) -> Rules:
    """The rules for what may belong to any of several workflows: what one of them hides is hidden."""
    return Rules([*rules, *(rule for some in more.values() for rule in some if rule.hides)])


def spellings(name: str) -> Spellings:
    """The name, folded, with each joint that `_` stands for."""
    return frozenset(folded(name.replace("_", joint)) for joint in ("_", "-", ""))
