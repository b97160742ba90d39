"""What somebody asks of an endpoint is taken as a whole or refused by name; what would mean nothing is refused too."""

from typing import Any

import pytest

from monitor.access.sealing import KEY_BYTES, Sealer
from monitor.errors import InvalidWebhook
from monitor.executions.wishes import MASKED, Wish, Wishes
from monitor.webhooks.endpoint import HEADERS_PURPOSE, OPERATOR_TYPES, OPERATOR_WILDCARDS, Endpoint
from monitor.webhooks.headers import unpack
from monitor.webhooks.targets import Targets
from tests.support.webhooks import make_endpoint

SEALER = Sealer(b"k" * KEY_BYTES)
WISHES = Wishes(Targets(), SEALER)
URL = "https://example.com/hook"


def refusal(wish: Wish, endpoint: Endpoint | None = None) -> tuple[str, str]:
    """The field at fault, and what is said of it."""
    with pytest.raises(InvalidWebhook) as raised:
        WISHES.fulfilled(endpoint or make_endpoint(), wish)
    return raised.value.details["field"], raised.value.message


def headers_of(endpoint: Endpoint) -> dict[str, str]:
    """What is sent along."""
    return unpack(SEALER.open(HEADERS_PURPOSE, endpoint.sealed_headers)) if endpoint.sealed_headers else {}


def test_nothing_changes_that_is_not_named() -> None:
    """An empty wish leaves an endpoint as it is."""
    endpoint = make_endpoint(name="night", max_in_flight=3)
    assert WISHES.fulfilled(endpoint, {}) == endpoint
    assert WISHES.fulfilled(endpoint, {"name": None}) == make_endpoint(max_in_flight=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "x"),
        ("Webhook-Signature", "x"),
        ("Host", "example.com"),
        ("Content-Length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("X-Key", "a\nInjected: b"),
        ("X-Key", "a\r\n\r\nPOST / HTTP/1.1"),
        ("X-Key", "a\0b"),
        ("X Key", "a"),
        ("X-Key:", "a"),
        ("", "a"),
        ("X-Schlüssel", "a"),
    ],
)
def test_case_44_header_that_is_not_theirs_is_refused(name: str, value: str) -> None:
    """Case 44: names that steer the request, and whatever would break it; no value is repeated."""
    field, said = refusal({"headers": {"X-Fine": "s3cret", name: value}})
    assert field == f"headers.{name}"
    assert (value in said if len(value) > 5 else False, "s3cret" in said) == (False, False)


def test_masked_header_keeps_its_value() -> None:
    """What is shown can be sent back."""
    before = WISHES.fulfilled(make_endpoint(), {"headers": {"X-One": "1", "X-Two": "2"}})
    after = WISHES.fulfilled(before, {"headers": {"X-Two": MASKED, "X-Three": "3"}})
    assert headers_of(after) == {"X-Two": "2", "X-Three": "3"}
    assert after.header_names == ("X-Two", "X-Three")
    none = WISHES.fulfilled(after, {"headers": {}})
    assert (none.sealed_headers, none.header_names) == (None, ())


@pytest.mark.parametrize("url", ["https://elsewhere.example/hook", "https://example.com:8443/hook"])
def test_headers_do_not_move_to_another_host_by_themselves(url: str) -> None:
    """Who may change a URL could read them there; given again, or given up, they are as they are said."""
    endpoint = WISHES.fulfilled(make_endpoint(url=URL), {"headers": {"X-Key": "s3cret"}})
    assert refusal({"url": url}, endpoint)[0] == "headers"
    assert refusal({"url": url, "headers": {"X-Key": MASKED}}, endpoint)[0] == "headers.X-Key"
    assert headers_of(WISHES.fulfilled(endpoint, {"url": url, "headers": {"X-Key": "new"}})) == {"X-Key": "new"}
    assert headers_of(WISHES.fulfilled(endpoint, {"url": url, "headers": {}})) == {}
    assert headers_of(WISHES.fulfilled(endpoint, {"url": f"{URL}/other"})) == {"X-Key": "s3cret"}


def test_mask_alone_is_no_value() -> None:
    """Nobody is sent asterisks for a password."""
    assert refusal({"headers": {"X-One": MASKED}})[0] == "headers.X-One"
    other = WISHES.fulfilled(make_endpoint(), {"headers": {"X-Two": "2"}})
    assert refusal({"headers": {"X-One": MASKED}}, other)[0] == "headers.X-One"


@pytest.mark.parametrize("name", [*OPERATOR_TYPES, *OPERATOR_WILDCARDS])
def test_webhooks_can_be_told_of_webhooks(name: str) -> None:
    """Every event about webhooks can be asked for, and its endpoint is known by it."""
    assert WISHES.fulfilled(make_endpoint(), {"events": [name]}).is_operator


@pytest.mark.parametrize("events", [["endpoint.*", "*"], ["execution.failed", "delivery.exhausted"]])
def test_events_of_both_kinds_are_not_mixed(events: list[str]) -> None:
    """Nobody would hear of the troubles of an endpoint that hears of troubles."""
    field, said = refusal({"events": events})
    mixed = next(name for name in events if name not in (*OPERATOR_TYPES, *OPERATOR_WILDCARDS))
    assert (field, mixed in said) == (f"events.{events.index(mixed)}", True)


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("filters", {"filters": {"status": "failed"}}),
        ("payload", {"payload": "thin"}),
        ("ordering", {"ordering": "strict"}),
    ],
)
def test_what_means_nothing_for_webhooks_is_refused(field: str, wish: Any) -> None:
    """Events about webhooks have no execution, whichever of the two was there first."""
    operator = WISHES.fulfilled(make_endpoint(), {"events": ["endpoint.*"]})
    assert refusal(wish, operator)[0] == field
    assert refusal({"events": ["endpoint.*"]}, WISHES.fulfilled(make_endpoint(), wish))[0] == field


BLOCKED = (
    *("https://127.0.0.1/", "https://10.1.2.3/hook", "https://192.168.0.1:8443/", "https://169.254.169.254/latest"),
    *("https://[::1]/", "https://[fd00::1]/", "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::7f00:1]/"),
    *(
        "https://0.0.0.0/",
        "https://100.64.0.1/",
        "https://[fe80::1]/",
        "https://[2002:7f00:1::]/",
        "https://224.0.0.1/",
    ),
    *("https://localhost/", "https://db.internal/", "https://printer.local/", "https://intranet/", "http://10.1.2.3/"),
    *("http://127.0.0.1:22/", "http://metadata.google.internal/", "https://100.100.100.200/"),
)


@pytest.mark.parametrize("url", BLOCKED)
def test_blocked_targets_get_one_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever rule blocks them, and as fast: no name is looked up, so neither answer nor time tells what is there."""

    def look_up(*_: object, **__: object) -> object:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    assert refusal({"url": url}) == ("url", "'url' names a host that webhooks must not reach")
    assert WISHES.fulfilled(make_endpoint(), {"url": URL}).url == URL
