"""A refusal is either to be waited out or to be told at once, with its cure."""

import pytest

from monitor.cli.service import Away, Refused, fault, open_service, reason_of
from tests.support.scripted import Refusal, refusal, scripted

NOT_FOUND = b'{"error":{"code":"EXECUTION_NOT_FOUND","message":"not found"}}'
CURE = "name its address with --url"
BUSY = b'{"error":{"code":"UNAVAILABLE","message":"not now"}}'


@pytest.mark.parametrize(
    ("status", "retry_after", "body", "expected"),
    [
        (503, "7", BUSY, ("not now", 7.0, True)),
        (503, "", b"", ("it answers with HTTP status 503", 1.0, False)),
        (502, "", b"<html>", ("it answers with HTTP status 502", 1.0, False)),
        (429, "86400", BUSY, ("not now", 1.0, True)),
        (408, "soon", b"\xff", ("it answers with HTTP status 408", 1.0, False)),
        (425, "", b"[]", ("it answers with HTTP status 425", 1.0, False)),
    ],
)
def test_what_passes_is_waited_out(
    status: int, retry_after: str, body: bytes, expected: tuple[str, float, bool]
) -> None:
    """With the service's words and pause, where they are the service's."""
    found = fault("http://h", status, retry_after, body)
    assert isinstance(found, Away)
    assert (found.reason, found.pause_s, found.is_its_word) == expected


@pytest.mark.parametrize(
    ("status", "body", "refusal_", "message"),
    [
        (404, NOT_FOUND, "EXECUTION_NOT_FOUND", "not found"),
        (400, b'{"error":{"code":"INVALID_POSITION","message":"bad"}}', "INVALID_POSITION", "bad"),
        (401, b"", "", f"http://h answers with HTTP status 401, as no such service does; {CURE}"),
        (301, b"", "", f"http://h answers with HTTP status 301, as no such service does; {CURE}"),
        (404, b'{"error":1}', "", f"http://h answers with HTTP status 404, as no such service does; {CURE}"),
    ],
)
def test_what_stays_is_told(status: int, body: bytes, refusal_: str, message: str) -> None:
    """In the service's words, or as somebody else's answer."""
    found = fault("http://h", status, "", body)
    assert isinstance(found, Refused)
    assert (found.refusal, found.message, found.exit_code) == (refusal_, message, 2)


async def test_read_tells_document_position_and_time() -> None:
    """Of the service's own clock; ids of any characters reach it."""
    async with scripted() as fake, open_service(f"{fake.url}/") as service:
        fake.executions["a/b c"] = {"id": "a/b c"}
        answer = await service.read("/v1/executions/a%2Fb%20c", [("include", "data")])
    assert answer == ({"id": "a/b c"}, "read", 1_795_345_200_000_000)
    assert [(asked.path, asked.query) for asked in fake.asked] == [("/v1/executions/a%2Fb%20c", {"include": "data"})]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Refusal(200, b"<html>"), Away, "answered by something that is no JSON object"),
        (Refusal(200, b"[]"), Away, "answered by something that is no JSON object"),
        (Refusal(200, b"{", {"content-length": "7"}), Away, "the connection broke off"),
        (refusal(503, "UNAVAILABLE", "not now", retry_after="2"), Away, "not now"),
        (refusal(403, "FORBIDDEN", "not you"), Refused, "not you"),
    ],
)
async def test_answer_that_is_none_is_a_failure(answer: Refusal, error: type[Exception], words: str) -> None:
    """Whether it may pass or not."""
    async with scripted() as fake, open_service(fake.url) as service:
        fake.executions["e"] = answer
        with pytest.raises(error, match=words):
            await service.read("/v1/executions/e")


def test_reasons_are_in_plain_words() -> None:
    """Of the system where it has a number for it."""
    shown = [
        reason_of(each) for each in (TimeoutError(), ConnectionRefusedError(111, "x"), ValueError("y"), ValueError())
    ]
    assert shown == ["no answer in time", "Connection refused", "y", "ValueError"]
