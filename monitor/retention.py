"""How long finished executions are kept, by team, workflow and status: the grammar of `MONITOR_KEEP`. Pure.

`30d,failed=90d,workflow:wf_1=7d,team:acme=180d,team:acme&failed=forever`: a time for all, and rules of their own for
some. Of the rules that fit the closest one holds: one that names the workflow, then the team, then the status; of two
that name the same the later one.
"""

import difflib
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

FINAL_STATUSES: Final = ("success", "failed", "cancelled", "timeout", "crashed")
"""Of executions that have ended: others are never removed. A test compares them with those of the projections."""

KEEP_TAG: Final = "keep"
"""Executions with this tag stay, whatever the rules say."""

LEAST_S: Final = 60
MOST_S: Final = 100 * 365 * 86_400

_IN_FLIGHT: Final = ("queued", "running", "waiting")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FOREVER: Final = "forever"


class Rule(NamedTuple):
    """Executions that it is about (None: whatever they have), and for how many seconds they stay; None = forever."""

    workflow_id: str | None
    team: str | None
    status: str | None
    keep_s: int | None

    @property
    def closeness(self) -> tuple[bool, bool, bool]:
        """Greatest holds."""
        return self.workflow_id is not None, self.team is not None, self.status is not None

    def fits(self, team: str, workflow_id: str, status: str) -> bool:
        """Whether it is about such executions."""
        return self.workflow_id in (None, workflow_id) and self.team in (None, team) and self.status in (None, status)


class Retention:
    """The rules of a service."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        # Of equals the later one comes last.
        self._rules = sorted(rules, key=lambda rule: rule.closeness)

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing is ever removed."""
        return all(rule.keep_s is None for rule in self._rules)

    def keep_s(self, team: str, workflow_id: str, status: str) -> int | None:
        """For how many seconds after their end such executions stay; None = forever."""
        fitting = [rule for rule in self._rules if rule.fits(team, workflow_id, status)]
        return fitting[-1].keep_s if fitting and status in FINAL_STATUSES else None


def parse_retention(said: str) -> Retention:
    """The rules in a setting. Raises ValueError with one plain sentence that names the word at fault."""
    rules = [_rule(part.strip()) for part in said.split(",") if part.strip()]
    return Retention(tuple(rules))


def _rule(said: str) -> Rule:
    tests, equals, kept = said.rpartition("=")
    named: dict[str, str] = {}
    for test in tests.split("&") if equals else ():
        name, value = _test(test.strip(), said)
        if name in named:
            raise ValueError(f"'{said}' names a {name} twice")
        named[name] = value
    return Rule(named.get("workflow"), named.get("team"), named.get("status"), _keep_s(kept.strip(), said))


def _test(said: str, rule: str) -> tuple[str, str]:
    if said in FINAL_STATUSES:
        return "status", said
    if said in _IN_FLIGHT:
        raise ValueError(f"'{rule}': executions that are {said} have not ended, and are never removed")
    kind, colon, value = said.partition(":")
    if colon and kind in ("workflow", "team"):
        value = unquote(value)
        if not 0 < len(value) <= 256 or not value.isprintable():
            raise ValueError(f"'{rule}' names no {kind}: 1 to 256 printable characters, others than letters as %2C")
        return kind, value
    words = (*FINAL_STATUSES, "workflow:ID", "team:NAME")
    near = difflib.get_close_matches(kind + colon, words, 1, 0.5)
    raise ValueError(
        f"'{said}' is no status, workflow:ID or team:NAME" + (f"; did you mean {near[0]}?" if near else "")
    )


def _keep_s(said: str, rule: str) -> int | None:
    if said == _FOREVER:
        return None
    number, unit = said[:-1], said[-1:]
    if unit not in _UNITS_S or not (number.isascii() and number.isdigit()) or len(number) > 9:
        near = " Did you mean forever?" if difflib.get_close_matches(said, [_FOREVER], 1) else ""
        raise ValueError(f"'{rule}' says no time such as 30d, 12h or forever.{near}")
    keep_s = int(number) * _UNITS_S[unit]
    if not LEAST_S <= keep_s <= MOST_S:
        raise ValueError(f"'{rule}': a time lies between one minute and a hundred years")
    return keep_s


def by_list(retention: Retention, lists: Mapping[tuple[str, str, str], int]) -> dict[tuple[str, str, str], int]:
    """Of those lists (team, workflow, status) that hold anything, the ones that age, and their times in seconds."""
    aging = {of: retention.keep_s(*of) for of, count in lists.items() if count > 0}
    return {of: keep_s for of, keep_s in aging.items() if keep_s is not None}
