"""The team of an event follows from where it came in, not from what it claims."""

import pytest

from monitor.access.teams import team_rule
from monitor.events.model import TEAM_HEADER, Record

PLAIN = Record(0, 0, None, b"{}", (), 0)
FOR_BLUE = Record(0, 0, None, b"{}", ((TEAM_HEADER, b"blue"),), 0)


@pytest.mark.parametrize(
    ("record", "said", "team"),
    [
        (PLAIN, None, "default"),
        (PLAIN, "default", "default"),
        (PLAIN, "blue", None),
        (FOR_BLUE, None, "blue"),
        (FOR_BLUE, "blue", "blue"),
        (FOR_BLUE, "red", None),
    ],
)
def test_own_journal_believes_what_intake_wrote(record: Record, said: str | None, team: str | None) -> None:
    """The team that an entry came in for holds; a body that claims another one is refused."""
    assert team_rule(exclusive=True, trust_body=False)(record, said) == team


@pytest.mark.parametrize("record", [PLAIN, FOR_BLUE])
def test_shared_journal_believes_nobody(record: Record) -> None:
    """Anybody may write headers and bodies to a shared topic: all of it is the default team's."""
    assert team_rule(exclusive=False, trust_body=False)(record, "blue") == "default"


def test_shared_journal_believes_bodies_when_told_to() -> None:
    """Where every producer is trusted, the body names the team; headers still mean nothing."""
    rule = team_rule(exclusive=False, trust_body=True)
    assert (rule(FOR_BLUE, "red"), rule(FOR_BLUE, None)) == ("red", "default")
