"""Settings: read once, refused clearly."""

from pathlib import Path

import pytest

from monitor.errors import SettingsInvalid
from monitor.settings import Settings, is_loopback, keys, read_settings


def test_defaults_start_a_service_on_this_machine() -> None:
    """Nothing has to be set."""
    settings = read_settings({})
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 8080, Path("monitor-data"))
    assert is_loopback(settings.host)


def test_environment_is_read_and_the_command_line_wins() -> None:
    """`--port` outranks MONITOR_PORT; None means that the option was not given."""
    settings = read_settings({"MONITOR_PORT": "1234", "MONITOR_LOG": "json"}, port=4321, host=None)
    assert (settings.port, settings.log, settings.host) == (4321, "json", "127.0.0.1")


def test_nothing_but_the_given_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo on a folder of its own must not write to the journal that this shell names for the real service."""
    monkeypatch.setenv("MONITOR_JOURNAL", "kafka://broker:9092/executions.events.v1")
    assert read_settings({}).journal == ""


def test_unknown_setting_is_refused_with_the_nearest_known() -> None:
    """A misspelt setting must not be silently without effect."""
    with pytest.raises(SettingsInvalid, match=r"unknown setting MONITOR_JURNAL; did you mean MONITOR_JOURNAL\?"):
        read_settings({"MONITOR_JURNAL": "kafka://a:1/b"})


def test_settings_of_test_runs_are_left_alone() -> None:
    """A service that a test starts inherits the variables of the test run."""
    assert read_settings({"MONITOR_TEST_KAFKA": "x", "MONITOR_KAFKA_CACHE": "y"}) == read_settings({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MONITOR_PORT", "70000"),
        ("MONITOR_PORT", "http"),
        ("MONITOR_AUTH", "on"),
        ("MONITOR_JOURNAL", "redis://x"),
        ("MONITOR_JOURNAL", "kafka://host-without-topic"),
        ("MONITOR_STORE", "mysql://x"),
        ("MONITOR_JOURNAL_KEEP", "a week"),
        ("MONITOR_WEBHOOK_ALLOW", "10.0.0.0/40"),
        ("MONITOR_CREATE_TOPICS", "perhaps"),
    ],
)
def test_unusable_value_is_refused_by_name(key: str, value: str) -> None:
    """The line names the setting, so that nobody has to guess."""
    with pytest.raises(SettingsInvalid, match=key):
        read_settings({key: value})


@pytest.mark.parametrize(("said", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800)])
def test_durations_take_a_unit(said: str, seconds: int) -> None:
    """Retention is written as people say it."""
    assert read_settings({"MONITOR_JOURNAL_KEEP": said}).journal_keep_s == seconds


def test_networks_are_a_comma_separated_list() -> None:
    """Each network is checked; blanks around commas do not matter."""
    settings = read_settings({"MONITOR_WEBHOOK_ALLOW": "10.0.0.0/8, ::1/128"})
    assert settings.webhook_allow == ("10.0.0.0/8", "::1/128")


def test_open_door_stays_on_loopback() -> None:
    """Without authentication nobody else's machine may reach the service."""
    with pytest.raises(SettingsInvalid, match="loopback only"):
        read_settings({}, host="192.0.2.1")
    assert read_settings({}, host="::1").host == "::1"


def test_every_setting_is_described_and_frozen() -> None:
    """The description is the documentation of the setting."""
    assert all(field.description for field in Settings.model_fields.values())
    assert set(keys()) == set(Settings.model_fields)
    with pytest.raises(ValueError, match="frozen"):
        read_settings({}).port = 1  # type: ignore[misc]
