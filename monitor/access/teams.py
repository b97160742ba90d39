"""Which team an event belongs to, by where it came in."""

from monitor.events.codec import TeamOf
from monitor.events.model import DEFAULT_TEAM, TEAM_HEADER, Record


def team_rule(*, exclusive: bool, trust_body: bool) -> TeamOf:
    """The rule for one journal.

    Where this service alone can append (`exclusive`), the team that intake wrote beside the entry holds, and a body
    that claims another one is refused. On a shared journal such as Kafka anybody may write such a header, so it means
    nothing: the team is `default`, or with `trust_body` whatever the body says.
    """
    return _written_by_intake if exclusive else _said_by_body if trust_body else _default


def _written_by_intake(record: Record, said: str | None) -> str | None:
    team = DEFAULT_TEAM
    for name, raw in record.headers:
        if name == TEAM_HEADER:
            team = raw.decode()
            break
    return team if said is None or said == team else None


def _said_by_body(_record: Record, said: str | None) -> str | None:
    return said or DEFAULT_TEAM


def _default(_record: Record, _said: str | None) -> str | None:
    return DEFAULT_TEAM
