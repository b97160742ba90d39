"""The program's log lines, without what must not leave."""

from monitor.access.masking import DEFAULT_RULES, Masking
from monitor.telemetry import logs
from monitor.telemetry.logs import Form


def configure_logs(form: Form) -> None:
    """Write every log line from now on, masked by the usual rules whatever the settings say of events."""
    logs.configure_logs(form, masked=Masking(DEFAULT_RULES).masked)
