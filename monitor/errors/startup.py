"""The process cannot start: one clear line with the cure, exit code 2."""

from typing import ClassVar

from monitor.errors.tree import MonitorError


class StartupError(MonitorError):
    """The service cannot start."""

    code = "STARTUP"
    exit_code: ClassVar[int] = 2


class SettingsInvalid(StartupError):
    """The settings cannot be used."""


class DataFolderUnusable(StartupError):
    """The data folder cannot be used."""


class DataFolderBusy(StartupError):
    """Another process works on this data folder."""


class JournalMismatch(StartupError):
    """Journal and store do not belong together."""
