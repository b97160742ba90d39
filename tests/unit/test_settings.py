"""Settings: read once, refused clearly."""

import base64
import traceback
from pathlib import Path

import pytest

from monitor.errors import SettingsInvalid
from monitor.settings import Settings, file_keys, is_loopback, keys, read_settings

KEY = base64.b64encode(b"k" * 32).decode()


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
        ("MONITOR_AUTH", "maybe"),
        ("MONITOR_JOURNAL", "redis://x"),
        ("MONITOR_JOURNAL", "kafka://host-without-topic"),
        ("MONITOR_STORE", "mysql://x"),
        ("MONITOR_STORE", "postgresql://user:pass@word@host/x"),
        ("MONITOR_STORE", "postgresql://user:pass%word@host/x"),
        ("MONITOR_JOURNAL_KEEP", "a week"),
        ("MONITOR_WEBHOOK_ALLOW", "10.0.0.0/40"),
        ("MONITOR_WEBHOOK_KEEP", "59s"),
        ("MONITOR_CREATE_TOPICS", "perhaps"),
        ("MONITOR_PUBLIC_URL", "monitor.example.com"),
        ("MONITOR_PUBLIC_URL", "ftp://monitor.example.com"),
        ("MONITOR_PUBLIC_URL", "https://"),
        ("MONITOR_PUBLIC_URL", "https://user@monitor.example.com"),
        ("MONITOR_PUBLIC_URL", "https://monitor.example.com/?a=b"),
        ("MONITOR_PUBLIC_URL", "https://monitor.example.com:0"),
        ("MONITOR_PUBLIC_URL", "https://monitor.example.com:x"),
        ("MONITOR_PUBLIC_URL", "https://mönitor.example.com"),
        ("MONITOR_ORIGINS", "*"),
        ("MONITOR_ORIGINS", "dashboard.example.com"),
        ("MONITOR_ORIGINS", "https://dashboard.example.com/"),
        ("MONITOR_ORIGINS", "https://a.example, null"),
        ("MONITOR_TRUSTED_PROXIES", "proxy.example"),
        ("MONITOR_MASK", "pass*"),
        ("MONITOR_MASK", "+-"),
        ("MONITOR_MASK", "--otp"),
        ("MONITOR_MASK", "email,customer..iban"),
        ("MONITOR_MASK", "+email,."),
        ("MONITOR_MASK", "e\nmail"),
        ("MONITOR_MASK", "x" * 101),
        ("MONITOR_KEY", "no base64"),
        ("MONITOR_KEY", "é"),
        ("MONITOR_KEY", "QUJD"),
        ("MONITOR_KEY", KEY.rstrip("=")),
    ],
)
def test_unusable_value_is_refused_by_name(key: str, value: str) -> None:
    """The line names the setting, so that nobody has to guess."""
    with pytest.raises(SettingsInvalid, match=key):
        read_settings({key: value})


@pytest.mark.parametrize(("said", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800)])
def test_durations_take_a_unit(said: str, seconds: int) -> None:
    """Retention is written as people say it."""
    settings = read_settings({"MONITOR_JOURNAL_KEEP": said, "MONITOR_WEBHOOK_KEEP": said})
    assert (settings.journal_keep_s, settings.webhook_keep_s) == (seconds, seconds)


def test_networks_are_a_comma_separated_list() -> None:
    """Each network is checked; blanks around commas do not matter."""
    settings = read_settings({"MONITOR_WEBHOOK_ALLOW": "10.0.0.0/8, ::1/128"})
    assert settings.webhook_allow == ("10.0.0.0/8", "::1/128")


def test_origins_are_kept_as_browsers_spell_them() -> None:
    """In small letters, without blanks."""
    settings = read_settings({"MONITOR_ORIGINS": "https://Dashboard.example.com, http://localhost:3000,"})
    assert settings.origins == ("https://dashboard.example.com", "http://localhost:3000")


@pytest.mark.parametrize("said", ["https://a.example", "https://a.example/", "http://10.0.0.1:8080/base//"])
def test_public_url_is_kept_without_a_slash_at_its_end(said: str) -> None:
    """A path is put behind it."""
    assert read_settings({"MONITOR_PUBLIC_URL": said}).public_url == said.rstrip("/")


@pytest.mark.parametrize(
    "said", ["", "+", "email", "+email, *.iban,customer.*", "api-key,Straße,card number,", "+-otp,-type:email,type:*"]
)
def test_mask_is_kept_as_it_is_said(said: str) -> None:
    """Also when that is nothing, which masks nothing; what was not said masks the usual names."""
    assert read_settings({"MONITOR_MASK": said}).mask == said
    assert read_settings({}).mask == "+"


def test_empty_variable_is_as_good_as_none() -> None:
    """Wherever nothing is no choice: files of environments often name what they do not set."""
    others = {key: "" for key in keys().values() if key != "MONITOR_MASK"}
    assert read_settings(others) == read_settings({})


def test_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """As container platforms hand it over; an end of line behind it belongs to the editor."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert read_settings({"MONITOR_KEY_FILE": str(path), "MONITOR_KEY": ""}).key_bytes == b"k" * 32
    assert file_keys()["key"] == "MONITOR_KEY_FILE"
    with pytest.raises(SettingsInvalid, match="MONITOR_KEY_FILE and MONITOR_KEY are both set"):
        read_settings({"MONITOR_KEY_FILE": str(path), "MONITOR_KEY": KEY})


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "No such file"), (b"\n", "is empty"), (b"\xff", "is not text"), (b"QUJD", "3 bytes")]
)
def test_file_of_a_secret_that_is_of_no_use_is_refused(tmp_path: Path, content: bytes | None, fault: str) -> None:
    """A service that went on without it would seal with another key."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=fault):
        read_settings({"MONITOR_KEY_FILE": str(path)})


def test_case_43_key_is_read_and_never_shown() -> None:
    """Neither by the settings that hold it nor by the line that refuses it."""
    settings = read_settings({"MONITOR_KEY": KEY})
    assert settings.key_bytes == b"k" * 32
    assert read_settings({}).key_bytes is None
    assert not any(KEY in text for text in (repr(settings), str(settings), settings.model_dump_json()))
    for unusable in (KEY[:-4], KEY + "AAAA", f"{KEY} "):
        with pytest.raises(SettingsInvalid, match=r"MONITOR_KEY: .*; make one with: openssl rand") as refused:
            read_settings({"MONITOR_KEY": unusable})
        assert KEY[:8] not in "".join(traceback.format_exception(refused.value))
        with pytest.raises(ValueError, match="key") as unread:
            Settings.model_validate({"key": unusable})
        assert KEY[:8] not in str(unread.value)


def test_open_door_stays_on_loopback() -> None:
    """Without authentication nobody else's machine may reach the service."""
    with pytest.raises(SettingsInvalid, match="loopback only"):
        read_settings({}, auth="off", host="192.0.2.1")
    assert read_settings({}, auth="off", host="::1").host == "::1"
    assert read_settings({}, host="192.0.2.1").auth == "on"


def test_every_setting_is_described_and_frozen() -> None:
    """The description is the documentation of the setting."""
    assert all(field.description for field in Settings.model_fields.values())
    assert set(keys()) == set(Settings.model_fields)
    with pytest.raises(ValueError, match="frozen"):
        read_settings({}).port = 1  # type: ignore[misc]
