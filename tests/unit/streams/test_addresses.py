"""An address says everything that a subscription can say, and nothing that nobody understands."""

from typing import Any
from urllib.parse import quote

import pytest

from monitor.errors import ClientError, InvalidPosition, NotAcceptable
from monitor.events.codec import parse_time_us
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE, EVERYTHING, SnapshotWish, Subscription
from monitor.projections.filter import parse_json
from monitor.streams.addresses import Wish, is_stream, read_form, read_wish
from monitor.streams.session import Showing, Since

HERE = Position("00" * 6, (7,))
NOW_US = parse_time_us("2026-11-22T10:30:59.999999Z")
ALL = "/v1/executions/stream"
ONE = "/v1/executions/exec_1/stream"


def open_token(token: str) -> Position:
    """Knows one token."""
    if token != "here":
        raise InvalidPosition
    return HERE


def scope(address: str) -> dict[str, Any]:
    """The ASGI scope of an address."""
    path, _, query = address.partition("?")
    return {"type": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode()}


def wish(address: str, form: Any = "sse") -> Wish:
    """What an address asks for."""
    return read_wish(scope(address), form, NOW_US, open_token)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (ALL, True),
        (ONE, True),
        ("/v1/executions/n8n%3Ap%2F1/stream", True),
        ("/v1/executions/stream/stream", True),
        ("/v1/executions/exec_1", False),
        ("/v1/executions//stream", False),
        ("/v1/executions/a/b/stream", False),
        ("/v1/executions/stream/", False),
    ],
)
def test_streams_have_two_addresses(path: str, expected: bool) -> None:
    """One for everything and one for each execution, whatever its id holds."""
    assert is_stream(scope(path)) is expected


def test_a_bare_address_is_everything_from_now_on() -> None:
    """A WebSocket there may yet say something else."""
    everything = Subscription(frozenset({"executions"}))
    assert wish(ALL) == Wish(everything, None, Showing(None, ACTIVE), named=False, ends=None, explicit=False)


def test_an_address_says_all_that_a_message_can() -> None:
    """Words are separated by commas, or the parameter is given again."""
    address = (
        f"{ALL}?channels=workflow:a,execution:{quote('x/ü')}&channels=executions&events=node.*,execution.failed"
        "&filter[status]=failed,timeout&filter[duration][gte]=5&snapshot=recent:20&position=here&logs=1&named=1"
    )
    recent = SnapshotWish("recent", 20)
    subscription = Subscription(
        frozenset({"workflow:a", "execution:x/ü", "executions"}),
        frozenset({"node.*", "execution.failed"}),
        parse_json({"status": ["failed", "timeout"], "duration": {"gte": 5}}),
        logs=True,
    )
    assert wish(address) == Wish(subscription, HERE, Showing(recent, recent), named=True, ends=None, explicit=True)


def test_one_execution_is_shown_and_ends_its_stream() -> None:
    """How it stands comes first, unless somebody does not want it."""
    expected = Subscription(frozenset({"execution:n8n:p/1"}))
    address = "/v1/executions/n8n%3Ap%2F1/stream"
    assert wish(address) == Wish(expected, None, Showing(ACTIVE, ACTIVE), named=False, ends="n8n:p/1", explicit=True)
    assert wish(f"{address}?snapshot=none").showing == Showing(None, None)


@pytest.mark.parametrize(
    ("said", "start"),
    [
        ("now", "now"),
        ("earliest", "earliest"),
        ("here", HERE),
        ("1970-01-01T00:00:01Z", Since(1_000_000)),
        ("1970-01-01T01:00:00.5%2B01:00", Since(500_000)),
    ],
)
def test_an_address_says_where_it_begins(said: str, start: object) -> None:
    """By word, token or time."""
    assert wish(f"{ALL}?position={said}").start == start


def test_the_last_day_is_the_same_for_all_who_come_within_a_minute() -> None:
    """Equal filters are evaluated once for all of their subscribers."""
    address = f"{ALL}?filter[dateRange]=1d"
    wishes = {read_wish(scope(address), "sse", at_us, open_token) for at_us in (NOW_US - 59_999_999, NOW_US)}
    assert len(wishes) == 1
    assert wishes.pop().subscription.filter != EVERYTHING
    assert wish(address) != read_wish(scope(address), "sse", NOW_US + 1, open_token)


@pytest.mark.parametrize(
    ("address", "code", "field"),
    [
        (f"{ALL}?channels=everything", "INVALID_REQUEST", "channels"),
        (f"{ALL}?channels=", "INVALID_REQUEST", "channels"),
        (f"{ALL}?channels=executions,", "INVALID_REQUEST", "channels"),
        (f"{ALL}?channels=" + ",".join(f"execution:{n}" for n in range(1001)), "INVALID_REQUEST", "channels"),
        (f"{ONE}?channels=executions", "INVALID_REQUEST", "channels"),
        (f"/v1/executions/{'x' * 257}/stream", "INVALID_REQUEST", "channels"),
        ("/v1/executions/a%00b/stream", "INVALID_REQUEST", "channels"),
        (f"{ALL}?events=", "INVALID_REQUEST", "events"),
        (f"{ALL}?events=*.failed", "INVALID_REQUEST", "events"),
        (f"{ALL}?events=" + ",".join(f"a.{n}" for n in range(101)), "INVALID_REQUEST", "events"),
        (f"{ALL}?logs=perhaps", "INVALID_REQUEST", "logs"),
        (f"{ALL}?logs", "INVALID_REQUEST", "logs"),
        (f"{ALL}?logs=1&logs=1", "INVALID_REQUEST", "logs"),
        (f"{ALL}?named=yes", "INVALID_REQUEST", "named"),
        (f"{ALL}?snapshot=all", "INVALID_REQUEST", "snapshot"),
        (f"{ALL}?snapshot=", "INVALID_REQUEST", "snapshot"),
        (f"{ONE}?snapshot=", "INVALID_REQUEST", "snapshot"),
        (f"{ALL}?snapshot=recent:2001", "INVALID_REQUEST", "snapshot"),
        (f"{ALL}?snapshot=active&snapshot=none", "INVALID_REQUEST", "snapshot"),
        (f"{ALL}?position=yesterday", "INVALID_POSITION", "position"),
        (f"{ALL}?position=", "INVALID_POSITION", "position"),
        (f"{ALL}?position=2026-11-22T10:30:00", "INVALID_POSITION", "position"),
        (f"{ALL}?position=now&position=now", "INVALID_REQUEST", "position"),
        (f"{ALL}?chanels=executions", "INVALID_REQUEST", "chanels"),
        (f"{ALL}?name=mine", "INVALID_REQUEST", "name"),
        (f"{ALL}?filter[stauts]=failed", "INVALID_FILTER", "filter[stauts]"),
        (f"{ALL}?filter[status]=error", "INVALID_FILTER", "filter[status]"),
        (f"{ALL}?filter=failed", "INVALID_FILTER", "filter"),
    ],
)
def test_what_nobody_understands_is_refused_by_name(address: str, code: str, field: str) -> None:
    """A misspelt filter that is ignored would show the wrong executions."""
    with pytest.raises(ClientError) as refused:
        wish(address)
    assert (refused.value.code, refused.value.details["field"]) == (code, field)


@pytest.mark.parametrize(
    ("address", "nearest"),
    [
        ("filter[workflowid]=a", "workflowId"),
        ("filter[stauts]=failed", "status"),
        ("filter[status]=fail", "failed"),
        ("filter[duration][get]=1", "gt"),
        ("chanels=executions", "channels"),
        ("snapshots=active", "snapshot"),
    ],
)
def test_a_refusal_names_the_nearest_word(address: str, nearest: str) -> None:
    """Whoever misspelt it need not look it up."""
    with pytest.raises(ClientError, match=f"did you mean '{nearest}'"):
        wish(f"{ALL}?{address}")


@pytest.mark.parametrize("form", ["ndjson", "websocket"])
def test_only_server_sent_events_have_names(form: str) -> None:
    """Elsewhere it would be without effect."""
    assert not wish(f"{ALL}?named=0", form).named
    with pytest.raises(ClientError) as refused:
        wish(f"{ALL}?named=1", form)
    assert refused.value.details["field"] == "named"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ([], "sse"),
        ([""], "sse"),
        (["*/*"], "sse"),
        (["text/event-stream"], "sse"),
        (["text/*"], "sse"),
        (["text/html,application/xhtml+xml,*/*;q=0.8"], "sse"),
        (["application/x-ndjson"], "ndjson"),
        (["Application/X-NDJSON ; charset=utf-8"], "ndjson"),
        (["application/*"], "ndjson"),
        (["application/x-ndjson, */*"], "ndjson"),
        (["application/json", "application/x-ndjson"], "ndjson"),
        (["application/x-ndjson, text/event-stream"], "sse"),
        (["application/x-ndjson, text/event-stream;q=0.9"], "ndjson"),
        (["application/x-ndjson;q=0.1, */*;q=0.2"], "sse"),
        (["text/event-stream;q=0, */*"], "ndjson"),
        (["text/event-stream;q=abc"], "sse"),
    ],
)
def test_accept_chooses_the_form(accept: list[str], form: str) -> None:
    """The closest range decides; events where both are equally welcome."""
    assert read_form(accept) == form


@pytest.mark.parametrize(
    "accept", ["application/json", "text/html, image/*", "text/event-stream;q=0", "*/*;q=0.0", "event-stream"]
)
def test_what_fits_neither_is_told_both(accept: str) -> None:
    """As media types."""
    with pytest.raises(NotAcceptable, match="text/event-stream or application/x-ndjson"):
        read_form([accept])
