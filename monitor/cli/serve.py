"""`monitor serve`: runs the service until a signal drains it, and says by its exit code how that went."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import structlog

from monitor.cli.logs import configure_logs
from monitor.errors import MonitorError
from monitor.serving import serve
from monitor.settings import Settings
from monitor.telemetry.logs import Form


def run_service(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Raises StartupError when it cannot start."""
    show = partial(show_first_token, alone=not settings.shares_store)
    return run_to_exit_code(serve(settings, on_first_token=show), settings.log)


def show_first_token(token: str, *, alone: bool = True) -> None:
    """Print the administrator's token, on stderr: there is no other time. `alone`: no other process may have the store
    that holds it.
    """
    from rich.console import Console  # noqa: PLC0415 - needed at one start of all
    from rich.panel import Panel  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    text = f"{token}\n\nThe administrator's token, shown this once. Clients take it from MONITOR_TOKEN, or send\n"
    text += f"Authorization: Bearer TOKEN. Lost it? {'Stop the service; ' if alone else ''}"
    text += "monitor token create --role admin"
    console = Console(
        stderr=True, highlight=False, soft_wrap=True, width=max(len(line) for line in text.split("\n")) + 4
    )
    console.print(Panel.fit(Text(text)))


def run_to_exit_code(service: Coroutine[Any, Any, None], log: Form) -> int:
    """Run a service to its end: 0 after a drain; 1, and the reason in the log, when something in it died.

    Raises MonitorError when it does not start: StartupError, or Unavailable where a later try may succeed.
    """
    configure_logs(log)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(service)
    except MonitorError:
        raise
    except Exception:  # noqa: BLE001 - the rim: it is logged, and the process ends
        structlog.get_logger("serving").exception("ended by an error")
        return 1
    return 0


def _loop_factory() -> Any:
    """uvloop where it is installed, which answers sooner; otherwise asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
