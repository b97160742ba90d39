"""Log lines: a fixed sentence plus fields, for people (`console`) or machines (`json`), on one stream.

`configure_logs` is called once by the command line. Libraries that log through `logging` (the server, the drivers) come
out in the same form; strangers' bytes are only ever fields, so they cannot forge a line.
"""

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog

Form = Literal["console", "json"]

Masked = Callable[[Any], Any]
"""What may be shown of a value fit for JSON."""

_SHARED: Final[tuple[Any, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)

_QUIET: Final = ("uvicorn.access", "uvicorn.error", "aiokafka", "alembic", "httpx", "websockets.server")
"""A line per request, connection or heartbeat says less than a counter does."""

_TALKATIVE: Final = "aiokafka"
_SAME_LINE_S: Final = 10.0
# They write few different lines; should one have its values in it, memory is bounded all the same.
_LINES: Final = 1000


def configure_logs(form: Form, stream: TextIO = sys.stderr, *, masked: Masked = lambda value: value) -> None:
    """Write every log line from now on to `stream`; calling it again replaces what was set.

    `masked` is asked about the fields of every line, tracebacks among them.
    """
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Sparing())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(form, stream, masked)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Sparing(logging.Filter):
    """Lets the same line of a talkative driver through from time to time, with the number of those that it held back.

    While brokers are away, or a topic is, that is dozens in a second for as long as it lasts.
    """

    def __init__(self) -> None:
        super().__init__()
        # By logger and line without its values: when it was last let through, and how many were held back since.
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_TALKATIVE):
            return True
        line = (record.name, str(record.msg))
        told_s, held_back = self._last.get(line, (0.0, 0))
        if 0 <= record.created - told_s < _SAME_LINE_S:
            self._last[line] = (told_s, held_back + 1)
            return False
        if len(self._last) > _LINES:
            self._last.clear()
        self._last[line] = (record.created, 0)
        if held_back:
            record.msg = f"{record.msg} ({held_back} more like it)"
        return True


def printable(text: str) -> str:
    """`text` with line breaks and control characters spelt out, which would otherwise steer the reader's terminal."""
    return text if text.isprintable() else repr(text)[1:-1]


def _rendering(form: Form, stream: TextIO, masked: Masked) -> list[Any]:
    """Tracebacks are plain: the richer forms print local variables, and with them secrets."""

    def mask(_logger: object, _method: str, fields: Mapping[str, Any]) -> Any:
        return masked({name: _plain(value) for name, value in fields.items()})

    if form == "json":
        return [structlog.processors.format_exc_info, mask, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    console = structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)
    return [_tame, structlog.processors.format_exc_info, mask, console]


def _plain(value: Any) -> Any:
    """The value, fit for JSON: what else there is shows as it prints itself."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _tame(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: printable(value) if isinstance(value, str) else value for name, value in fields.items()}
