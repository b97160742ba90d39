"""Health: whether the service should be sent work, and if not, why in words for the person who looks."""

from collections.abc import Sequence
from typing import NamedTuple


class Concern(NamedTuple):
    """One thing that is not as it should be."""

    # Stable word for programs: starting, draining, lagging, halted, journal_unavailable ...
    code: str
    message: str


class Health(NamedTuple):
    """What `/readyz` answers: ready unless something stands against it."""

    against: Sequence[Concern] = ()

    @property
    def ready(self) -> bool:
        """Whether work may be sent here."""
        return not self.against
