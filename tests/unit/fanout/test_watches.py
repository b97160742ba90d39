"""Watches: as many as a process takes, and no team takes them all."""

from contextlib import ExitStack

import pytest

from monitor.errors import TooManyWaiting
from monitor.fanout.watches import Watches


def test_one_team_leaves_room_for_the_others() -> None:
    """However many of its requests wait, those of another team still can; what has ended makes room again."""
    watches = Watches(most=20, most_of_team=10)
    with ExitStack() as opened:
        for number in range(10):
            opened.enter_context(watches.open(("acme", f"e{number}")))
        with pytest.raises(TooManyWaiting), watches.open(("acme", "e10")):
            pass
        for number in range(10):
            opened.enter_context(watches.open(("rival", f"e{number}")))
        with pytest.raises(TooManyWaiting), watches.open(("third", "e")):
            pass
    assert len(watches) == 0
    with watches.open(("acme", "e")):
        assert len(watches) == 1
