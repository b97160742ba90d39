"""Rewriting: an entry masked before the journal has it, so that no secret is ever written down.

The event stays the same fact: it keeps the id that its producer's bytes gave it. Whatever could hold something to mask
is written anew in the canonical form, for bytes hide secrets where nobody reads: in members that occur twice or that no
event has, and in headers.
"""

from monitor.access.masking import Masking
from monitor.events.cloudevents import is_binary
from monitor.events.codec import encode
from monitor.events.model import TEAM_HEADER, Event, Record


def rewritten(event: Event, masking: Masking) -> Record:
    """What the journal may hold of the event: its record itself where nothing could be masked. Pure."""
    record = event.record
    if not is_binary(record.headers) and not masking.may_hold(record.value or b""):
        return record
    headers = tuple(header for header in record.headers if header[0] == TEAM_HEADER)
    return record._replace(value=encode(masking.masked_event(event)), headers=headers)
