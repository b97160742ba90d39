"""Log lines are one form for everybody, whoever writes them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from monitor.access.masking import DEFAULT_RULES, Masking
from monitor.telemetry.logs import Form, configure_logs
from tests.support.secret_corpus import secrets


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(form: Form) -> list[str]:
    """The lines of a failure told through our logger, and of one told through a library's."""
    stream = io.StringIO()
    configure_logs(form, stream)
    secret = "hush"  # noqa: F841 - a local variable that no traceback may show
    structlog.get_logger("pipeline").warning("cannot fold", reason="a\nb\x1b[31m", lag=3)
    logging.getLogger("uvicorn.server").info("Started %s", "server")
    try:
        raise ZeroDivisionError("broken")
    except ZeroDivisionError:
        structlog.get_logger("serving").exception("a loop ended")
    return stream.getvalue().splitlines()


def test_json_lines_are_objects() -> None:
    """Sentence, level, logger, time and fields, for our lines and for those of libraries."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in written("json")]
    assert [(line["event"], line["level"], line["logger"]) for line in lines] == [
        ("cannot fold", "warning", "pipeline"),
        ("Started server", "info", "uvicorn.server"),
        ("a loop ended", "error", "serving"),
    ]
    assert (lines[0]["reason"], lines[0]["lag"]) == ("a\nb\x1b[31m", 3)
    assert "ZeroDivisionError: broken" in lines[2]["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_console_lines_cannot_be_forged() -> None:
    """Line breaks and control characters of strangers are spelt out."""
    first = written("console")[0]
    assert "cannot fold" in first
    assert r"a\nb\x1b[31m" in first


@pytest.mark.parametrize("form", ["console", "json"])
def test_tracebacks_show_no_variables(form: Form) -> None:
    """A traceback names lines, not what they held."""
    text = "\n".join(written(form)).replace('secret = "hush"', "")
    assert "ZeroDivisionError" in text
    assert "hush" not in text


def test_requests_are_counted_not_logged() -> None:
    """A line per request says less than a counter."""
    stream = io.StringIO()
    configure_logs("json", stream)
    logging.getLogger("uvicorn.access").info("GET /")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_are_masked_in_fields_sentences_and_tracebacks(form: Form) -> None:
    """Whoever logs them, also inside things that only print themselves; the rest of the line stays."""
    stream = io.StringIO()
    configure_logs(form, stream, masked=Masking(DEFAULT_RULES).masked)
    log = structlog.get_logger("pipeline")
    for secret in secrets():
        log.warning("told", said=secret.value, deep={"x": [(secret.value,)]}, thing=ValueError(secret.value))
    log.warning("signed in", password="hunter-1", lag=3)
    logging.getLogger("aiokafka.client").warning("connect to %s", "https://me:hunter-2@broker.example.com")
    try:
        raise ConnectionError("no route to postgres://app:hunter-3@db:5432/x")
    except ConnectionError:
        log.exception("cannot store")
    text = stream.getvalue()
    leaked = [secret for secret in secrets() if any(needle in text for needle in secret.needles)]
    assert leaked == []
    assert "hunter" not in text
    kept = ("signed in", "lag", "broker.example.com", "ConnectionError", "[password]@db:5432")
    assert all(word in text for word in kept)


def test_driver_that_says_the_same_for_hours_is_cut_short() -> None:
    """Brokers are away, and each try is a line: some get through, with the number of those that did not."""
    stream = io.StringIO()
    configure_logs("json", stream)
    driver, ours = logging.getLogger("aiokafka.client"), logging.getLogger("pipeline")
    for second in range(25):
        for logger, line in ((driver, "no node %s"), (driver, "no topic %s"), (ours, "no node %s")):
            for _ in range(4):
                record = logger.makeRecord(logger.name, logging.ERROR, __file__, 1, line, (second,), None)
                record.created = 1e9 + second
                logger.handle(record)
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [it["event"] for it in said if it["logger"] == driver.name and "node" in it["event"]] == [
        "no node 0",
        "no node 10 (39 more like it)",
        "no node 20 (39 more like it)",
    ]
    assert len([it for it in said if it["logger"] == driver.name]) == 6
    assert len([it for it in said if it["logger"] == ours.name]) == 100
