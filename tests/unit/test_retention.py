"""What `MONITOR_KEEP` says: the closest rule holds, and what it cannot mean is refused by name."""

import pytest

from monitor.errors import SettingsInvalid
from monitor.projections.status import FINAL
from monitor.retention import FINAL_STATUSES, parse_retention
from monitor.settings import read_settings

DAY_S = 86_400


def test_statuses_are_those_that_end() -> None:
    """The words of the projections."""
    assert set(FINAL_STATUSES) == FINAL


@pytest.mark.parametrize(
    ("of", "days"),
    [
        (("default", "wf_2", "success"), 30),
        (("default", "wf_2", "failed"), 90),
        (("default", "wf_1", "success"), 7),
        (("default", "wf_1", "failed"), 7),
        (("acme", "wf_2", "success"), 180),
        (("acme", "wf_2", "failed"), None),
        (("acme", "wf_1", "failed"), 7),
        (("default", "a,b=c", "success"), 2),
        (("default", "wf_2", "running"), None),
    ],
)
def test_closest_rule_holds(of: tuple[str, str, str], days: int | None) -> None:
    """Workflow before team before status before everybody."""
    rules = "30d, failed=90d, workflow:wf_1=7d, team:acme=180d, team:acme&failed=forever, workflow:a%2Cb%3Dc=48h"
    assert parse_retention(rules).keep_s(*of) == (None if days is None else days * DAY_S)


def test_nothing_is_removed_unless_it_is_said() -> None:
    """Not by default, and not where no rule fits."""
    assert parse_retention("forever").keeps_everything
    assert parse_retention("").keeps_everything
    assert parse_retention("failed=1d").keep_s("default", "wf_1", "success") is None


def test_later_one_of_two_rules_holds() -> None:
    """So that a list can be added to."""
    assert parse_retention("30d,failed=1d,failed=2d,10d").keep_s("default", "wf_1", "failed") == 2 * DAY_S


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("30", "no time such as 30d"),
        ("thirty days", "no time such as 30d"),
        ("-1d", "no time such as 30d"),
        ("1e3d", "no time such as 30d"),
        ("٣d", "no time such as 30d"),
        ("999999999999d", "no time such as 30d"),
        ("forevr", "Did you mean forever"),
        ("0d", "between one minute and a hundred years"),
        ("59s", "between one minute and a hundred years"),
        ("99999d", "between one minute and a hundred years"),
        ("faild=3d", "did you mean failed?"),
        ("Failed=3d", "did you mean failed?"),
        ("workflw:wf_1=3d", "did you mean workflow:ID?"),
        ("running=3d", "have not ended, and are never removed"),
        ("workflow:=3d", "names no workflow"),
        ("team:%00=3d", "names no team"),
        ("failed&success=3d", "names a status twice"),
        ("failed=", "no time such as 30d"),
        ("=3d", "is no status, workflow:ID or team:NAME"),
        ("a=b=3d", "is no status, workflow:ID or team:NAME"),
    ],
)
def test_what_it_cannot_mean_is_refused(said: str, message: str) -> None:
    """At the start, in one line that names the setting."""
    with pytest.raises(SettingsInvalid, match="MONITOR_KEEP: ") as refused:
        read_settings({"MONITOR_KEEP": said})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
