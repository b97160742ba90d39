"""Vocabularies: what an execution's status is called elsewhere, total in both directions.

Each status has one word, and each word of a filter stands for exactly those statuses that are shown as it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.projections.filter import Condition
from monitor.projections.status import STATUSES


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one dialect, by status."""

    words: Mapping[str, str]

    def __post_init__(self) -> None:
        if set(self.words) != set(STATUSES):
            raise ValueError(f"a vocabulary has a word for each of {', '.join(STATUSES)}")

    def __getitem__(self, status: str) -> str:
        """The word for a status."""
        return self.words[status]

    @property
    def known(self) -> tuple[str, ...]:
        """Every word, once."""
        return tuple(dict.fromkeys(self.words.values()))

    def statuses(self, *words: str) -> tuple[str, ...]:
        """The statuses that are shown as one of these words."""
        return tuple(status for status in STATUSES if self.words[status] in words)

    def test(self, *words: str) -> Condition:
        """Lets pass what is shown as one of these words."""
        return Condition("status", "eq", self.statuses(*words))
