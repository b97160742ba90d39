"""The one door from the journal's bytes to events: decoded for their team, and masked before anybody else sees them.

The pipeline, the streams' replays and the raw history go through it: what is stored, sent or shown is masked by
construction, live and replayed alike. What identifies a fact (its id, digest and checksum) stays that of the bytes.
"""

from collections.abc import Sequence

from monitor.access.mask_file import read_mask_file
from monitor.access.masking import Masking, rules_of
from monitor.access.teams import team_rule
from monitor.events.codec import TeamOf, decode
from monitor.events.model import Event, Poison, Record
from monitor.settings import Settings


class Decoding:
    """How this deployment reads records."""

    def __init__(self, team_of: TeamOf, masking: Masking) -> None:
        self._team_of, self.masking = team_of, masking

    def events(self, records: Sequence[Record], *, are_known: bool = False) -> list[Event | Poison]:
        """What `records` hold, one for one, without what must not leave; `are_known`: they were folded before."""
        return self.masking.masked_events([decode(record, self._team_of, is_known=are_known) for record in records])

    def revealed(self, records: Sequence[Record]) -> list[Event | Poison]:
        """The same as their producers wrote it: for whoever may see that."""
        return [decode(record, self._team_of) for record in records]


def decoding_of(settings: Settings, *, exclusive: bool) -> Decoding:
    """As `settings` say; `exclusive`: nobody but this service can append to the journal.

    Raises SettingsInvalid for rules that are none.
    """
    masking = Masking(rules_of(settings.mask), read_mask_file(settings.mask_file))
    return Decoding(team_rule(exclusive=exclusive, trust_body=settings.trust_team), masking)
