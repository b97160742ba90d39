"""Records to events, as a service reads them that was told nothing about masking."""

from typing import Final

from monitor.access.decoding import Decoding
from monitor.access.masking import DEFAULT_RULES, Masking
from monitor.events.codec import TeamOf

_USUAL: Final = Masking(DEFAULT_RULES)


def usual(team_of: TeamOf) -> Decoding:
    """With the usual rules."""
    return Decoding(team_of, _USUAL)
